"""The simulators' physics: patterns where the sampling puts them, and nothing else to go by."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from telltale.data.synth import display, printing, recapture
from telltale.data.synth.camera import (
    Camera,
    draw_camera,
    from_linear,
    photograph,
    to_linear,
)
from telltale.data.synth.display import (
    Display,
    column_tables,
    draw_display,
    replayed,
    row_table,
)
from telltale.data.synth.masks import Mask, masked, usual_landmarks
from telltale.data.synth.pages import page
from telltale.data.synth.planes import View, positions
from telltale.data.synth.printing import Printer, draw_printer, halftone, printed
from telltale.data.synth.textures import textures
from telltale.metrics import auc

GREY = np.full((96, 96, 3), 128, np.uint8)
STILL = Camera(blur=0, vignetting=0, full_well=1e9, read_noise=0, sharpening=0, quality=0)


def scene(seed: int, size: int = 64) -> NDArray[np.uint8]:
    drawn = textures(1, size, np.random.default_rng([seed, 1]))[0].transpose(1, 2, 0)
    return (drawn * 255).astype(np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def peak(light: NDArray[np.float32]) -> tuple[float, float]:
    """The strongest frequency (across, down) of a grey picture, cycles a pixel."""
    grey = light - light.mean()
    window = np.outer(np.hanning(len(grey)), np.hanning(len(grey[0])))
    spectrum = np.abs(np.fft.fft2(grey * window, (512, 512)))
    down, across = np.unravel_index(spectrum[:256].argmax(), (256, 512))
    return float(np.fft.fftfreq(512)[across]), float(np.fft.fftfreq(512)[down])


def test_a_perfect_camera_gives_the_picture_back() -> None:
    smooth = np.repeat(np.repeat(scene(0, 16), 8, 0), 8, 1)
    taken = photograph(to_linear(smooth), STILL, rng())
    inside = np.abs(taken.astype(int) - smooth)[2:-2, 2:-2]
    assert np.median(inside) <= 1  # demosaicing smears edges alone


def test_the_mosaic_is_red_green_green_blue() -> None:
    light = np.zeros((8, 8, 3), np.float32)
    light[0::2, 0::2, 0] = 1  # red only where RGGB has its red photosites
    seen = photograph(light, STILL._replace(balance=(1.0, 1.0)), rng())
    assert seen[2:-2, 2:-2, 0].min() > 250
    assert seen[2:-2, 2:-2, 1:].max() < 5


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
def test_noise_is_shot_and_read_noise(level: float) -> None:
    camera = STILL._replace(full_well=5000, read_noise=4, balance=(1.0, 1.0))
    light = np.full((200, 200, 3), level, np.float32)
    seen = to_linear(photograph(light, camera, rng()))[2:-2, 2:-2, 1][::2, 1::2]  # green as read
    expected = math.sqrt(level / 5000 + (4 / 5000) ** 2)
    assert seen.mean() == pytest.approx(level, rel=0.01)
    assert seen.std() == pytest.approx(expected, rel=0.25)  # 8 bits round


def test_light_and_pictures_are_inverse() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.abs(from_linear(to_linear(every)).astype(int) - every).max() <= 1


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3))])
def test_the_camera_says_what_it_wants(bad: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="want float32 light"):
        photograph(bad, STILL, rng())
    with pytest.raises(ValueError, match="want a uint8 image"):
        recapture.bona_fide(bad.astype(np.float32), rng())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no attack 'hologram'; there is display"):
        recapture.attacked(GREY, "hologram", rng())


@pytest.mark.parametrize("pitch", [0.7, 1.3, 2.6])
@pytest.mark.parametrize("layout", ["stripe", "pentile"])
def test_the_tables_are_what_photosites_gather(pitch: float, layout: str) -> None:
    """Against the plain way: 64 rays through each pixel, apertures open or shut."""
    display = Display(pitch=pitch, layout=layout, matrix=0.2)
    fill, rays = 0.8, (np.arange(64) + 0.5) / 64 - 0.5
    starts = np.linspace(0, 1, 40, endpoint=False)
    for channel, table in enumerate(column_tables(display, 0.0)):
        wide, period = (fill / 3, 1.0) if layout == "stripe" else (fill / 2, 1.0)
        middle = (channel + 0.5) / 3 if layout == "stripe" else 0.5
        if layout == "pentile" and channel != 1:
            wide, period, middle = fill / 4, 2.0, (0.25, 0.5, 0.75)[channel]
        place = starts[:, None] + rays[None] / (pitch * period)
        is_open = np.abs((place - middle + 0.5) % 1 - 0.5) < wide / 2
        plain = is_open.mean(1) / wide
        seen = table[(starts * len(table)).round().astype(int) % len(table)]
        np.testing.assert_allclose(seen, plain, atol=0.12)
        assert table.mean() == pytest.approx(1, abs=1e-5)
    assert row_table(display, 0.0).mean() == pytest.approx(1, abs=1e-5)


@given(st.floats(0.6, 3), st.floats(-8, 8))
@settings(max_examples=25, deadline=None)
def test_moire_lies_where_the_grid_folds_back(pitch: float, rotation: float) -> None:
    display = Display(pitch=pitch, matrix=0.2, view=View(rotation=rotation))
    light = replayed(GREY, display, rng(), (256, 256), blur=0.3)[..., 1]
    # the rows' and the columns' first harmonics, folded to less than half a cycle a pixel
    angle = math.radians(rotation)
    waves = [
        (k / pitch * math.cos(angle + turn), k / pitch * math.sin(angle + turn))
        for k in (1, 2, 3)
        for turn in (0, math.pi / 2)
    ]
    found = peak(light)

    def apart(wave: tuple[float, float]) -> float:  # frequencies a whole cycle apart are the same
        off = [f - g for f, g in zip(found, wave, strict=True)]
        return math.hypot(*(f - round(f) for f in off))

    nearest = min(min(apart(wave), apart((-wave[0], -wave[1]))) for wave in waves)
    amplitude = light.std() / light.mean()
    assert nearest < 0.02 or amplitude < 0.004  # a grid that the lens has blurred away


def test_a_fine_grid_is_gone_and_a_coarse_one_is_not() -> None:
    def ripple(pitch: float) -> float:
        light = replayed(GREY, Display(pitch=pitch), rng(), (128, 128), blur=0.6)
        return float(light.std() / light.mean())

    assert ripple(0.31) < 0.003 < 0.05 < ripple(2.4)


def test_banding_runs_down_the_rows_with_its_period() -> None:
    display = Display(pitch=0.31, banding=0.1, frequency=100, row_time=20)  # 500 rows a period
    rows = replayed(GREY, display, rng(), (500, 32), blur=0.6).mean((1, 2))
    wave = rows / rows.mean() - 1
    assert np.abs(np.fft.rfft(wave))[1:].argmax() == 0
    assert wave.max() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("angle", [15.0, 45.0, 75.0])
def test_halftone_shows_its_screen_angle(angle: float) -> None:
    """Black alone (no removal of grey: the ink's own screen) at a cell of four pixels."""
    table = halftone(4.0, angle, 0.4)
    y, x = np.mgrid[:192, :192].astype(np.float32)
    turn = math.radians(angle)
    s = (x * math.cos(turn) + y * math.sin(turn)) / 4
    t = (y * math.cos(turn) - x * math.sin(turn)) / 4
    seen = table[32][(t * 32).astype(int) & 31, (s * 32).astype(int) & 31]
    across, down = peak(seen)
    found = math.degrees(math.atan2(abs(down), abs(across)))
    assert min(abs(found - angle), abs(found - (90 - angle))) < 3
    assert math.hypot(across, down) == pytest.approx(0.25, abs=0.01)


def test_a_screen_keeps_the_ink() -> None:
    means = halftone(3.0, 15.0, 0.5).mean((1, 2))
    np.testing.assert_allclose(means, np.linspace(0, 1, len(means)), atol=0.01)


def test_a_fine_screen_is_a_plain_recapture() -> None:
    def ripple(cell: float) -> float:
        light = printed(GREY, Printer(cell=cell, fibre=0), rng(), (128, 128), blur=0.6)
        return float((light.std((0, 1)) / light.mean((0, 1))).max())

    assert ripple(0.31) < 0.02 < 0.15 < ripple(4.0)


def test_dot_gain_darkens_midtones_and_not_the_ends() -> None:
    def mean(grey: int, gain: float) -> float:
        image = np.full((64, 64, 3), grey, np.uint8)
        return float(printed(image, Printer(gain=gain, fibre=0), rng(), blur=0.5).mean())

    assert mean(128, 0.25) < 0.9 * mean(128, 0.0)
    assert mean(255, 0.25) == pytest.approx(mean(255, 0.0), rel=1e-3)


def test_a_mask_loses_pores_and_keeps_the_eyes() -> None:
    live = to_linear(scene(3, 128))
    worn = masked(live, Mask(gloss=0), usual_landmarks((128, 128)), rng())

    def detail(light: NDArray[np.float32], y: slice, x: slice) -> float:
        return float(np.abs(np.diff(light[y, x], axis=1)).mean())

    cheek, eye = (slice(64, 80), slice(60, 76)), (slice(52, 56), slice(42, 48))
    assert detail(worn, *cheek) < 0.5 * detail(live, *cheek)
    np.testing.assert_array_equal(worn[eye], live[eye])
    np.testing.assert_array_equal(worn[:5], live[:5])  # hair and background are not worn


def test_a_bend_leaves_the_middle_where_it_was() -> None:
    flat, bent = (positions((40, 60), View(bend=bend))[0] for bend in (math.inf, 0.8))
    assert bent[20, 30] == pytest.approx(flat[20, 30], abs=0.01)
    assert bent[20, 0] < flat[20, 0] - 0.5
    assert bent[20, 59] > flat[20, 59] + 0.5


@pytest.mark.parametrize("kind", recapture.KINDS)
def test_an_attack_has_the_tone_of_its_face_and_its_seed(kind: str) -> None:
    image = scene(5, 96)
    camera = draw_camera(rng(2))._replace(exposure=1.0)
    made = [recapture.attacked(image, kind, rng(seed), camera) for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    genuine = recapture.bona_fide(image, rng(1), camera)
    for k in range(3):
        assert made[0][..., k].mean() == pytest.approx(genuine[..., k].mean(), abs=12)


def features(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Energies of sixteen bands and their peaks; mean and deviation of each colour."""
    grey = image.mean(2)
    spectrum = np.abs(np.fft.rfft2(grey - grey.mean()))
    radius = np.hypot(np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey))[None])
    band = np.minimum((radius * 32).astype(int), 15)
    energy = np.bincount(band.ravel(), spectrum.ravel(), 16) / np.bincount(band.ravel(), None, 16)
    highest = np.array([spectrum[band == k].max() for k in range(4, 16)])  # a grid's is a line
    peaks = np.log(highest / energy[4:])
    tone = np.r_[image.mean((0, 1)), image.std((0, 1))] / 64
    return np.r_[np.log(energy + 1e-3), peaks, tone]


def separability(kind: str | None, count: int = 240) -> float:
    """Held-out AUC of a forest; None draws the camera twice and attacks nothing."""
    rows, labels = [], []
    for k in range(count):
        image, draw = scene(k), rng(1000 + k)
        label = k % 2
        is_attack = label and kind is not None
        made = recapture.attacked(image, kind, draw) if is_attack else None  # type: ignore[arg-type]
        rows.append(features(recapture.bona_fide(image, draw) if made is None else made))
        labels.append(label)
    x, y = np.array(rows), np.array(labels)
    x = (x - x.mean(0)) / x.std(0)
    half = count // 2
    model = RandomForestClassifier(200, random_state=0).fit(x[:half], y[:half])
    return float(auc(model.predict_proba(x[half:])[:, 1], y[half:]))


def test_two_draws_of_the_camera_cannot_be_told_apart() -> None:
    assert 0.35 < separability(None) < 0.65  # 120 tested: a deviation of 0.05 round a half


@pytest.mark.parametrize("kind", recapture.KINDS)
def test_attacks_can_be_told_apart(kind: str) -> None:
    """150 or 300 tested: a deviation of 0.05 or 0.03 round a half, were they like the face."""
    count = 600 if kind in ("display", "mask") else 300
    assert separability(kind, count) > 0.65


@pytest.mark.parametrize("size", [(70, 50), (32, 33)])
def test_what_is_worked_on_in_strips_has_no_seams(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = scene(3, 96)[: size[0], : size[1]]
    drawers: dict[Any, Any] = {display: draw_display, printing: draw_printer}
    for module, draw in drawers.items():
        for seed in range(4):
            thing = draw(rng(seed))
            made = []
            for rows in (7, 1000):  # and all at once
                monkeypatch.setattr(module, "STRIP", rows)
                render: Any = replayed if module is display else printed
                made.append(render(image, thing, rng(1)))
            assert np.array_equal(*made)


def test_pages_are_drawn_from_their_seed() -> None:
    first, again, other = (page((120, 160), rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (120, 160, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.mean() > 120  # mostly paper
    assert first.min() < 110  # and ink
    with pytest.raises(ValueError, match="64 pixels or more"):
        page((32, 200), rng())


def test_a_display_too_fine_to_see_cannot_be_told_from_a_live_scene() -> None:
    """The whole attack's way, matching and blur before sampling included, without its trace."""
    still = Display(pitch=0.05, black=0.0, matrix=0.1)
    rows, labels = [], []
    for k in range(240):
        image, draw = scene(k), rng(1000 + k)
        attack = recapture.attacked(image, "display", draw, device=still)
        genuine = recapture.bona_fide(image, draw)
        rows.append(features(attack if k % 2 else genuine))
        labels.append(k % 2)
    x, y = np.array(rows), np.array(labels)
    model = RandomForestClassifier(200, random_state=0).fit(x[:120], y[:120])
    assert auc(model.predict_proba(x[120:])[:, 1], y[120:]) < 0.68
