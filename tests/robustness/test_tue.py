"""TUE: what the noise may change, its bound, who learns when, and that trackers learn less."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.data.memory import batches
from telltale.data.synth.moving import moving_clips
from telltale.fit import adam, fit
from telltale.nn.siamese import Tracker, balanced, crop, template_windows, wanted
from telltale.robustness.tue import TUE, Generator, contrasted, placed

EPS = 8 / 255


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def net(**settings: object) -> TUE:
    torch.manual_seed(0)
    chosen = {"size": 32, "width": 32, "depth": 2, "tracker": "toy"} | settings
    return TUE(**chosen)  # type: ignore[arg-type]


def shaken(**settings: object) -> TUE:
    """A generator whose zeros are gone."""
    made = net(**settings)
    with torch.no_grad():
        for weight in made.generator.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    return made.eval()


def pairs(count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    clips, tracks = (torch.from_numpy(x) for x in moving_clips(count, frames=2, seed=seed))
    return clips, tracks


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_1_it_has_as_many_weights_as_a_dit() -> None:
    made = Generator(128, 8, 384, 12)

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert made.positions.shape == (256, 384)
    assert count(made) == 32_365_248
    assert count(made.blocks[0]) == 2_659_968
    assert count(made.last) + count(made.out) == 369_600
    assert count(made.embed) == 74_112
    assert count(made.state) == 1_920


def test_2_a_fresh_generator_changes_nothing() -> None:
    clips, tracks = pairs()
    assert torch.equal(net().eval()(clips[:, 0], tracks[:, 0]), clips[:, 0])


def test_3_the_bound_holds() -> None:
    clips, tracks = pairs()
    changed = shaken().perturb(clips[:, 0], tracks[:, 0])
    assert 0.5 * EPS < changed.abs().max() <= EPS + 1e-7


def test_4_nothing_outside_the_window_changes() -> None:
    made = shaken()
    frames = torch.rand(2, 3, 60, 80)
    boxes = torch.tensor([[30.0, 20, 12, 8], [-6.0, 50, 12, 20]])  # the second half outside
    changed = made.perturb(frames, boxes)
    assert changed.shape == frames.shape
    for change, (x, y, side) in zip(changed, template_windows(boxes).tolist(), strict=True):
        rows = (torch.arange(60) + 0.5 - y).abs() <= side / 2
        columns = (torch.arange(80) + 0.5 - x).abs() <= side / 2
        inside = rows[:, None] & columns[None]
        assert (change[:, ~inside] == 0).all()
        assert (change[:, inside] != 0).float().mean() > 0.9
    small = shaken(context=False).perturb(frames, boxes)[0]
    assert (small[:, 20:28, 30:42] != 0).any()
    small[:, 20:28, 30:42] = 0
    assert not small.any()


def test_5_noise_that_was_placed_is_cut_out_again() -> None:
    smooth = EPS * F.interpolate(torch.rand(1, 3, 4, 4) * 2 - 1, 32, mode="bicubic")
    boxes = torch.tensor([[20.3, 30.7, 20, 12]])
    windows = template_windows(boxes)
    again = crop(placed(smooth, windows, (90, 90)), windows, 32)
    inner = (..., slice(2, -2), slice(2, -2))  # a window's edge lies between pixels
    assert (again - smooth)[inner].abs().mean() < 0.1 * EPS


def test_6_the_noise_follows_the_state() -> None:
    made = shaken()
    windows = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    states = torch.tensor([[0.1, 0.1, 0.2, 0.2], [0.6, 0.5, 0.3, 0.1]])
    one, two = made.generator(windows, states)
    assert not torch.allclose(one, two)
    nn.init.zeros_(made.generator.state.weight)
    one, two = made.generator(windows, states)
    torch.testing.assert_close(one, two)


def test_7_the_trackers_shapes_and_weights() -> None:
    tracker = Tracker("siamfc").eval()
    assert (tracker.shape.template, tracker.shape.search) == (127, 255)
    with torch.no_grad():
        assert tracker.features(torch.rand(1, 3, 127, 127)).shape == (1, 256, 6, 6)
        assert tracker.features(torch.rand(1, 3, 255, 255)).shape == (1, 256, 22, 22)
        assert tracker(torch.rand(2, 3, 127, 127), torch.rand(2, 3, 255, 255)).shape == (2, 17, 17)
    target, weight = wanted(torch.zeros(1, 17, 17), torch.zeros(1, 2))
    assert target.sum() == 13  # cells at a distance of 2 steps or less
    assert weight.sum() == pytest.approx(1)
    assert (weight * target).sum() == pytest.approx(0.5)
    assert balanced(torch.zeros(1, 17, 17), torch.zeros(1, 2)).item() == pytest.approx(math.log(2))


def test_7_responses_are_each_pairs_own() -> None:
    tracker = Tracker("toy", size=32).eval()
    z, x = torch.rand(3, 3, 32, 32), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            tracker(z, x)[1:2], tracker(z[1:2], x[1:2]), rtol=1e-4, atol=1e-4
        )


def test_a_window_is_where_it_should_be() -> None:
    """A bright spot at the box's middle is in the middle of the crop; beyond edges is the mean."""
    frame = torch.zeros(1, 3, 40, 40)
    frame[..., 20:22, 30:32] = 1
    boxes = torch.tensor([[27.0, 17, 8, 8]])
    assert template_windows(boxes).tolist() == [[31, 21, 16]]  # √(16 · 16)
    cut = crop(frame, template_windows(boxes), 16)
    assert cut[0, 0, 7:9, 7:9].min() > 0.99
    assert cut.sum() == pytest.approx(12, rel=1e-2)
    away = crop(frame + 0.2, torch.tensor([[-100.0, -100, 16]]), 16)
    torch.testing.assert_close(away, torch.full_like(away, 0.2 + 4 / 1600))


@pytest.mark.parametrize("stage", ["generator", "tracker"])
def test_8_one_learns_and_the_other_rests(stage: str) -> None:
    made, (clips, tracks) = net(), pairs()
    made.enter(stage)
    parts = {"generator": made.generator, "tracker": made.tracker}
    before = {name: weights(part) for name, part in parts.items()}
    for step in fit(made, batches({"clips": clips, "tracks": tracks}, 6), adam(made, lr=1e-2)):
        if step.number == 2:
            break
    for name, part in parts.items():
        now = weights(part)
        stays = all(torch.equal(now[key], value) for key, value in before[name].items())
        assert stays == (name != stage)


def test_9_the_contrast_by_hand() -> None:
    alike = torch.ones(2, 5)
    assert contrasted(alike, alike, torch.ones(7, 5)).item() == pytest.approx(math.log(8))
    anchors, negatives = torch.eye(5)[:2], torch.eye(5)[3:]
    turned = contrasted(anchors, torch.eye(5)[[2, 2]], negatives)
    assert contrasted(anchors, anchors, negatives) < turned
    assert turned.item() == pytest.approx(math.log(3))


def test_9_clean_negatives_teach_nothing() -> None:
    made, (clips, tracks) = shaken().train(), pairs()
    clips.requires_grad_(True)
    terms = made.loss(clips, tracks)
    assert set(terms) == {"track", "contrast"}
    assert terms["contrast"].requires_grad
    with torch.no_grad():
        clean = made.tracker.embed(clips[:, 0], tracks[:, 0])
    assert not clean.requires_grad
    assert "contrast" not in net(contrast=0.0).loss(clips, tracks)


@pytest.mark.slow
def test_10_and_11_trackers_match_the_noise_and_not_the_target() -> None:
    torch.manual_seed(0)
    made = net(eps=16 / 255, width=64)
    clips, tracks = pairs(96)
    feed = batches({"clips": clips, "tracks": tracks}, 16)
    optimizers = {}
    for turn in range(160):
        stage = ("generator", "tracker")[turn % 2]
        made.enter(stage)
        optimizers.setdefault(stage, adam(made, lr=1e-3))
        next(iter(fit(made, feed, optimizers[stage])))
    made.enter("generator")
    made.eval()
    test, boxes = pairs(64, seed=5)
    torch.manual_seed(1)
    with torch.no_grad():
        changed = torch.stack([made(test[:, k], boxes[:, k]) for k in (0, 1)], 1)
        found = []
        for frames in (changed, test):
            torch.manual_seed(2)
            found.append(float(made.tracker.loss(frames, boxes)["track"]))
    assert found[0] < found[1] - 0.1


def test_a_followed_target_stays_in_its_size() -> None:
    clips, tracks = (torch.from_numpy(x) for x in moving_clips(1, frames=4))
    found = Tracker("toy", size=32).eval().follow(clips[0], tracks[0, 0])
    assert found.shape == (4, 4)
    assert torch.equal(found[0], tracks[0, 0])
    assert (found[:, 2:] == tracks[0, 0, 2:]).all()


def test_drawn_clips_are_the_same_again_and_boxes_hold_their_targets() -> None:
    clips, tracks = moving_clips(3, frames=5, seed=4)
    again, _ = moving_clips(2, frames=5, seed=4)
    assert (clips[:2] == again).all()
    assert clips.shape == (3, 5, 3, 72, 72)
    assert (tracks[..., :2] >= 0).all()
    assert (tracks[..., :2] + tracks[..., 2:] <= 72).all()
    with pytest.raises(ValueError, match="a quarter of the side"):
        moving_clips(1, target=40)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 33}, "multiples of the patch"),
        ({"width": 30}, "multiples of 4"),
        ({"eps": 0.0}, "eps in"),
        ({"contrast": -1.0}, "contrast of 0"),
        ({"tracker": "ostrack"}, "want tracker siamfc"),
        ({"size": 64, "tracker": "siamfc"}, "want tracker siamfc"),
    ],
)
def test_it_says_which_settings_it_wants(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        net(**settings)


def test_it_says_what_batches_it_wants() -> None:
    made, (clips, tracks) = net(), pairs()
    for bad in (clips[:, 0], clips[:, :1], (clips * 255).byte()):
        with pytest.raises(ValueError, match="want float clips"):
            made.loss(bad, tracks)
    with pytest.raises(ValueError, match="boxes"):
        made.loss(clips, tracks[..., :3])
    with pytest.raises(ValueError, match="sides above 0"):
        made.perturb(clips[:, 0], tracks[:, 0] * 0)
    with pytest.raises(ValueError, match="want stage"):
        made.enter("both")
