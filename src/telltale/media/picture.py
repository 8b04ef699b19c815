"""Reads a picture file into upright sRGB pixels and says what the file tells about itself.

The file is read once: its hash, its format, its metadata and its pixels come from the same bytes.
Pillow's own format guessing is passed by, because it would try dozens of rare formats, and because
its limit against decompression bombs is a global; ours is an argument.
"""

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from telltale.media.colour import to_srgb
from telltale.media.files import (
    HEAD,
    PICTURES,
    Limits,
    MediaError,
    checked_size,
    find_media,
    format_of,
    kind_of,
    lying_name,
    one_line,
    read_bytes,
    reason,
    shown,
    sniff,
)
from telltale.media.quantisation import chroma_subsampling, jpeg_quality, standard_tables
from telltale.records import Subject

__all__ = [
    "Limits",
    "MediaError",
    "Picture",
    "find_media",
    "jpeg_quality",
    "kind_of",
    "read_picture",
    "sniff",
]

MAKE, MODEL, ORIENTATION, SOFTWARE, CHANGED, EXIF, TAKEN = (
    0x010F, 0x0110, 0x0112, 0x0131, 0x0132, 0x8769, 0x9003,
)  # fmt: skip
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,  # of a multi-picture file only the first is looked at
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Args:
        pixels: (H, W, 3) sRGB, upright, read-only.
        subject: The file: hash, format, and in ``details`` what it says about itself.
    """

    pixels: NDArray[np.uint8]
    subject: Subject


def read_picture(path: str | os.PathLike[str], limits: Limits | None = None) -> Picture:
    """Read a JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF file, told by its content.

    Transparency is drawn on white; an embedded colour profile is applied; 16-bit and floating
    values are scaled to 8 bits; of several frames the first is read. ``subject.details`` says
    where that happened ("transparency", "frame", "values", "warning") and names "mode", "camera",
    "software", "datetime", "jpeg_quality", "jpeg_tables" and "chroma_subsampling" when known.

    Args:
        path: The file. Nothing is written next to it.
        limits: Checked before pixels are decoded; ``Limits()`` by default.

    Raises:
        MediaError: If the file is missing, unreadable, too large, damaged or no picture.
    """
    limits = limits or Limits()
    size = checked_size(path)
    name = format_of(path, read_bytes(path, min(size, HEAD)))
    if name not in PICTURES:
        raise MediaError(f"{shown(path)}: is a video ({name}), want a picture; read it as a video")
    if size > limits.bytes:
        raise MediaError(
            f"{shown(path)}: has {size:,} bytes, over the limit of {limits.bytes:,}; "
            "raise the limit or save it smaller"
        )
    data = read_bytes(path, size)
    reader = _reader(path, name)
    try:
        with quiet:
            image = reader(io.BytesIO(data))
            details = _facts(image, name)
            notes = [lying_name(path, name)]
            _check_pixels(path, image, limits)
            tags = _tags(image, notes)
            rgb = to_srgb(image, details, notes)
            if name != "TIFF":  # Pillow turns TIFF upright when it decodes it
                rgb = _upright(rgb, tags.get(ORIENTATION))
            pixels: NDArray[np.uint8] = np.asarray(rgb)
    except MediaError:
        raise
    except MemoryError:
        raise MediaError(
            f"{shown(path)}: needs more memory than there is; save it smaller"
        ) from None
    except Exception as error:  # decoders fail in their own ways: struct.error, SyntaxError, …
        raise MediaError(
            f"{shown(path)}: the {name} data are damaged or cut off ({reason(error)}); "
            "get the file again from where it came"
        ) from error
    details |= _about_origin(tags)
    if warning := "; ".join(note for note in notes if note):
        details["warning"] = warning
    height, width = pixels.shape[:2]
    subject = Subject(
        path=os.fspath(path),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        kind="picture",
        format=name,
        width=width,
        height=height,
        details=details,
    )
    return Picture(pixels, subject)


def _reader(path: str | os.PathLike[str], name: str) -> Callable[[io.BytesIO], Image.Image]:
    if name == "HEIC":
        try:
            from pi_heif import HeifImageFile
        except ImportError:
            raise MediaError(
                f"{shown(path)}: reading HEIC needs a plugin: pip install 'telltale-vision[heif]'"
            ) from None
        heif: Callable[[io.BytesIO], Image.Image] = HeifImageFile
        return heif
    supported = {"AVIF": AvifImagePlugin.SUPPORTED, "WebP": WebPImagePlugin.SUPPORTED}
    if not supported.get(name, True):
        raise MediaError(
            f"{shown(path)}: this Pillow was built without {name}: pip install --upgrade pillow"
        )
    return _READERS[name]


def _check_pixels(path: str | os.PathLike[str], image: Image.Image, limits: Limits) -> None:
    """Refuse what the header promises too much of, before anything is decoded."""
    width, height = image.size
    tags: Any = getattr(image, "tag_v2", {})
    tile = int(tags.get(322, 0)) * int(tags.get(323, 0))  # a TIFF's tile can exceed the picture
    if max(width * height, tile) > limits.pixels:
        raise MediaError(
            f"{shown(path)}: has {width:,} x {height:,} pixels, over the limit of "
            f"{limits.pixels:,}; raise the limit or save it smaller"
        )
    if tags and (int(tags.get(254, 0)) & 1 or 50706 in tags):  # reduced resolution; DNG
        raise MediaError(
            f"{shown(path)}: is a camera's raw file, of which only a preview could be read; "
            "develop it to TIFF or JPEG"
        )


def _facts(image: Image.Image, name: str) -> dict[str, str]:
    """What the opened, not yet decoded, file says about its coding."""
    facts = {"mode": image.mode}
    if name == "JPEG":
        quality, sampling = jpeg_quality(image), chroma_subsampling(image)
        if quality is not None:
            facts["jpeg_quality"] = f"{quality:g}"
            facts["jpeg_tables"] = "standard" if standard_tables(image) else "of its own"
        if sampling:
            facts["chroma_subsampling"] = sampling
    if getattr(image, "is_animated", False):
        facts["frame"] = "the first of several; the others were not looked at"
    return facts


def _tags(image: Image.Image, notes: list[str]) -> dict[int, Any]:
    """EXIF entries from the place that the container has for them, and from nowhere else."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return {k: image.tag_v2.get(k) for k in (MAKE, MODEL, SOFTWARE, CHANGED)}
    raw = image.info.get("exif")
    if not isinstance(raw, bytes):
        return {}
    exif = Image.Exif()
    try:
        exif.load(raw)
        tags = {k: exif.get(k) for k in (MAKE, MODEL, ORIENTATION, SOFTWARE, CHANGED)}
        return tags | {TAKEN: exif.get_ifd(EXIF).get(TAKEN)}
    except Exception as error:  # as with pixels; but a picture is readable without its EXIF
        notes.append(f"the EXIF data are damaged and were ignored ({one_line(error, 60)})")
        return {}


def _about_origin(tags: dict[int, Any]) -> dict[str, str]:
    text = {
        k: one_line(v.decode("latin-1") if isinstance(v, bytes) else v)
        for k, v in tags.items()
        if isinstance(v, str | bytes)
    }
    make, model = text.get(MAKE, ""), text.get(MODEL, "")
    origin = {
        "camera": model if model.startswith(make) else f"{make} {model}".strip(),
        "software": text.get(SOFTWARE, ""),
        "datetime": text.get(TAKEN) or text.get(CHANGED, ""),
    }
    return {k: v for k, v in origin.items() if v}


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


class _Quiet:
    """Keeps Pillow's warnings about odd metadata to ourselves while any thread is decoding.

    Python's filters belong to the process, so threads share one change: the first to come makes
    it and the last to go undoes it. Other modules' warnings pass.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.before = warnings.catch_warnings()
                self.before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.|pi_heif")
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.before.__exit__(None, None, None)


quiet = _Quiet()
