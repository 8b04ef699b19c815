"""Prompt injection as an audit: bounds, gradients, overlay, matches, targets, ensembles."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.nn.backbones import backbone
from telltale.nn.lettering import contrasting, kept_inside, placed, rendered
from telltale.robustness.prompt_injection import (
    CANARY,
    FINE,
    REACH,
    SCALES,
    SPAN,
    Features,
    PromptInjection,
    centroids,
    cropped,
    features,
    maxsim,
    plan,
    transport,
)

EPS = 16 / 255


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


class Smooth(nn.Module):
    """A linear encoder of blurred pictures."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(8, 3 * 64, generator=random))

    def forward(self, images: Tensor) -> Tensor:
        centred = F.adaptive_avg_pool2d(images - 0.5, 8)
        return centred.flatten(1) @ self.weight.T


def some(count: int = 2, side: int = 40) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def audit(encoder: nn.Module | None = None, **chosen: object) -> PromptInjection:
    torch.manual_seed(0)
    encoder = encoder or backbone("vit_toy", depth=1)
    return PromptInjection(encoder, **({"steps": 4} | chosen))  # type: ignore[arg-type]


def said(width: int = 8, words: int = 3) -> Features:
    drawn = torch.randn(1, 1 + words, width, generator=seeded(5))
    return Features(F.normalize(drawn[:, 0], dim=1), F.normalize(drawn[:, 1:], dim=2))


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"parts": ("noise", "picture")},
        {"parts": ("overlay", "picture")},
        {"parts": ("overlay", "noise", "picture", "momentum")},
        {"fine": "ot"},
        {"step": 1.0},
    ],
)
def test_1_the_bound_holds_also_in_bytes(chosen: dict[str, object]) -> None:
    images = (some() * 255).round() / 255
    for found in audit(None, **chosen).run(images, generator=seeded()):
        assert (found.images - images).abs().max() <= EPS + 1e-6
        assert 0 <= found.images.min() <= found.images.max() <= 1
    assert ((found.images * 255).round() / 255 - images).abs().max() <= EPS + 0.5 / 255
    assert not torch.equal(found.images, images)


def test_2_no_budget_changes_nothing() -> None:
    assert torch.equal(audit(eps=0.0).perturb(some()), some())


def test_2_without_noise_the_overlay_alone_is_left() -> None:
    images = some()
    mask = 1 - rendered(CANARY, 40, SPAN)[:, :1]
    alone = audit(parts=("overlay", "picture"), steps=6)
    *_, last = alone.run(images, generator=seeded())
    assert (last.pose != 0).all()
    for pose, found in (
        (torch.zeros(2, 2), audit(steps=0).perturb(images)),
        (last.pose, last.images),
    ):
        wanted = ((contrasting(images) - images) * placed(mask, pose)).clamp(-EPS, EPS)
        torch.testing.assert_close(found, (images + wanted).clamp(0, 1), atol=1e-6, rtol=0)


def test_2_without_overlay_the_noise_alone_is_left() -> None:
    *_, last = audit(parts=("noise", "picture"), step=EPS, steps=1).run(some(), generator=seeded())
    assert (last.pose == 0).all()
    change = (last.images - some()).abs()
    within = (last.images > 1e-6) & (last.images < 1 - 1e-6)
    assert ((change < 1e-6) | ((change - EPS).abs() < 1e-5))[within].all()  # no shades of glyphs
    assert (change > 1e-6).float().mean() > 0.4  # what the crop held


def test_3_the_mask_turns_round_its_middle() -> None:
    mask = 1 - rendered("A WORD", 64, SPAN)[:, :1]
    places = torch.arange(64) - 31.5
    for a, turn in ((-0.4, 0.3), (0.0, -0.5), (0.2, 0.1)):
        moved = placed(mask, torch.tensor([[a, turn]]))
        back = placed(moved, torch.tensor([[-a, -turn]]))
        assert (back - mask).abs().mean() < 0.05
        for axis in (2, 3):
            centre = (moved.sum((0, 1, 5 - axis)) * places).sum() / moved.sum()
            assert abs(centre) < 0.5
    taller = placed(mask, torch.tensor([[math.log(1.3), 0.0]])).sum() / mask.sum()
    assert taller == pytest.approx(1.69, rel=0.05)  # e^a of each side


@given(st.floats(-3, 3), st.floats(-2, 2), st.sampled_from(["A", "A WORD", CANARY, "m " * 30]))
@settings(max_examples=25)
def test_3_the_words_stay_in_the_frame(a: float, turn: float, text: str) -> None:
    mask = 1 - rendered(text, 48, SPAN)[:, :1]
    pose = kept_inside(mask, torch.tensor([[a, turn]]), SCALES)
    assert SCALES[0] <= pose[0, 0] <= SCALES[1] + 1e-6
    assert pose[0, 1].abs() <= math.pi / 6 + 1e-6
    wide = F.pad(mask, (48, 48, 48, 48))  # the same words, with room round them
    outside = placed(wide, pose)
    outside[..., 47:97, 47:97] = 0
    assert outside.amax() < 1e-3
    torch.testing.assert_close(kept_inside(mask, pose, SCALES), pose)


def test_3_words_are_drawn_large_and_in_the_middle() -> None:
    for text in ("A", "A WORD", "SOME WORDS THAT ARE FAR TOO MANY FOR A SINGLE LINE OF TEXT"):
        dark = rendered(text, 64, 0.6)[0, 0] < 0.5
        sides = [int(dark.any(k).nonzero().max() - dark.any(k).nonzero().min()) + 1 for k in (0, 1)]
        assert 30 <= max(sides) <= 42
    with pytest.raises(ValueError, match="want words to draw"):
        rendered("  ", 64)


def test_4_gradients_of_the_pose_are_right() -> None:
    made = audit(Smooth().double(), fine="none", eps=0.9)
    images = some().double()[:1]
    goal = rendered(made.target, 40).double()
    delta, mask = torch.zeros_like(images), 1 - rendered(made.target, 40, SPAN)[:, :1].double()

    def value(pose: Tensor) -> Tensor:
        found = made.changed(images, delta, mask, pose)
        return made.terms(found, goal, None, seeded())[0].sum()

    pose = torch.tensor([[-0.2, 0.1]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(pose), pose)
    for k in range(2):
        step = torch.zeros(1, 2, dtype=torch.float64)
        step[0, k] = 1e-5
        with torch.no_grad():
            wanted = (value(pose + step) - value(pose - step)) / 2e-5
        assert slope[0, k] == pytest.approx(float(wanted), rel=0.05)


def test_5_one_step_is_the_gradients_sign() -> None:
    encoder = Smooth()
    made = audit(encoder, steps=1, parts=("noise", "picture"), fine="none")
    images = 0.25 + some() / 2  # no value meets the edge of [0, 1]
    found = made.perturb(images, generator=seeded(9))
    random = seeded(9)
    x = images.clone().requires_grad_(True)
    mine = cropped(x, random)
    aim = F.normalize(encoder(cropped(rendered(made.target, 40), random)), dim=1)
    (slope,) = torch.autograd.grad(F.cosine_similarity(encoder(mine), aim).sum(), x)
    torch.testing.assert_close(found, images + slope.sign() / 255, atol=1e-6, rtol=0)


def test_5_momentum_gathers_gradients() -> None:
    class Fickle(nn.Module):
        """Likes red at first and green, as strongly, in the second step."""

        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += images.requires_grad or images.grad_fn is not None
            weight = (1.0, 0.0) if self.calls <= 1 else (0.0, 1.0)
            seen = weight[0] * images[:, 0].mean((1, 2)) + weight[1] * images[:, 1].mean((1, 2))
            return torch.stack([torch.ones_like(seen), 1e-3 * seen], 1)

    images, text = torch.full((1, 3, 16, 16), 0.5), Features(torch.tensor([[0.0, 1.0]]), None)
    moved = {}
    for parts in (("noise", "sentence"), ("noise", "sentence", "momentum")):
        made = audit(Fickle(), steps=2, parts=parts, fine="none")
        found = made.perturb(images, generator=seeded(), texts=[text])
        moved[len(parts)] = ((found - images) * 255).amax((0, 2, 3)).round()
    assert moved[2].tolist() == [1, 1, 0]
    assert moved[3].tolist() == [2, 1, 0]


def test_6_closeness_is_largest_where_all_coincide() -> None:
    encoder = Smooth()
    made = audit(encoder, fine="none")
    goal = torch.full((1, 3, 40, 40), 0.3)  # every crop looks alike
    text = features(encoder, goal)
    assert made.terms(goal, goal, [text], None)[0].item() == pytest.approx(2, abs=1e-5)
    assert -2 <= made.terms(some(1), goal, [text], None)[0].item() < 2
    for parts in (("noise", "picture"), ("noise", "sentence")):
        texts = [text] if "sentence" in parts else None
        alone = audit(encoder, fine="none", parts=parts)
        assert alone.terms(goal, goal, texts, None)[0].item() == pytest.approx(1, abs=1e-5)


@given(st.integers(0, 100))
@settings(max_examples=10)
def test_7_matches_of_tokens(seed: int) -> None:
    random = seeded(seed)
    tokens = F.normalize(torch.randn(9, 6, generator=random), dim=1)
    other = F.normalize(torch.randn(7, 6, generator=random), dim=1)
    assert maxsim(tokens[None], tokens[None]).item() == pytest.approx(1, abs=1e-5)
    shuffled = maxsim(tokens[None, torch.randperm(9, generator=random)], other.flip(0)[None])
    wanted = (other @ tokens.T).max(1).values.mean()
    assert shuffled.item() == pytest.approx(float(wanted), abs=1e-5)
    flow = plan(1 - centroids(tokens) @ centroids(other).T)
    assert (flow.sum(0) - 1 / 5).abs().max() < 1e-2
    assert (flow.sum(1) - 1 / 5).abs().max() < 1e-2
    assert transport(tokens[None], other[None]).item() <= 1 + 1e-5
    means = torch.eye(5, 6)
    cold = plan(1 - means @ means.T, temperature=0.01)
    assert (cold * (means @ means.T)).sum().item() == pytest.approx(1, abs=1e-3)


def test_7_gradients_flow_through_centroids() -> None:
    tokens = F.normalize(torch.randn(2, 9, 6), dim=2).requires_grad_(True)
    target = F.normalize(torch.randn(1, 7, 6), dim=2)
    (slope,) = torch.autograd.grad(transport(tokens, target).sum(), tokens)
    assert (slope.abs().sum(2) > 0).all()


def test_8_the_target_comes_nearer_to_its_sentence() -> None:
    encoder, made = Smooth().requires_grad_(False), audit(Smooth())
    text = said()
    first = goal = rendered("A WORD", 40)
    far = [float((text.whole * features(encoder, goal).whole).sum())]
    for _ in range(40):
        goal = made.refined(goal, first, goal.detach(), [text])
        far.append(float((text.whole * features(encoder, goal).whole).sum()))
    assert far[-1] > far[0] + 0.05
    assert (goal - first).abs().max() <= REACH + 1e-6


def test_8_without_repulsion_it_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from telltale.robustness import prompt_injection

    monkeypatch.setattr(prompt_injection, "REPEL", 0.0)
    monkeypatch.setattr(prompt_injection, "REFINE", 0.2 / 255)
    encoder, text = Smooth().requires_grad_(False), said()
    made = audit(encoder)
    first = goal = rendered("A WORD", 40)
    values = []
    for _ in range(30):
        values.append(float((text.whole * features(encoder, goal).whole).sum()))
        goal = made.refined(goal, first, some(1), [text])
    assert all(b >= a - 1e-6 for a, b in itertools.pairwise(values))
    assert values[-1] > values[0]


def test_8_targets_are_refined_for_each_image_by_itself() -> None:
    made = audit(Smooth(), steps=12, every=3)
    images = some()
    both = made.perturb(images, generator=seeded(), texts=[said()])
    alone = made.perturb(images[1:], generator=seeded(), texts=[said()])
    torch.testing.assert_close(both[1:], alone, atol=1e-6, rtol=0)
    still = audit(Smooth(), steps=12, every=0).perturb(images, generator=seeded(), texts=[said()])
    assert not torch.equal(both, still)


def test_9_a_crops_gradient_reaches_its_pixels_only() -> None:
    images = some(1).requires_grad_(True)
    shapes = set()
    for seed in range(20):
        (slope,) = torch.autograd.grad(cropped(images, seeded(seed)).sum(), images)
        rows, columns = (slope[0, 0].any(k) for k in (1, 0))
        area = int(rows.sum() * columns.sum()) / 1600
        assert 0.45 <= area <= 0.95
        assert 0.7 <= rows.sum() / columns.sum() <= 1.4
        assert (slope[0, 0][rows][:, columns] > 0).all()
        shapes.add((int(rows.sum()), int(columns.sum())))
    assert len(shapes) > 10


def test_10_nothing_of_the_encoder_changes_and_seeds_hold() -> None:
    made = audit()
    before = {k: v.clone() for k, v in made.surrogates.state_dict().items()}
    with torch.no_grad():  # as callers of frozen models do
        one, other = (made.perturb(some(), generator=seeded(1)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, made.perturb(some(), generator=seeded(2)))
    assert all(torch.equal(v, before[k]) for k, v in made.surrogates.state_dict().items())
    assert all(p.grad is None for p in made.parameters())
    assert not one.requires_grad


def test_11_an_ensemble_is_the_mean_of_its_members() -> None:
    goal, images = rendered("A WORD", 40), some()
    both = audit(nn.ModuleList([Smooth(0), Smooth(1)])).terms(images, goal, None, seeded())[0]
    for number in range(2):
        alone = audit(Smooth(number)).terms(images, goal, None, seeded())[0]
        torch.testing.assert_close(both[number], alone[0])
    # The mean, not the sum, is what is climbed: momentum and sign cannot tell, Adam can.
    twice = audit(nn.ModuleList([Smooth(), Smooth()]), steps=6).perturb(images, generator=seeded())
    torch.testing.assert_close(twice, audit(Smooth(), steps=6).perturb(images, generator=seeded()))


def test_fine_terms_match_the_words_too() -> None:
    images, goal = some(), rendered("A WORD", 40)
    encoder = backbone("vit_toy", depth=1).eval()
    text, random = said(96), seeded()
    coarse, fine = audit(encoder).terms(images, goal, [text], seeded())
    mine = features(encoder, cropped(images, random))
    aim = features(encoder, cropped(goal, random))
    torch.testing.assert_close(coarse[0], (mine.whole * (aim.whole + text.whole)).sum(1))
    assert mine.tokens is not None
    assert aim.tokens is not None
    assert text.tokens is not None
    wanted = maxsim(mine.tokens, aim.tokens) + maxsim(mine.tokens, text.tokens)
    torch.testing.assert_close(fine[0], wanted)
    assert (audit(encoder, fine="none").terms(images, goal, [text], seeded())[1] == 0).all()
    assert FINE == 0.2


@pytest.mark.parametrize("fine", ["maxsim", "none"])
def test_an_encoder_is_moved(fine: str) -> None:
    encoder = backbone("vit_toy", depth=2).eval()
    made = audit(encoder, steps=40, fine=fine)
    images = some()
    aim = features(encoder, rendered(made.target, 40)).whole[0]
    found = made.perturb(images, generator=seeded())
    before, after = (features(encoder, x).whole @ aim for x in (images, found))
    assert (after > before + 0.1).all()
    start, *_, end = made.run(images, generator=seeded())
    assert (end.coarse > start.coarse).all()


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"eps": 1.0}, "eps in"),
        ({"steps": -1}, "steps and every"),
        ({"fine": "sum"}, "fine as maxsim, ot, none"),
        ({"target": " "}, "a target with words"),
        ({"parts": ("overlay",)}, "one of the first two and one of"),
        ({"parts": ("picture",)}, "one of the first two and one of"),
        ({"parts": ("overlay", "picture", "adam")}, "want parts of overlay"),
    ],
)
def test_it_says_which_settings_it_wants(chosen: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        audit(None, **chosen)


def test_it_says_what_else_it_wants() -> None:
    with pytest.raises(ValueError, match="one surrogate"):
        PromptInjection(nn.ModuleList())
    with pytest.raises(ValueError, match="want 1 texts"):
        audit().perturb(some(), texts=[])
    with pytest.raises(ValueError, match="want texts where"):
        audit(parts=("noise", "sentence")).perturb(some())
