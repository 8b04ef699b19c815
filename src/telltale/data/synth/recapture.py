"""Presentation attacks and recaptured documents beside bona fide captures of the same picture.

    bona fide   picture → light → view → camera
    attack      picture → display, print, cut print, bent print or mask → the same view and camera

Both sides end in the same camera, and the attack's light is brought to the bona fide light's mean
and contrast in each colour (auto exposure and white balance would), so nothing but the attack tells
them apart: a classifier of pairs that differ by two draws of the camera stays at chance (a test).

Every picture of this module is **simulated**.
"""

import cv2
import numpy as np

from telltale.data.synth.camera import (
    Camera,
    Light,
    Pixels,
    blurred,
    draw_camera,
    photograph,
    to_linear,
)
from telltale.data.synth.display import Display, draw_display, replayed
from telltale.data.synth.masks import (
    Landmarks,
    Mask,
    cut_out,
    draw_mask,
    holes,
    masked,
    usual_landmarks,
)
from telltale.data.synth.planes import View, draw_view, positions, taken
from telltale.data.synth.printing import Printer, draw_printer, printed

KINDS = ("display", "print", "cut", "curved", "mask")
PAGE_KINDS = ("display", "print")
TILT = 20.0  # degrees at most, of live faces and attacks alike
BENDS = (0.6, 2.5)  # radii of a bent sheet, in widths of the picture


def bona_fide(
    image: Pixels, rng: np.random.Generator, camera: Camera | None = None, view: View | None = None
) -> Pixels:
    """A camera's picture of what the image shows, (H, W, 3) uint8.

    Args:
        image: uint8 sRGB (H, W, 3).
        rng: Of view and camera, if none is given, and of the camera's noise.
        camera: The camera.
        view: How it stands.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3).
    """
    _want_image(image)
    view, camera = view or draw_view(rng, most=TILT), camera or draw_camera(rng)
    return photograph(taken(to_linear(image), *positions(image.shape[:2], view)), camera, rng)


def attacked(
    image: Pixels,
    kind: str,
    rng: np.random.Generator,
    camera: Camera | None = None,
    view: View | None = None,
    *,
    device: Display | Printer | Mask | None = None,
    landmarks: Landmarks | None = None,
) -> Pixels:
    """A camera's picture of an attack with the image, (H, W, 3) uint8; alike but for the attack.

    Args:
        image: uint8 sRGB (H, W, 3).
        kind: One of :data:`KINDS`; pages take the first two.
        rng: Of the attack, of view and camera, if none is given, and of the camera's noise.
        camera: The camera.
        view: How it stands.
        device: The display, the printer or the mask, as the kind wants.
        landmarks: Eyes and mouth; by default where an upright face crop has them.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3) or the kind not known.
    """
    _want_image(image)
    if kind not in KINDS:
        raise ValueError(f"no attack {kind!r}; there is {', '.join(KINDS)}")
    view, camera = view or draw_view(rng, most=TILT), camera or draw_camera(rng)
    place = positions(image.shape[:2], view)
    live = to_linear(image)
    points = landmarks or usual_landmarks(image.shape[:2])
    if kind == "mask":
        # No pattern finer than a pixel: its blur is the camera's, as a live face's is.
        mask = device if isinstance(device, Mask) else draw_mask(rng)
        light = taken(masked(live, mask, points, rng), *place)
        return photograph(matched(light, taken(live, *place)), camera, rng)
    live = taken(live, *place)
    if kind == "display":
        display = device if isinstance(device, Display) else draw_display(rng)
        display = display._replace(view=view)
        light = matched(replayed(image, display, rng, blur=camera.blur), live)
    else:
        if kind == "curved":
            view = view._replace(bend=float(np.exp(rng.uniform(*np.log(BENDS)))))
        printer = device if isinstance(device, Printer) else draw_printer(rng)
        printer = printer._replace(view=view)
        light = matched(printed(image, printer, rng, blur=camera.blur), live)
        if kind == "cut":
            opened = taken(holes(image.shape[:2], points.eyes, rng), *place)
            light = cut_out(blurred(live, max(camera.blur, 0.1)), light, opened, rng)
    return photograph(light, camera._replace(blur=0), rng)


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
