"""Drawn document pages: text, boxes, tables, a photograph's texture; for recaptures of documents.

Drawn at the camera's own resolution, so that print and screen patterns are the simulators' alone.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from telltale.data.synth.textures import textures

Pixels = NDArray[np.uint8]

SYLLABLES = tuple(a + b for a in "bcdfgklmnprstvz" for b in "aeiou")
Colour = tuple[int, int, int]


def page(size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """A page (H, W, 3), uint8 sRGB: a form, a letter or a card, at random.

    Args:
        size: (H, W) in pixels, 64 or more.
        rng: Of everything on it.

    Raises:
        ValueError: If the page is too small.
    """
    height, width = size
    if min(size) < 64:
        raise ValueError(f"want a page of 64 pixels or more, got {size}")
    paper = tuple(int(c) for c in rng.integers(225, 256, 3))
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    y = int(rng.integers(4, 4 + height // 10))
    while y < height - 24:
        part = rng.choice(["text", "text", "text", "box", "table", "photo"])
        room = int(rng.integers(height // 8, height // 3))
        if part == "text":
            y = _text(draw, y, min(y + room, height - 8), width, rng)
        elif part == "box":
            _box(draw, y, min(y + room // 2, height - 4), width, rng)
            y += room // 2
        elif part == "table":
            _table(draw, y, min(y + room, height - 4), width, rng)
            y += room
        else:
            side = min(room, height - y - 4, width // 2)
            if side >= 16:
                texture = (textures(1, side, rng)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
                image.paste(Image.fromarray(texture), (int(rng.integers(4, width - side)), y))
            y += room
        y += int(rng.integers(4, 14))
    return np.asarray(image)


def words(count: int, rng: np.random.Generator) -> str:
    """Words without meaning, now and then a number."""
    drawn = []
    for _ in range(count):
        if rng.random() < 0.15:
            drawn.append(str(int(rng.integers(10, 99_999))))
        else:
            drawn.append("".join(rng.choice(SYLLABLES, int(rng.integers(1, 4)))))
    return " ".join(drawn)


def _text(
    draw: ImageDraw.ImageDraw, top: int, bottom: int, width: int, rng: np.random.Generator
) -> int:
    """Lines of text; returns where they end."""
    points = int(rng.choice([9, 11, 13, 16, 22, 30]))
    colour = _dark(rng)
    left = int(rng.integers(4, max(5, width // 8)))
    y = top
    while y + points <= bottom:
        draw.text((left, y), words(1 + width // (4 * points), rng), colour, _font(points))
        y += round(points * 1.35)
    return y


def _box(
    draw: ImageDraw.ImageDraw, top: int, bottom: int, width: int, rng: np.random.Generator
) -> None:
    left = int(rng.integers(0, width // 3))
    right = int(rng.integers(width // 2, width))
    fill = tuple(int(c) for c in rng.integers(40, 256, 3))
    if bottom > top:
        draw.rectangle((left, top, right, bottom), fill)
        draw.text((left + 6, top + 4), words(3, rng), _dark(rng), _font(16))


def _table(
    draw: ImageDraw.ImageDraw, top: int, bottom: int, width: int, rng: np.random.Generator
) -> None:
    columns, row = int(rng.integers(2, 6)), int(rng.integers(14, 24))
    lefts = np.linspace(6, width - 6, columns + 1).astype(int)
    for y in range(top, max(top + 1, bottom - row), row):
        for left, right in pairwise(lefts.tolist()):
            draw.rectangle((left, y, right, y + row), outline=(90, 90, 90))
            draw.text((left + 3, y + 1), words(1, rng), _dark(rng), _font(10))


def _dark(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(c) for c in rng.integers(0, 90, 3))
    return red, green, blue


@lru_cache
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)  # Pillow's own: the same on every machine
