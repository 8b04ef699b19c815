import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from telltale.pictures.fpr_iqa import FPR, Coupling, Invertible, cut, drawn, pooled, start
from telltale.recipe import in_force, read_recipe
from telltale.train import network_of, train


def small(**settings: object) -> FPR:
    torch.manual_seed(0)
    return FPR(width=4, **settings)  # type: ignore[arg-type]


def pictures(count: int = 2, height: int = 64, width: int = 192) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kind", "most"), [(torch.float32, 1e-3), (torch.float64, 1e-9)])
def test_1_and_15_the_couplings_invert_both_ways(kind: torch.dtype, most: float) -> None:
    torch.manual_seed(0)
    net = Invertible(256, 3).apply(start).to(kind)
    a, b = torch.randn(2, 2, 256, 2, 2, generator=torch.Generator().manual_seed(2)).to(kind)
    with torch.no_grad():
        u, v = net.inverse(*net(a, b))
        assert max((u - a).abs().max(), (v - b).abs().max()) < most
        u, v = net(*net.inverse(a, b))
        size = max(1.0, *(float(part.abs().max()) for part in net.inverse(a, b)))
    assert max((u - a).abs().max(), (v - b).abs().max()) < most * size


def test_2_the_log_determinant_is_the_sum_of_s() -> None:
    torch.manual_seed(0)
    block = Coupling(4).double()
    x = torch.randn(8).double()

    def whole(v: torch.Tensor) -> torch.Tensor:
        return torch.cat(block(v[:4].view(1, 4, 1, 1), v[4:].view(1, 4, 1, 1)), 1).flatten()

    matrix = torch.autograd.functional.jacobian(whole, x)
    y1, _ = block(x[:4].view(1, 4, 1, 1), x[4:].view(1, 4, 1, 1))
    found = torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(found, block.log_scale(y1).sum(), atol=1e-5, rtol=0)


def test_3_zero_weights_are_the_identity() -> None:
    net = Invertible(4, 3)
    for weight in net.parameters():
        torch.nn.init.zeros_(weight)
    a, b = torch.randn(2, 2, 4, 2, 2)
    assert torch.equal(net(a, b)[0], a)
    assert torch.equal(net(a, b)[1], b)


def test_4_and_5_shapes_and_parameters_of_the_paper() -> None:
    net = FPR()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert count["disentangle"] == 7_094_016
    assert count["quality"] == 1_145_408
    assert count["integrity"] == 6_936_704
    assert count["head"] == count["pair_head"] == 699_874
    assert count["integrity"] + count["head"] == 7_636_578
    assert sum(count.values()) == 16_576_388 - 512  # the authors declare a norm and don't use it
    cells = cut(pictures(), 64)
    with torch.no_grad():
        scores, maps = net.learn(cells, cells)
    assert all(score.shape == (2,) for score in scores)
    assert all(part.shape == (6, 256, 8, 8) for part in maps)
    assert net.head.memory.input_size == 256


def test_6_the_score_needs_only_the_no_reference_path() -> None:
    net, x = small(), pictures()
    before = net(x)
    with torch.no_grad():
        for part in (net.quality, net.disentangle, net.pair_head):
            for weight in part.parameters():
                weight.add_(1.0)
    assert torch.equal(net(x), before)


@given(st.lists(st.tuples(st.floats(-50, 150), st.floats(1e-8, 10)), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_7_the_score_is_a_convex_combination(pairs: list[tuple[float, float]]) -> None:
    scores, weights = torch.tensor(pairs, dtype=torch.float64).T[:, None]
    found = pooled(scores, weights)
    assert scores.min() - 1e-6 <= found <= scores.max() + 1e-6
    same = torch.full_like(scores, 7.0)
    torch.testing.assert_close(pooled(same, weights), torch.tensor([7.0], dtype=torch.float64))


def test_8_a_reference_has_its_own_features() -> None:
    cells = cut(pictures(), 64)
    _, maps = small().learn(cells, cells.clone())
    assert torch.equal(maps.distorted, maps.reference)


def test_9_triplets_by_hand() -> None:
    anchor = torch.zeros(1, 1, 2, 4)
    far = torch.full_like(anchor, 0.5)  # a distance of 1 a row
    for positive, negative, loss in ((anchor, far, 0.0), (far, far, 0.5), (far, anchor, 1.5)):
        found = F.triplet_margin_loss(anchor, positive, negative, margin=0.5, p=2.0)
        assert float(found) == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("negatives", ["code", "paper"])
def test_9_the_loss_takes_the_negatives_that_were_asked_for(negatives: str) -> None:
    net, x, y = small(negatives=negatives, patches=99), pictures(), pictures().flip(0)
    scores = torch.tensor([10.0, 60.0])
    torch.manual_seed(3)
    terms = net.loss(x, y, scores)
    torch.manual_seed(3)
    made, maps = net.learn(*drawn(x, y, 64, 99))
    negative = maps.reference if negatives == "code" else maps.pseudo
    d = [(maps.distorted - other + 1e-6).norm(dim=-1) for other in (maps.hallucinated, negative)]
    torch.testing.assert_close(terms["distortion"], 20 * (d[0] - d[1] + 0.5).relu().mean())
    torch.testing.assert_close(terms["no_reference"], (made.no_reference - scores).abs().mean())


def reached(net: FPR, term: torch.Tensor) -> set[str]:
    net.zero_grad()
    term.backward()
    return {
        name
        for name, part in net.named_children()
        if any(p.grad is not None and p.grad.any() for p in part.parameters())
    }


def test_10_where_gradients_go() -> None:
    net, x = small(), pictures()
    scores = torch.tensor([10.0, 60.0])
    loss = net.loss(x, x.flip(0), scores)
    assert reached(net, loss["no_reference"]) == {"integrity", "head"}
    loss = net.loss(x, x.flip(0), scores)
    assert reached(net, loss["pseudo_reference"]) == {"integrity", "disentangle", "pair_head"}
    loss = net.loss(x, x.flip(0), scores)
    assert reached(net, loss["reference"]) == {"integrity", "disentangle", "quality"}


def test_11_cells_are_whole_and_those_of_the_reference_the_same() -> None:
    x = pictures(3, 130, 200)
    cells = cut(x, 64)
    assert cells.shape == (3, 6, 3, 64, 64)
    assert torch.equal(cells[:, 4], x[:, :, 64:128, 64:128])
    one, other = drawn(x, 1 - x, 64, 4)
    assert one.shape == (3, 4, 3, 64, 64)
    torch.testing.assert_close(other, 1 - one)
    for k in range(3):
        plain = {cell.numpy().tobytes() for cell in cells[k]}
        mirrored = {cell.flip(-1).numpy().tobytes() for cell in cells[k]}
        drawn_here = {cell.numpy().tobytes() for cell in one[k]}
        assert len(drawn_here) == 4
        assert drawn_here <= plain or drawn_here <= mirrored


def test_14_patches_without_weight_hardly_matter() -> None:
    scores = torch.tensor([[10.0, 90.0, 20.0]], dtype=torch.float64)
    weights = torch.tensor([[0.3, 1e-8, 0.2]], dtype=torch.float64)
    kept = [0, 2]
    torch.testing.assert_close(
        pooled(scores, weights), pooled(scores[:, kept], weights[:, kept]), rtol=1e-6, atol=0
    )


def test_16_the_order_matters_and_is_fixed() -> None:
    net, x = small().eval(), pictures()
    with torch.no_grad():
        for name, weight in net.head.named_parameters():
            if name.startswith(("memory", "weigh")):
                weight.normal_(0, 1, generator=torch.Generator().manual_seed(len(name)))
        maps = net.integrity(cut(x, 64).flatten(0, 1))
        _, weights = net.head.parts(maps, 2)
        _, other = net.head.parts(maps.view(2, 3, *maps.shape[1:]).flip(1).flatten(0, 1), 2)
        assert not torch.allclose(weights, other.flip(1))
        assert torch.equal(net(x), net(x))


def test_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match="cells of 48"):
        FPR(cell=50)
    with pytest.raises(ValueError, match="negatives"):
        FPR(negatives="neither")
    net, x = small(), pictures()
    with pytest.raises(ValueError, match="sides 64 or more"):
        net(x[..., :40])
    with pytest.raises(ValueError, match="want partners"):
        net.loss(x, x[:1], torch.zeros(2))


def test_it_trains_by_its_recipe_and_is_kept_by_rank_correlation(tmp_path: Path) -> None:
    settings = {"method.width": 2, "data.scenes": 4, "data.size": 64, "method.cell": 64}
    settings |= {"data.validation": 20, "fit.steps": 4, "fit.warmup": 1, "fit.every": 2}
    run = train("fpr_iqa", recipe="toy", settings=settings, run=tmp_path / "run")
    log = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    assert ["val_srcc" in record for record in log] == [False, True, False, True]
    assert {"full_reference", "pseudo_reference", "no_reference"} < {*log[0]}
    assert "SRCC" in (run / "card.toml").read_text()
    assert network_of(run)(pictures()).shape == (2,)


def test_the_papers_recipe_has_the_papers_values() -> None:
    plan = in_force("fpr_iqa", read_recipe("paper", "fpr_iqa"))
    usual = {p.name: p.default for p in inspect.signature(FPR).parameters.values()}
    assert plan.method == usual
    assert (plan.fit.lr, plan.fit.weight_decay, plan.data.batch) == (1e-4, 1e-4, 32)


def test_the_papers_recipe_runs_on_the_databases_layout(tmp_path: Path) -> None:
    folder, rng = tmp_path / "kadid", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["dist_img,ref_img,dmos,var"]
    for number in range(1, 6):
        names = [f"I0{number}.png", *(f"I0{number}_01_0{level}.png" for level in (1, 2))]
        for name in names:
            pixels = rng.integers(0, 256, (64, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name)
        lines += [f"{names[k]},{names[0]},{5 - k},0.1" for k in (1, 2)]
    (folder / "dmos.csv").write_text("\n".join(lines) + "\n")
    settings = {"method.width": 2, "method.patches": 1, "data.batch": 4, "data.size": 64}
    settings |= {"data.workers": 0, "fit.steps": 2, "fit.every": 1}
    run = train(
        "fpr_iqa", recipe="paper", data=f"kadid10k:{folder}", settings=settings, run=tmp_path / "r"
    )
    about = json.loads((run / "run.json").read_text())["data"]
    assert (about["train"], about["val"]) == (6 + 1, 2)  # three references and a pristine picture
    assert about["kinds"] == ["01"]
