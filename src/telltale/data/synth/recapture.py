"""Presentation attacks and recaptured documents beside bona fide captures of the same picture.

    bona fide   picture → light → camera
    attack      picture → light → display, print, cut print, bent print or mask → the same camera

Both sides end in the same camera, and the attack's light is brought to the bona fide light's mean
and contrast in each colour (auto exposure and white balance would), so nothing but the attack tells
them apart: a classifier of pairs that differ by two draws of the camera stays at chance (a test).

Every picture of this module is **simulated**.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from telltale.data.synth.camera import (
    Camera,
    Light,
    Pixels,
    draw_camera,
    photograph,
    to_linear,
)
from telltale.data.synth.display import draw_display, replayed
from telltale.data.synth.masks import Point, cut_out, draw_mask, masked, places
from telltale.data.synth.printing import draw_printer, printed

KINDS = ("display", "print", "cut", "curved", "mask")
PAGE_KINDS = ("display", "print")
BENDS = (0.6, 2.5)  # radii of a bent sheet, in widths of the picture


def bona_fide(image: Pixels, rng: np.random.Generator, camera: Camera | None = None) -> Pixels:
    """A camera's picture of what the image shows, (H, W, 3) uint8.

    Args:
        image: uint8 sRGB (H, W, 3).
        rng: Of the camera, if none is given, and of its noise.
        camera: The camera.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3).
    """
    _want_image(image)
    return photograph(to_linear(image), camera or draw_camera(rng), rng)


def attacked(
    image: Pixels,
    kind: str,
    rng: np.random.Generator,
    camera: Camera | None = None,
    *,
    eyes: Sequence[Point] | None = None,
    mouth: Point | None = None,
) -> Pixels:
    """A camera's picture of an attack with the image, (H, W, 3) uint8; alike but for the attack.

    Args:
        image: uint8 sRGB (H, W, 3).
        kind: One of :data:`KINDS`; pages take the first two.
        rng: Of the attack, of the camera, if none is given, and of its noise.
        camera: The camera.
        eyes: Both in pixels; by default where an upright face crop has them.
        mouth: Likewise.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3) or the kind not known.
    """
    _want_image(image)
    if kind not in KINDS:
        raise ValueError(f"no attack {kind!r}; there is {', '.join(KINDS)}")
    camera = camera or draw_camera(rng)
    live, usual = to_linear(image), places(image.shape[:2])
    eyes, mouth = eyes or usual[0], mouth or usual[1]
    light = _presented(image, live, kind, rng, camera, eyes, mouth)
    # A mask is no pattern finer than a pixel: its blur is the camera's, as the live face's is.
    lens = camera if kind == "mask" else camera._replace(blur=0)
    return photograph(matched(light, live), lens, rng)


def _presented(
    image: Pixels,
    live: Light,
    kind: str,
    rng: np.random.Generator,
    camera: Camera,
    eyes: Sequence[Point],
    mouth: Point,
) -> Light:
    if kind == "mask":
        return masked(live, draw_mask(rng), eyes, mouth, rng)
    if kind == "display":
        return replayed(image, draw_display(rng), rng, blur=camera.blur)
    printer = draw_printer(rng)
    if kind == "curved":
        bend = float(np.exp(rng.uniform(*np.log(BENDS))))
        printer = printer._replace(view=printer.view._replace(bend=bend))
    light = printed(image, printer, rng, blur=camera.blur)
    if kind == "cut":
        own = cv2.GaussianBlur(live, (0, 0), max(camera.blur, 0.1))
        light = cut_out(np.asarray(own, np.float32), matched(light, live), eyes, rng)
    return light


def matched(light: Light, other: Light) -> Light:
    """Light (H, W, 3) with the other's mean and contrast in each colour, seen from afar.

    Patterns finer than a sixteenth of the picture do not count as contrast.
    """
    mean, spread = _tone(light)
    want_mean, want_spread = _tone(other)
    gain = want_spread / np.maximum(spread, 1e-6)
    found = (light - mean) * gain.astype(np.float32) + want_mean
    return np.asarray(np.clip(found, 0, None), np.float32)


def _tone(light: Light) -> tuple[Light, Light]:
    small = cv2.resize(light, (16, 16), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    return small.mean(0).astype(np.float32), small.std(0).astype(np.float32)


def _want_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"want a uint8 image (H, W, 3), got {image.dtype} {image.shape}")
