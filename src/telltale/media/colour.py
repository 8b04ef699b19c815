"""Brings pictures of any depth and colour space to 8-bit sRGB.

Order: integers and floats beyond 8 bits are scaled; palettes are looked up; an embedded profile
is applied to the colours without their transparency; what is transparent is drawn on white.
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from telltale.media.files import one_line


def to_srgb(image: Image.Image, details: dict[str, str], notes: list[str]) -> Image.Image:
    """Decode an opened image of any mode into 8-bit sRGB; transparency is drawn on white.

    Args:
        image: As Pillow opened it.
        details: Gets "values" and "transparency" where those were changed.
        notes: Gets a warning where a profile was ignored.
    """
    profile = image.info.get("icc_profile")
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, details)
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        has_alpha = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.getchannel("L") if image.mode == "LA" else image.convert("RGB")
    image = _srgb(image, profile, notes)
    if alpha is None or alpha.getextrema() == (255, 255):
        return image
    details["transparency"] = "drawn on white"
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=alpha)
    return canvas


def _eight_bits(image: Image.Image, details: dict[str, str]) -> Image.Image:
    """Grey values of 12, 16 or 32 bits or floats, scaled to 0–255.

    Integers are scaled from the full range of their 12, 16 or 32 bits. Floats have no fixed white:
    it is the first of 1, 255 and 65535 that 99 % of the values reach at most, else the maximum.
    """
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        most, high = float(np.quantile(values, 0.99)), float(values.max())
        white = next((white for white in (1.0, 255.0, 65535.0) if most <= white), high)
    elif image.mode == "I":
        white = 65535.0 if values.max() <= 65535 else 2.0**31 - 1
    else:
        white = 4095.0 if tags.get(258) == (12,) else 65535.0
    details["values"] = f"{image.mode} scaled from 0–{white:g} to 0–255"
    scaled = np.rint(np.clip(values.astype(np.float32) * (255 / white), 0, 255)).astype(np.uint8)
    if tags.get(262) == 0:  # TIFF's "white is zero", which Pillow applies to 8 bits only
        scaled = 255 - scaled
    return Image.fromarray(scaled)


def _srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """The picture in sRGB, by its profile if it has one that fits."""
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    if image.mode != "LAB" and not profile:
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b"")).profile
            if image.mode == "L" and source.xcolor_space.strip() == "RGB":
                image = image.convert("RGB")
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(source),
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode == "RGB" and _changes_nothing(transform):
            return image  # most profiles are sRGB's own: resampling values would only cost time
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        notes.append(f"the colour profile is unusable and was ignored ({one_line(error, 60)})")
        return image if image.mode == "RGB" else image.convert("RGB")  # a copy takes time


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves none of 9³ colours by more than 2 levels of 255."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    return bool(np.abs(moved.astype(int) - colours).max() <= 2)
