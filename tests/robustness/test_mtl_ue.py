"""MTL-UE: what its perturbation may depend on, its bounds, its regularisers, who learns when."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.data.memory import batches
from telltale.fit import adam, fit
from telltale.nn.multitask import MultiTask, augmented
from telltale.nn.resnets import resnet
from telltale.robustness.mtl_ue import (
    MTLUE,
    encoder,
    inter,
    intra,
    shifted,
)

EPS = 8 / 255


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def net(**settings: object) -> MTLUE:
    torch.manual_seed(0)
    chosen = {"classes": (3, 2), "size": 32, "width": 4} | settings
    return MTLUE(resnet("resnet_toy"), **chosen)  # type: ignore[arg-type]


def some(count: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    labels = [torch.randint(k, (count,), generator=random) for k in (3, 2)]
    return torch.rand(count, 3, 32, 32, generator=random), torch.stack(labels, 1)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_1_the_change_has_the_shape_and_stays_in_the_bound(count: int) -> None:
    images, labels = some(5)
    made = net().eval().perturb(images[:count], labels[:count])
    assert made.shape == (count, 3, 32, 32)
    if count:
        assert made.abs().max().item() == pytest.approx(EPS, abs=1e-7)  # a fresh one saturates


def test_2_the_mode_says_what_the_change_depends_on() -> None:
    images, labels = some()
    alike = labels[:1].expand_as(labels)
    by_sample = net().eval().perturb(images, alike)
    assert not torch.equal(by_sample[0], by_sample[1])
    by_class = net(mode="class").eval().perturb(images, alike)
    assert torch.equal(by_class[0], by_class[1])
    by_picture = net(mode="picture").eval()
    assert torch.equal(by_picture.perturb(images, labels), by_picture.perturb(images, alike))


@pytest.mark.parametrize("task", [0, 1])
def test_3_a_label_changes_it_unless_its_task_is_left_learnable(task: int) -> None:
    images, labels = some()
    other = labels.clone()
    other[:, task] = (other[:, task] + 1) % (3, 2)[task]
    made = net().eval()
    assert not torch.equal(made.perturb(images, labels), made.perturb(images, other))
    left = [made.perturb(images, each, unprotected=[task]) for each in (labels, other)]
    assert torch.equal(*left)


def test_4_it_has_as_many_weights_as_the_authors() -> None:
    made = MTLUE(resnet("resnet_toy"))
    rows = sum(table.shape[0] for table in made.tables())
    assert rows == 80
    assert sum(table.numel() for table in made.tables()) == 1_568_000
    assert sum(p.numel() for p in made.decoder.parameters()) == 842_755
    assert sum(p.numel() for p in made.encoder.parameters()) == 675_392
    assert encoder(64, 8)(torch.rand(1, 3, 64, 64)).shape == (1, 128, 8, 8)


def test_4_large_pictures_have_maps_of_an_eighth() -> None:
    made = net(size=224, mode="class")
    assert made.side == 28
    assert made.perturb(torch.rand(1, 3, 224, 224), some(1)[1]).shape == (1, 3, 224, 224)


def test_5_intra_by_hand() -> None:
    one = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    assert intra([one]).item() == pytest.approx(0)
    assert intra([one.abs()]).item() == pytest.approx(2)
    assert intra([torch.eye(3)]).item() == pytest.approx(1)
    simplex = torch.eye(4) - 1 / 4
    assert intra([simplex]).item() == pytest.approx(1 - 1 / 3)
    assert intra([one, torch.eye(2)]).item() == pytest.approx(0.5)  # mean over tasks


def test_6_inter_by_hand() -> None:
    axes = torch.eye(4)
    assert inter([axes[:2], axes[2:]]).item() == 0
    assert inter([axes[:1], -3 * axes[:1]]).item() == pytest.approx(1)
    rows = torch.tensor([[0.6, 0.8, 0, 0], [0, 0, 1.0, 0]])
    assert inter([axes[:1], rows]).item() == pytest.approx(0.3)
    assert inter([axes]).item() == 0


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_6_signs_and_lengths_do_not_matter_to_inter(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tables = [torch.randn(k, 8, generator=random) for k in (2, 3)]
    factors = [torch.randn(k, 1, generator=random) * 5 + 0.01 for k in (2, 3)]
    changed = [table * factor for table, factor in zip(tables, factors, strict=True)]
    assert inter(changed) == pytest.approx(float(inter(tables)), rel=1e-4)


def test_7_which_term_teaches_what() -> None:
    made, (images, labels) = net(), some()
    terms = made.loss(images, labels)

    def taught(term: Tensor) -> set[str]:
        made.zero_grad()
        term.backward(retain_graph=True)
        named = made.named_parameters()
        return {n.partition(".")[0] for n, p in named if p.grad is not None and p.grad.any()}

    assert taught(terms["intra"]) == {"embeddings"}
    assert taught(terms["inter"]) == {"embeddings"}
    assert taught(terms["base"]) == {"embeddings", "encoder", "decoder"}


def test_8_regularisers_do_not_care_for_lengths() -> None:
    tables = [torch.randn(k, 12, dtype=torch.float64, requires_grad=True) for k in (3, 2)]
    for term in (intra(tables), inter(tables)):
        for table, slope in zip(tables, torch.autograd.grad(term, tables), strict=True):
            assert (slope * table).sum(1).abs().max() < 1e-12


def test_9_generator_and_surrogate_leave_each_other_alone() -> None:
    made, (images, labels) = net(base="em"), some()
    feed = batches({"images": images, "attributes": labels}, 6)
    parts = nn.ModuleList(made.parts())
    for stage, learns, rests in (
        ("generator", parts, made.surrogate),
        ("surrogate", made.surrogate, parts),
        ("clean", made.surrogate, parts),
    ):
        made.enter(stage)
        before = state(learns), state(rests)
        for step in fit(made, feed, adam(made, lr=1e-2)):
            if step.number == 2:
                break
        assert not same(before[0], state(learns))
        assert same(before[1], state(rests)), stage  # statistics of batches, too


@given(st.integers(2, 12), st.integers(0, 100))
def test_10_a_shifted_label_is_another(count: int, label: int) -> None:
    labels = torch.tensor([[label % count]])
    moved = shifted(labels, [count])
    assert 0 <= moved < count
    assert moved != labels
    if count == 2:
        assert moved == 1 - labels


def test_11_sep_sums_over_states_and_so_do_the_regularisers() -> None:
    made, (images, labels) = net(base="sep", classes=(3, 2)), some()
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.surrogate = MultiTask(resnet("resnet_toy"), (3, 2))
        made.keep()
    made.enter("generator")

    def slopes(terms: dict[str, Tensor]) -> Tensor:
        made.zero_grad()
        torch.stack([*terms.values()]).sum().backward()
        return torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])

    torch.manual_seed(5)  # of the crops
    together = slopes(made.loss(images, labels))
    both, found = [*made.checkpoints], []
    for one in both:
        made.checkpoints = nn.ModuleList([one])
        torch.manual_seed(5)
        found.append(slopes(made.loss(images, labels)))
    torch.testing.assert_close(together, found[0] + found[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("base", "sign"), [("em", 1), ("sep", 1), ("tap", -1)])
def test_the_bases_aim_where_they_should(base: str, sign: int) -> None:
    """By hand, on a binary task: EM at the truth, SEP at the other class, TAP away from truth."""
    made = net(base=base, classes=(2,)).eval()
    images, labels = some()[0], torch.tensor([0, 1, 0, 1, 1, 0])[:, None]
    logits = made.surrogate(images)[0][:, 0]
    truth = labels[:, 0].float()
    wanted = sign * F.binary_cross_entropy_with_logits(
        logits, 1 - truth if base == "sep" else truth
    )
    torch.testing.assert_close(made.aim(made.surrogate, images, labels), wanted)


def test_tap_aims_at_shifted_labels_of_many_classes() -> None:
    made, (images, labels) = net().eval(), some()
    many, two = made.surrogate(images)
    wanted = F.cross_entropy(many, (labels[:, 0] + 1) % 3) / 2 - (
        F.binary_cross_entropy_with_logits(two[:, 0], labels[:, 1].float()) / 2
    )
    torch.testing.assert_close(made.aim(made.surrogate, images, labels), wanted)


def test_12_bytes_differ_by_eight_levels_at_most() -> None:
    images, labels = some()
    levels = (images * 255).round()
    made = net().eval()(levels / 255, labels)
    assert ((made * 255).round() - levels).abs().max() in (7, 8)
    # cutting off in place of rounding, as the authors' export does, can make it 9


@pytest.mark.slow
def test_13_regularisers_alone_reach_their_limits() -> None:
    torch.manual_seed(0)
    tables = [nn.Parameter(torch.randn(k, 64)) for k in (9, 5, 2)]
    optimizer = torch.optim.Adam(tables, lr=1e-2)
    for _ in range(500):
        optimizer.zero_grad()
        (10 * intra(tables) + 200 * inter(tables)).backward()
        optimizer.step()
    assert inter(tables) < 0.005
    for table, limit in zip(tables, (-0.05, -0.15, -0.95), strict=True):
        assert intra([table]) - 1 < limit


def faint(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Noise with a faint tint, one of three, and faint stripes, fine or coarse: two tasks."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, k, count) for k in (3, 2)], 1)
    images = 0.45 + rng.normal(0, 0.1, (count, 3, 16, 16))
    images[np.arange(count), labels[:, 0]] += 0.06
    stripes = np.stack([np.arange(16) // period % 2 for period in (1, 4)])
    images += 0.1 * stripes[labels[:, 1]][:, None, None, :]
    return torch.from_numpy(images.clip(0, 1)).float(), torch.from_numpy(labels)


def taught(images: Tensor, labels: Tensor, test: tuple[Tensor, Tensor], steps: int) -> float:
    torch.manual_seed(3)
    victim = MultiTask(resnet("resnet_toy"), (3, 2))
    feed = batches({"images": images, "attributes": labels}, 50)
    for step in fit(victim, feed, adam(victim, lr=2e-3)):
        if step.number == steps:
            break
    return float(victim.eval().accuracy(*test).mean())


@pytest.mark.slow
def test_14_who_learns_from_protected_pictures_learns_less() -> None:
    torch.manual_seed(0)
    images, labels = faint(0, 300)
    made = MTLUE(resnet("resnet_toy"), classes=(3, 2), size=16, eps=16 / 255, width=8)
    feed = batches({"images": images, "attributes": labels}, 50)
    for stage, steps in (("clean", 60), ("generator", 100)):
        made.enter(stage)
        for step in fit(made, feed, adam(made, lr=2e-3), clip=5.0):
            if step.number == steps:
                break
    with torch.no_grad():
        stored = (made.eval()(images, labels) * 255).round() / 255
    test = faint(1, 300)
    clean = taught(images, labels, test, 60)
    assert clean > 0.9
    assert taught(stored, labels, test, 60) < clean - 0.1
    spread = (stored - images).flatten(1)
    same_labels = [spread[(labels == pair).all(1)].std(0).mean() for pair in labels.unique(dim=0)]
    assert torch.stack(same_labels).mean() < spread.std(0).mean()


def test_crops_keep_gradients_and_sides() -> None:
    images = torch.rand(4, 3, 70, 70, requires_grad=True)
    cut = augmented(images)
    assert cut.shape == (4, 3, 64, 64)
    (slope,) = torch.autograd.grad(cut.sum(), images)
    assert slope.sum((1, 2, 3)).tolist() == [3 * 64 * 64] * 4


def wrong() -> Iterator[tuple[dict[str, object], str]]:
    yield {"classes": ()}, "tasks of 2 classes"
    yield {"classes": (1,)}, "tasks of 2 classes"
    yield {"size": 33}, "multiples of 2"
    yield {"size": 228}, "multiples of 8"
    yield {"eps": 0.0}, "eps in"
    yield {"base": "lsp"}, "a base of em, tap, sep"
    yield {"mode": "all"}, "a mode of"
    yield {"regularisation": (1.0,)}, "two weights"


@pytest.mark.parametrize(("given_", "says"), [*wrong()])
def test_it_says_which_settings_it_wants(given_: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        net(**given_)


def test_it_says_what_batches_it_wants() -> None:
    made, (images, labels) = net(), some()
    for bad in (labels.float(), labels[:3], labels[:, :1]):
        with pytest.raises(ValueError, match="want int64 attributes"):
            made.loss(images, bad)
    with pytest.raises(ValueError, match="want attributes below"):
        made.loss(images, labels + 5)
    with pytest.raises(ValueError, match="want images of 32 pixels"):
        made.loss(images[..., :16, :16], labels)
    with pytest.raises(ValueError, match="tasks of 0 to 1"):
        made.perturb(images, labels, unprotected=[2])
    with pytest.raises(ValueError, match="want stage"):
        made.enter("both")
    with pytest.raises(ValueError, match="a trunk with its width"):
        MTLUE(nn.Identity())
