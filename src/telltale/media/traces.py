"""A file's history by its own account: metadata, tables and thumbnail, with what they let one say.

Absence proves nothing: most places that pictures are sent through take metadata out, and anyone can
write any. Each line says whether it was observed, derived or inferred.
"""

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, IptcImagePlugin, JpegImagePlugin

from telltale.media.files import one_line, read_bytes
from telltale.media.picture import ORIENTATION, UPRIGHT, quiet
from telltale.records import Subject
from telltale.records.observation import Basis, Observation

READ = 4_000_000  # bytes of a file in which metadata are looked for
_THUMBNAIL = 1_000_000  # pixels that a thumbnail may have
_ALIKE = 0.9  # correlation above which a thumbnail shows the picture

EDITORS = {
    "Photoshop": r"photoshop",
    "Lightroom": r"lightroom",
    "GIMP": r"\bgimp\b",
    "Affinity Photo": r"affinity",
    "Pixelmator": r"pixelmator",
    "Snapseed": r"snapseed",
    "PicsArt": r"picsart",
    "Canva": r"\bcanva\b",
    "Facetune": r"facetune",
    "FaceApp": r"faceapp",
    "Meitu": r"meitu|beautyplus",
    "Remini": r"\bremini\b",
    "Capture One": r"capture one",
    "darktable": r"darktable",
    "RawTherapee": r"rawtherapee",
    "Paint.NET": r"paint\.net",
    "ImageMagick": r"imagemagick",
    "Luminar": r"luminar",
    "Krita": r"\bkrita\b",
}
GENERATORS = {
    "Stable Diffusion": r"stable.?diffusion|automatic1111|\bsd-webui\b",
    "ComfyUI": r"comfyui",
    "InvokeAI": r"invokeai",
    "NovelAI": r"novelai",
    "Midjourney": r"midjourney",
    "DALL-E": r"dall.?e\b|openai",
    "Firefly": r"adobe firefly",
    "Imagen": r"made with google ai|imagen\b",
}
_PROMPTS = ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream")
_XMP = {
    "creator tool": rb"xmp:CreatorTool(?:=\"|>)([^\"<]{1,200})",
    "agent": rb"stEvt:softwareAgent(?:=\"|>)([^\"<]{1,200})",
    "source": rb"DigitalSourceType(?:=\"|>)([^\"<]{1,200})",
    "credit": rb"photoshop:Credit(?:=\"|>)([^\"<]{1,200})",
}


def traces(path: Path, subject: Subject, pixels: NDArray[np.uint8]) -> list[Observation]:
    """What a picture's file tells about its past.

    Args:
        path: The file.
        subject: As :func:`telltale.media.read_picture` gave it.
        pixels: (H, W, 3) the upright picture, to compare a thumbnail with.
    """
    data = read_bytes(path, READ)
    with quiet:
        return _found(data, subject, pixels)


def _found(data: bytes, subject: Subject, pixels: NDArray[np.uint8]) -> list[Observation]:
    details = subject.details
    found = [*_origin(details)]
    image = _opened(data) if subject.format in ("JPEG", "PNG", "WebP", "TIFF") else None
    said = {"software": [details["software"]] if details.get("software") else []}
    if image is not None:
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        xmp = xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b""
        for name, pattern in _XMP.items():
            values = [m.decode("utf-8", "replace") for m in re.findall(pattern, xmp[:1_000_000])]
            said[name] = [*dict.fromkeys(one_line(value) for value in values)]
        found += _declared(said.get("source", []))
        found += _texts(image, said)
        found += _byline(image)
    named = [*said["software"], *said.get("creator tool", []), *said.get("agent", [])]
    found += _programs(named)
    if subject.format == "JPEG":
        found += _segments(data)
        found += _tables(details)
        found += _thumbnail(data, pixels)
    return found


def _origin(details: Any) -> Iterator[Observation]:  # noqa: ANN401
    if camera := details.get("camera"):
        yield _line("observed", "exif.camera", camera, f"the metadata name the camera {camera}")
    if moment := details.get("datetime"):
        yield _line("observed", "exif.datetime", moment, f"the metadata give the time {moment}")
    if not camera:
        yield _line("observed", "exif.camera", "none", "no camera is named in the metadata")


def _programs(named: list[str]) -> Iterator[Observation]:
    for text in dict.fromkeys(named):
        for kind, table in (("generator", GENERATORS), ("editor", EDITORS)):
            if any(re.search(pattern, text, re.I) for pattern in table.values()):
                what = "a generative model" if kind == "generator" else "an image editor"
                words = f"the metadata name {what}: {text}"
                yield _line("observed", f"software.{kind}", text, words)
                break
        else:
            yield _line("observed", "software", text, f"the metadata name the program {text}")


def _declared(sources: list[str]) -> Iterator[Observation]:
    for source in sources:
        kind = source.rpartition("/")[2]
        made = "lgorithmicMedia" in kind
        words = "made by a generative model" if made else f"of the source {kind}"
        yield _line(
            "observed", "declared.source", kind, f"its metadata declare it as {words} (IPTC)"
        )


def _texts(image: Image.Image, said: dict[str, list[str]]) -> Iterator[Observation]:
    """Text chunks of a PNG; generators keep their prompts there."""
    for name in _PROMPTS:
        if isinstance(image.info.get(name), str):
            words = f"a text field “{name}” as image generators write it holds a prompt or settings"
            yield _line("observed", "software.generator", name, words)
    for name in ("Software", "Comment", "comment"):
        value = image.info.get(name)
        value = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(value, str) and value.strip():
            said["software"].append(one_line(value))


def _byline(image: Image.Image) -> Iterator[Observation]:
    try:
        fields: Any = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]
    except (SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        yield _line("observed", "iptc", "damaged", f"the IPTC data are damaged ({error})")
        return
    for key, name in (((2, 80), "by-line"), ((2, 110), "credit"), ((2, 115), "source")):
        value = fields.get(key)
        value = value[0] if isinstance(value, list) else value
        if isinstance(value, bytes) and value.strip():
            text = one_line(value.decode("utf-8", "replace"))
            yield _line("observed", f"iptc.{name}", text, f"its IPTC {name} is {text}")


def _segments(data: bytes) -> Iterator[Observation]:
    """Application segments that only certain programs write."""
    seen: dict[str, None] = {}
    for marker, body in segments(data):
        if marker == 0xED and body.startswith(b"Photoshop 3.0\0"):
            seen["Photoshop's image resources (APP13)"] = None
        elif marker == 0xEC and body.startswith(b"Ducky"):
            seen["the mark of Photoshop's “save for web” (APP12)"] = None
        elif marker == 0xEE and body.startswith(b"Adobe"):
            seen["Adobe's colour transform mark (APP14)"] = None
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            seen["a multi-picture index, as phones write it (APP2)"] = None
    for words in seen:
        yield _line("observed", "jpeg.segment", words, f"the file holds {words}")


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of a JPEG's segments up to its first scan; stops where it is damaged."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def _tables(details: Any) -> Iterator[Observation]:  # noqa: ANN401
    quality, kind = details.get("jpeg_quality"), details.get("jpeg_tables")
    if not quality:
        return
    sampling = details.get("chroma_subsampling", "")
    if kind == "standard":
        words = f"its quantisation tables are the reference encoder's at quality {quality}"
        yield _line("derived", "jpeg.tables", f"standard {quality}", f"{words}, colour {sampling}")
        guess = "it was last saved by software on a common library, not by a camera"
        yield _line("inferred", "jpeg.encoder", "library", guess)
    else:
        words = f"its quantisation tables are an encoder's own, nearest to quality {quality}"
        yield _line("derived", "jpeg.tables", f"own {quality}", f"{words}, colour {sampling}")
        guess = "it was last saved by a camera, a phone or an editor with tables of its own"
        yield _line("inferred", "jpeg.encoder", "own tables", guess)


def _thumbnail(data: bytes, pixels: NDArray[np.uint8]) -> Iterator[Observation]:
    """Whether the thumbnail inside the metadata shows the same picture."""
    try:
        exif = Image.open(io.BytesIO(data), formats=["JPEG"]).getexif()
        entry = exif.get_ifd(ExifTags.IFD.IFD1)
        start, length = entry.get(513), entry.get(514)
        raw = next((b for m, b in segments(data) if m == 0xE1 and b.startswith(b"Exif\0\0")), b"")
        if not isinstance(start, int) or not isinstance(length, int) or not raw:
            return
        small = JpegImagePlugin.JpegImageFile(io.BytesIO(raw[6 + start : 6 + start + length]))
        if small.width * small.height > _THUMBNAIL or min(small.size) < 16:
            return
        grey = small.convert("L")
        turn = UPRIGHT.get(exif.get(ORIENTATION, 1))
        thumb = np.asarray(grey.transpose(turn) if turn is not None else grey, np.float64)
    except Exception as error:  # a decoder's own ways of failing; the picture itself was read
        reason = one_line(error, 60)
        yield _line("observed", "exif.thumbnail", "damaged", f"its thumbnail is damaged ({reason})")
        return
    likeness = _likeness(thumb, pixels)
    if likeness >= _ALIKE:
        yield _line("derived", "exif.thumbnail", "same", "its thumbnail shows the same picture")
    else:
        words = f"its thumbnail shows another picture (correlation {likeness:.2f})"
        yield _line("derived", "exif.thumbnail", "different", words)
        text = "the picture was changed or cropped by a program that left the old thumbnail"
        yield _line("inferred", "exif.thumbnail", "stale", text)


def _likeness(thumb: NDArray[np.float64], pixels: NDArray[np.uint8]) -> float:
    """Correlation of a thumbnail (h, w) with the picture, without black bars that cameras add."""
    height, width = pixels.shape[:2]
    rows, columns = thumb.shape
    if columns * height > width * rows:  # bars left and right
        wide = max(round(rows * width / height), 1)
        thumb = thumb[:, (columns - wide) // 2 : (columns - wide) // 2 + wide]
    else:
        high = max(round(columns * height / width), 1)
        thumb = thumb[(rows - high) // 2 : (rows - high) // 2 + high]
    image = Image.fromarray(pixels).convert("L")
    seen = np.asarray(image.resize((thumb.shape[1], thumb.shape[0]), Image.Resampling.BOX), float)
    one, other = thumb - thumb.mean(), seen - seen.mean()
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale else 1.0


def _opened(data: bytes) -> Image.Image | None:
    """The file's header again, for its metadata; None where even that cannot be parsed."""
    try:
        return Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "TIFF"])
    except (OSError, ValueError, SyntaxError, struct.error):
        return None


def _line(basis: Basis, name: str, value: str, says: str) -> Observation:
    return Observation("history", basis, name, value, says)
