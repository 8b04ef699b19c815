"""N-MNIST-like events: a camera shakes in three saccades before a picture, and edges fire.

The picture moves along an isosceles triangle; each pixel keeps a reference of its log intensity and
fires once for every threshold that it departs from it. Where an edge runs along the motion nothing
fires, hence each saccade shows something else.

Source: the recording procedure of Orchard et al., "Converting Static Image Datasets to Spiking
Neuromorphic Datasets Using Saccades", Frontiers in Neuroscience 2015.
"""

import numpy as np
from numpy.typing import NDArray

from telltale.data.events.files import Events, as_events

PATH = ((3.5, 7.0), (3.5, -7.0), (-7.0, 0.0))  # pixels of a 34-pixel sensor, a saccade each
SACCADE, FLOOR = 105_000, 0.1  # microseconds; intensity of black
SWAY = 1.2 / 28  # of small digits: 1.2 and 2.4 pixels where a digit has 8, a little more than scale
CHUNK = 64  # pictures at once


def saccade_events(  # noqa: PLR0913  # a property of the sensor each
    picture: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    side: int = 34,
    motion: float = 1.0,
    step: int = 1000,
    threshold: float = 0.25,
    spread: float = 0.03,
    noise: float = 0.0,
    refractory: int = 0,
) -> Events:
    """Events of a picture before a shaking camera, sorted by time.

    Args:
        picture: (h, w) in [0, 1], no larger than the sensor; it stands in the middle.
        rng: Of thresholds, noise and a start within a pixel of the middle.
        side: The sensor's, in pixels.
        motion: Of the saccades, 1 for digits of 28 pixels.
        step: Microseconds between looks.
        threshold: θ in log intensity.
        spread: Standard deviation of θ over pixels.
        noise: Events a second of a pixel at rest.
        refractory: Microseconds for which a pixel that fired is blind; what it would have fired is
            lost.

    Raises:
        ValueError: If the picture is larger than the sensor or not within [0, 1].
    """
    height, width = picture.shape
    if max(height, width) > side or picture.min() < 0 or picture.max() > 1:
        raise ValueError(f"want a picture in [0, 1] of {side} pixels or less, got {picture.shape}")
    canvas = np.zeros((side, side))
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = picture
    looks = _looks(canvas, rng, step, motion)[None]
    limits = _limits(rng, threshold, spread, (1, side, side))
    _, x, y, t, p = _fired(looks, limits, step)
    length = (looks.shape[1] - 1) * step
    count = rng.poisson(noise * side * side * length / 1e6)
    spots = rng.integers(0, side, (2, count))
    when, sign = rng.integers(0, max(length, 1), count), rng.integers(0, 2, count)
    found = np.concatenate([as_events(x, y, t, p), as_events(spots[0], spots[1], when, sign)])
    found = found[np.argsort(found["t"], kind="stable")]
    return _rested(found, refractory, side) if refractory else found


def saccade_digits(
    count: int,
    *,
    seed: int,
    steps: int = 6,
    side: int = 16,
    test: bool = False,
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Clips (N, T, 2, S, S) of counts and digits (N,) from scikit-learn's scanned digits.

    Args:
        count: N. Training draws from the first 1,297 scans, tests from the last 500: other
            writers.
        seed: Of draws, starts and thresholds.
        steps: T.
        side: The sensor's, 10 pixels or more; the digits are half as wide.
        test: Which of the two.
    """
    from sklearn.datasets import load_digits

    from telltale.data.events.frames import frames

    scans = load_digits()
    pictures, digits = scans.images / 16.0, scans.target
    pictures, digits = (
        (pictures[1297:], digits[1297:]) if test else (pictures[:1297], digits[:1297])
    )
    rng = np.random.default_rng([seed, int(test)])
    rows = rng.permutation(len(digits))
    rows = np.resize(rows, count)
    wide, start = max(8, side // 2), (side - max(8, side // 2)) // 2
    found = np.zeros((count, steps, 2, side, side), np.uint16)
    for first in range(0, count, CHUNK):
        chunk = rows[first : first + CHUNK]
        canvases = np.zeros((len(chunk), side, side))
        for canvas, row in zip(canvases, chunk, strict=True):
            canvas[start : start + wide, start : start + wide] = _enlarged(pictures[row], wide)
        looks = np.stack([_looks(canvas, rng, 3000, SWAY * wide) for canvas in canvases])
        which, *columns = _fired(looks, _limits(rng, 0.25, 0.03, canvases.shape), 3000)
        events = as_events(*columns)
        for number in range(len(chunk)):
            mine = events[which == number]
            found[first + number] = frames(mine, steps, (side, side))
    return found, digits[rows].astype(np.int64)


def _rested(events: Events, refractory: int, side: int) -> Events:
    """Events, sorted by time, without those that follow a kept one of their pixel too soon."""
    last = np.full((side, side), -refractory, np.int64)
    keep = np.zeros(len(events), bool)
    for number, (x, y, t, _) in enumerate(events.tolist()):
        if t - last[y, x] >= refractory:
            keep[number], last[y, x] = True, t
    return events[keep]


def _looks(
    canvas: NDArray[np.float64], rng: np.random.Generator, step: int, motion: float
) -> NDArray[np.float64]:
    """Log intensity (looks, S, S) along the saccades, from a start within a pixel of the middle."""
    offsets = _offsets(motion, step) + motion * rng.uniform(-1, 1, 2)
    return np.log(_moved(canvas, offsets) + FLOOR)


def _limits(
    rng: np.random.Generator, threshold: float, spread: float, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    return np.maximum(threshold + spread * rng.normal(size=shape), 0.05)


def _fired(
    looks: NDArray[np.float64], limits: NDArray[np.float64], step: int
) -> tuple[NDArray[np.int64], ...]:
    """Number of the picture, x, y, t and polarity of all events, sorted by time.

    Args:
        looks: Log intensities (N, looks, S, S).
        limits: θ (N, S, S).
        step: Microseconds between looks; events of a step are spread over it evenly.
    """
    reference = looks[:, 0].copy()
    parts = []
    for number in range(1, looks.shape[1]):
        change = looks[:, number] - reference
        fires = np.floor(np.abs(change) / limits).astype(int)
        which = np.nonzero(fires)
        times, sign = fires[which], np.sign(change[which])
        reference[which] += sign * times * limits[which]
        order = np.repeat(np.arange(len(times)), times)
        nth = np.arange(len(order)) - np.repeat(np.cumsum(times) - times, times)
        t = (number - 1) * step + ((nth + 1) * step) // (times[order] + 1)
        picture, y, x = (places[order] for places in which)
        parts.append(np.stack([picture, x, y, t, (sign[order] > 0).astype(np.int64)]))
    found = np.concatenate(parts, 1)
    ordered = found[:, np.argsort(found[3], kind="stable")]
    return tuple(ordered)


def _offsets(scale: float, step: int) -> NDArray[np.float64]:
    """Where the picture stands at each look, (looks, 2) of x and y pixels, mean start at 0."""
    looks = np.arange(0, 3 * SACCADE + 1, step)
    corners = np.vstack([[0.0, 0.0], np.cumsum(PATH, 0)]) - 3.5
    ends = np.arange(4) * SACCADE
    return scale * np.stack([np.interp(looks, ends, corners[:, k]) for k in (0, 1)], 1)


def _moved(canvas: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The canvas moved by (x, y) pixels, bilinear, black from outside: (looks, S, S)."""
    side = len(canvas)
    padded = np.pad(canvas, 1)

    def along(places: NDArray[np.float64]) -> NDArray[np.float64]:
        source = np.clip(np.arange(side) - places[:, None] + 1, 0, side + 1)
        share: NDArray[np.float64] = 1 - np.abs(source[..., None] - np.arange(side + 2))
        return share.clip(0)

    rows, columns = along(offsets[:, 1]), along(offsets[:, 0])
    found: NDArray[np.float64] = np.matmul(np.matmul(rows, padded), columns.swapaxes(1, 2))
    return found


def _enlarged(picture: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """A square picture at another side, bilinear."""
    from PIL import Image

    if len(picture) == side:
        return picture
    image = Image.fromarray(picture.astype(np.float32))
    made = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float64)
    found: NDArray[np.float64] = np.clip(made, 0, 1)
    return found
