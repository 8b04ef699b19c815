"""Any file is either a picture as a viewer shows it, or one line that says what to do."""

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, features

from telltale.media import (
    Limits,
    MediaError,
    find_media,
    jpeg_quality,
    kind_of,
    read_picture,
    sniff,
)
from telltale.media.files import SUFFIXES

Pixels = NDArray[np.uint8]

LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WebP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, "AVIF": {"quality": 90}, "HEIC": {"quality": 90}}


def gradient(height: int = 30, width: int = 40) -> Pixels:
    """No two corners alike, so that a turned picture is not itself."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) % 256], -1).astype(
        np.uint8
    )


def encoded(image: Image.Image, codec: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    if codec == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(image).save(buffer, **settings)
    elif codec == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    else:
        image.save(buffer, codec, **settings)
    return buffer.getvalue()


def put(path: Path, image: Image.Image | Pixels, codec: str, **settings: object) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    path.write_bytes(encoded(image, codec, **settings))
    return path


def message(path: str | os.PathLike[str], limits: Limits | None = None) -> str:
    """The one line that a bad file gets; it names the file."""
    with pytest.raises(MediaError) as raised:
        read_picture(path, limits)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert Path(path).name.splitlines()[0].split("\0")[0] in text
    return text


def close(a: Pixels, b: Pixels, most: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) <= most


@pytest.mark.parametrize(("codec", "settings"), LOSSLESS.items())
def test_lossless_formats(tmp_path: Path, codec: str, settings: dict[str, Any]) -> None:
    path = put(tmp_path / "a", gradient(), codec, **settings)
    picture = read_picture(path)
    assert np.array_equal(picture.pixels, gradient())
    assert picture.pixels.dtype == np.uint8
    subject = picture.subject
    assert (subject.format, subject.kind) == (codec, "picture")
    assert (subject.width, subject.height, subject.seconds) == (40, 30, 0)
    assert subject.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (subject.bytes, subject.path) == (path.stat().st_size, str(path))
    assert "warning" not in subject.details
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("codec", "settings"), LOSSY.items())
def test_lossy_formats(tmp_path: Path, codec: str, settings: dict[str, Any]) -> None:
    path = put(tmp_path / "a", gradient(64, 64), codec, **settings)
    picture = read_picture(path)
    assert close(picture.pixels, gradient(64, 64), 3)
    assert picture.subject.format == codec


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.repeat(np.linspace(0, 255, 40, dtype=np.uint8)[None], 30, 0)
    if mode == "LAB":
        image = Image.merge("LAB", [Image.fromarray(grey), *[Image.new("L", (40, 30), 128)] * 2])
        grey = np.array([0, 255])[[0, -1]]
        expected, columns = grey, [0, -1]
    else:
        image = Image.fromarray(grey).convert("RGB").convert(mode)
        expected = np.asarray(image.convert("RGB"))[0, :, 0]
        columns = list(range(40))
    picture = read_picture(put(tmp_path / "a", image, "PNG" if mode in ("1", "P") else "TIFF"))
    assert picture.pixels.shape == (30, 40, 3)
    assert np.abs(picture.pixels[0, columns, 0].astype(int) - expected).max() <= 2
    assert picture.subject.details["mode"] == mode


def test_cmyk_jpeg(tmp_path: Path) -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    pixels = read_picture(put(tmp_path / "a.jpg", image, "JPEG", quality=100)).pixels
    assert pixels[16, 16].tolist() == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_drawn_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 1), (0, 0, 0, 255))
    for x, alpha in enumerate((0, 51, 255)):  # 51/255 = 0.2 of black on white is 204
        image.putpixel((x, 0), (0, 0, 0, alpha))
    if mode == "PA":
        image = image.convert("P")
        image.info["transparency"] = 0
    else:
        image = image.convert(mode)
    picture = read_picture(put(tmp_path / "a", image, "PNG"))
    if mode != "PA":
        assert picture.pixels[0, :, 0].tolist() == [255, 204, 0, 0]
    assert picture.subject.details["transparency"] == "drawn on white"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_premultiplied_alpha(tmp_path: Path, mode: str) -> None:
    # 51 is stored for a colour of 102 at half opacity; on white that is 51 + 255 - 128 = 178
    image = Image.new(mode, (3, 3), (51, 51, 51, 128) if mode == "RGBA" else (51, 128))
    path = put(tmp_path / "a.tif", image, "TIFF")
    tag = struct.pack("<HHIH", 338, 3, 1, 2)  # "extra sample: alpha"; 1 is alpha premultiplied
    path.write_bytes(path.read_bytes().replace(tag, struct.pack("<HHIH", 338, 3, 1, 1)))
    assert read_picture(path).pixels[1, 1].tolist() == pytest.approx([178] * 3, abs=1)


@pytest.mark.parametrize(
    ("mode", "colour", "transparency", "expected"),
    [
        ("RGB", (9, 8, 7), (9, 8, 7), 255),
        ("RGB", (9, 8, 7), (1, 1, 1), 9),
        ("L", 70, 70, 255),
        ("P", 3, 3, 255),
        ("P", 3, b"\xff\xff\xff\x00", 255),
    ],
)
def test_png_transparent_colour(
    tmp_path: Path, mode: str, colour: object, transparency: object, expected: int
) -> None:
    image = Image.new(mode, (5, 5), colour)
    if mode == "P":
        image.putpalette(range(12))
    path = put(tmp_path / "a.png", image, "PNG", transparency=transparency)
    picture = read_picture(path)
    assert picture.pixels[2, 2, 0] == expected
    assert ("transparency" in picture.subject.details) == (expected == 255)


def test_opaque_alpha_is_not_mentioned(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).convert("RGBA")
    picture = read_picture(put(tmp_path / "a.png", image, "PNG"))
    assert np.array_equal(picture.pixels, gradient())
    assert "transparency" not in picture.subject.details


@pytest.mark.parametrize("codec", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(tmp_path: Path, codec: str) -> None:
    values = np.array([[0, 257 * 100, 32768, 65535]], np.uint16)
    picture = read_picture(put(tmp_path / "a", Image.fromarray(values), codec))
    assert picture.pixels[0, :, 1].tolist() == [0, 100, 128, 255]
    assert "65535" in picture.subject.details["values"]


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    values = np.array([[[0, 257 * 100, 65535], [256, 40000, 1]]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 2, rows))
    assert close(read_picture(path).pixels, (values / 257).round().astype(np.uint8), 0.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([-1, 0.5, 1], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([0, 1.1e6, 2e6], [0, 140, 255]),
        ([0, np.nan, 1], [0, 0, 255]),
        ([0, np.inf, 1], [0, 0, 255]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_float_tiff(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    picture = read_picture(put(tmp_path / "a.tif", image, "TIFF"))
    assert picture.pixels[0, :, 0].tolist() == expected
    assert picture.subject.details["values"].startswith("F scaled from 0–")


def test_a_few_highlights_do_not_darken_a_float_picture(tmp_path: Path) -> None:
    values = np.full((20, 20), 0.5, np.float32)
    values[0, 0] = 40.0
    picture = read_picture(put(tmp_path / "a.tif", Image.fromarray(values), "TIFF"))
    assert picture.pixels[5, 5, 0] == 128


def tiff(width: int, bits: int, photometric: int, data: bytes, **tile: int) -> bytes:
    """A one-row grey TIFF, little-endian, of tags that Pillow does not write itself."""
    place = {322: tile["side"], 323: tile["side"], 324: 8, 325: len(data)} if tile else {}
    place = place or {273: 8, 278: 1, 279: len(data)}
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1} | place
    entries = b"".join(struct.pack("<HHII", k, 4, 1, v) for k, v in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory


@pytest.mark.parametrize(
    ("bits", "photometric", "data", "expected"),
    [
        (16, 1, struct.pack("<3H", 0, 25700, 65535), [0, 100, 255]),
        (16, 0, struct.pack("<3H", 0, 25700, 65535), [255, 155, 0]),  # 0 is white
        (8, 0, bytes([0, 100, 255]), [255, 155, 0]),
        (12, 1, bytes.fromhex("000 645 fff 000".replace(" ", "")), [0, 100, 255]),  # of 4095
    ],
)
def test_grey_tiff_of_any_depth(
    tmp_path: Path, bits: int, photometric: int, data: bytes, expected: list[int]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(3, bits, photometric, data))
    assert read_picture(path).pixels[0, :, 0].tolist() == expected


def test_a_tile_larger_than_the_picture_counts_as_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(16, 8, 1, bytes(256), side=16))
    assert read_picture(path, Limits(pixels=256)).pixels.shape == (1, 16, 3)
    assert "over the limit" in message(path, Limits(pixels=255))


def test_32_bit_integers(tmp_path: Path) -> None:
    values = Image.fromarray(np.array([[0, 25700, 65535]], np.int32))
    assert read_picture(put(tmp_path / "a", values, "TIFF")).pixels[0, :, 0].tolist() == [
        0,
        100,
        255,
    ]


def turned_by(orientation: int) -> Pixels:
    """Stored pixels that EXIF's orientation makes upright again: its inverse, written out."""
    upright = gradient()
    return np.ascontiguousarray(
        {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),  # the camera was held so that it must be turned clockwise
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("codec", ["PNG", "WebP", "TIFF", "JPEG", "AVIF", "HEIC"])
def test_exif_orientation(tmp_path: Path, codec: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = LOSSLESS.get(codec) or LOSSY.get(codec, {})
    path = put(tmp_path / "a", turned_by(orientation), codec, exif=exif.tobytes(), **settings)
    picture = read_picture(path)
    assert close(picture.pixels, gradient(), 8)
    assert (picture.subject.width, picture.subject.height) == (40, 30)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_impossible_orientation_is_left_alone(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path / "a.png", gradient(), "PNG", exif=exif.tobytes())
    assert np.array_equal(read_picture(path).pixels, gradient())


def test_broken_exif_is_a_warning(tmp_path: Path) -> None:
    broken = b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01" * 3
    path = put(tmp_path / "a.jpg", gradient(), "JPEG", exif=broken, quality=95)
    assert close(read_picture(path).pixels, gradient(), 8)


def test_camera_and_software(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Fuji\nfilm ", "X100", "Editor 1\0"
    exif[0x0132] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x9003] = "2023:01:02 03:04:05"
    details = read_picture(
        put(tmp_path / "a.jpg", gradient(), "JPEG", exif=exif.tobytes())
    ).subject.details
    assert details["camera"] == "Fuji film X100"
    assert details["software"] == "Editor 1"
    assert details["datetime"] == "2023:01:02 03:04:05"


def test_camera_is_not_said_twice(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5"
    path = put(tmp_path / "a.webp", gradient(), "WebP", exif=exif.tobytes())
    assert read_picture(path).subject.details["camera"] == "Canon EOS R5"


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "WebP", "GIF", "BMP", "AVIF", "HEIC"])
@pytest.mark.parametrize(
    "trailer",
    [b"tEXtprompt\0x", b"Exif\0\0II*\0", b"\0" * 99, b"\xff\xd8\xff\xe1\0\x0cExif\0\0II*\0"],
)
def test_what_follows_the_end_decides_nothing(tmp_path: Path, codec: str, trailer: bytes) -> None:
    path = put(tmp_path / "a", gradient(64, 64), codec)
    before = read_picture(path)
    with path.open("ab") as file:
        file.write(trailer)
    after = read_picture(path)
    assert np.array_equal(before.pixels, after.pixels)
    assert before.subject.details == after.subject.details
    assert before.subject.sha256 != after.subject.sha256


def test_colour_profile_is_applied(tmp_path: Path) -> None:
    # a profile whose red and blue are exchanged: what it calls red is sRGB's blue
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {tag: profile.index(tag, 128) for tag in (b"rXYZ", b"bXYZ")}
    profile[at[b"rXYZ"] : at[b"rXYZ"] + 4], profile[at[b"bXYZ"] : at[b"bXYZ"] + 4] = (
        b"bXYZ",
        b"rXYZ",
    )
    path = put(tmp_path / "a.png", gradient(), "PNG", icc_profile=bytes(profile))
    picture = read_picture(path)
    assert close(picture.pixels, gradient()[..., ::-1], 1)
    assert "warning" not in picture.subject.details


def test_the_usual_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image in (Image.fromarray(gradient()), Image.fromarray(gradient()[..., 0])):
        path = put(tmp_path / "a.png", image, "PNG", icc_profile=profile)
        picture = read_picture(path)
        assert close(picture.pixels, np.asarray(image.convert("RGB")), 0.1)
        assert "warning" not in picture.subject.details


@pytest.mark.parametrize("profile", [b"rubbish", b"\0" * 200])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK"])
def test_broken_profile_is_a_warning(tmp_path: Path, profile: bytes, mode: str) -> None:
    image = Image.new(mode, (9, 9))
    codec = "TIFF" if mode == "CMYK" else "PNG"
    picture = read_picture(put(tmp_path / "a", image, codec, icc_profile=profile))
    assert picture.pixels.shape == (9, 9, 3)
    assert "colour profile" in picture.subject.details["warning"]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    for codec in ("GIF", "PNG", "WebP", "TIFF"):
        path = tmp_path / codec
        frames[0].save(path, codec, save_all=True, append_images=frames[1:])
        picture = read_picture(path)
        assert picture.pixels[4, 4].tolist() == pytest.approx([255, 0, 0], abs=12)
        assert "first" in picture.subject.details["frame"]
    still = read_picture(put(tmp_path / "still", frames[0], "GIF"))
    assert "frame" not in still.subject.details


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 92, 95, 100])
def test_jpeg_quality_is_found_again(tmp_path: Path, quality: int) -> None:
    path = put(tmp_path / "a.jpg", gradient(), "JPEG", quality=quality)
    with Image.open(path) as image:
        assert jpeg_quality(image) == quality
    details = read_picture(path).subject.details
    assert (details["jpeg_quality"], details["jpeg_tables"]) == (str(quality), "standard")


def test_jpeg_quality_of_other_tables_is_the_nearest(tmp_path: Path) -> None:
    with Image.open(put(tmp_path / "a.jpg", gradient(), "JPEG", quality=80)) as image:
        tables = {k: [*table] for k, table in image.quantization.items()}
    tables[0][9] += 2
    details = read_picture(
        put(tmp_path / "b.jpg", gradient(), "JPEG", qtables=tables)
    ).subject.details
    assert (details["jpeg_quality"], details["jpeg_tables"]) == ("80", "of its own")


def test_only_jpegs_have_a_jpeg_quality(tmp_path: Path) -> None:
    with Image.open(put(tmp_path / "a.png", gradient(), "PNG")) as image:
        assert jpeg_quality(image) is None


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_chroma_subsampling(tmp_path: Path, sampling: str) -> None:
    path = put(tmp_path / "a.jpg", gradient(), "JPEG", subsampling=sampling)
    assert read_picture(path).subject.details["chroma_subsampling"] == sampling


def test_grey_jpeg(tmp_path: Path) -> None:
    details = read_picture(put(tmp_path / "a.jpg", gradient()[..., 0], "JPEG")).subject.details
    assert (details["chroma_subsampling"], details["jpeg_quality"]) == ("grey", "75")


def test_lying_extension_is_read_by_content(tmp_path: Path) -> None:
    picture = read_picture(put(tmp_path / "a.jpg", gradient(), "PNG"))
    assert picture.subject.format == "PNG"
    assert picture.subject.details["warning"] == "the name ends in .jpg, but the content is PNG"


# ---- what cannot be read -------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, bits: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    middle = b"".join(chunk(*part) for part in extra)
    body = chunk(b"IHDR", header) + middle + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "nothing.jpg")
    assert "no such file" in message(str(tmp_path / "nothing.jpg"))


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello", b"%PDF-1.7", b"PK\3\4", b"BM" + b"x" * 99]
)
def test_no_medium(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert ("is no picture or video" if content else "is empty") in message(path)


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF", "HEIC"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated(tmp_path: Path, codec: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), codec)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: int(len(data) * share)])
    assert f"the {codec} data are damaged or cut off" in message(path)


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_packed_metadata_bomb(tmp_path: Path, kind: str) -> None:
    packed = zlib.compress(b"\0" * 100_000_000, 9)
    prefix = {"zTXt": b"Comment\0\0", "iTXt": b"Comment\0\x01\0\0\0", "iCCP": b"icc\0\0"}[kind]
    path = tmp_path / "bomb.png"
    path.write_bytes(png(1, 1, 8, 2, b"\0\0\0\0", (kind.encode(), prefix + packed)))
    assert "damaged" in message(path)


def test_many_text_chunks(tmp_path: Path) -> None:
    part = (b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 1_000_000, 9))
    path = tmp_path / "bomb.png"
    path.write_bytes(png(1, 1, 8, 2, b"\0\0\0\0", *[part] * 80))
    assert "damaged" in message(path)


@pytest.mark.parametrize("side", [20_000, 65_000, 2**31 - 1])
def test_huge_dimensions_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, 8, 2, b""))
    assert "over the limit of 200,000,000" in message(path)


def test_every_format_obeys_the_pixel_limit(tmp_path: Path) -> None:
    for codec in ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF", "HEIC"):
        path = put(tmp_path / codec, gradient(64, 64), codec)
        text = message(path, Limits(pixels=64 * 64 - 1))
        assert "has 64 x 64 pixels, over the limit of 4,095" in text
        read_picture(path, Limits(pixels=64 * 64))


def test_byte_limit(tmp_path: Path) -> None:
    path = put(tmp_path / "a.bmp", gradient(), "BMP")
    size = path.stat().st_size
    assert f"has {size:,} bytes, over the limit of {size - 1:,}" in message(
        path, Limits(bytes=size - 1)
    )
    read_picture(path, Limits(bytes=size))


@pytest.mark.parametrize("setting", ["pixels", "bytes", "frames", "seconds"])
def test_limits_must_allow_something(setting: str) -> None:
    with pytest.raises(ValueError, match=f"want a limit of {setting} above 0"):
        Limits(**{setting: 0})


def test_picture_above_pillows_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # ours is an argument, not their global
    for codec in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "AVIF", "HEIC"):
        path = put(tmp_path / codec, gradient(14, 10), codec)  # beyond warning, short of an error
        assert read_picture(path).pixels.shape == (14, 10, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_folder_link_pipe_device(tmp_path: Path) -> None:
    assert "is a folder" in message(tmp_path)
    link = tmp_path / "link.jpg"
    link.symlink_to(tmp_path / "gone.jpg")
    assert "is a link to" in message(link)
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert "cannot be read" in message(loop)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    assert "is a pipe" in message(pipe)
    assert "device" in message("/dev/zero")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.png", gradient(), "PNG")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # a test that runs as root may read anything
    assert "may not be read" in message(path)


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\x1b[31m.jpg", "a\udc80.jpg", "ä 字.jpg"])
def test_strange_names_stay_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(MediaError) as raised:
        read_picture(path)
    assert len(str(raised.value).splitlines()) == 1
    str(raised.value).encode()
    put(path, gradient(), "PNG")
    assert np.array_equal(read_picture(path).pixels, gradient())


def test_impossible_paths() -> None:
    for path in ("a\0b.jpg", "x" * 5000 + ".jpg"):
        with pytest.raises(MediaError, match="cannot be read"):
            read_picture(path)


def test_raw_photo_is_not_its_preview(tmp_path: Path) -> None:
    preview = Image.fromarray(gradient())
    for tag, value in ((254, 1), (50706, b"\1\4\0\0")):
        path = put(tmp_path / "a.dng", preview, "TIFF", tiffinfo={tag: value})
        assert "raw file" in message(path)


def test_video_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isommp42")
    assert "is a video (MP4)" in message(path)


SEEDS = [
    encoded(Image.fromarray(gradient(9, 12)), codec)
    for codec in ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF")
] + [
    png(2, 1, 8, 2, b"\0" * 7, (b"acTL", b"\0" * 8)),
    png(2, 1, 8, 2, b"\0" * 7, (b"eXIf", b"MM\0*\0\0\0\x08\0\x01")),
]


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 3000),
    tail=st.binary(max_size=20),
)
def test_any_bytes_are_a_picture_or_one_line(
    tmp_path: Path, seed: bytes, edits: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(seed)
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path / "any.bin"
    path.write_bytes(bytes(data[: max(1, len(data) - cut // 3)] if cut % 3 == 0 else data) + tail)
    text = ""
    try:
        picture = read_picture(path, Limits(pixels=100_000))
    except MediaError as error:
        text = str(error)
    if text:
        assert len(text.splitlines()) == 1
        assert "any.bin" in text
    else:
        height, width = picture.pixels.shape[:2]
        assert picture.pixels.shape == (height, width, 3)
        assert (picture.subject.width, picture.subject.height) == (width, height)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), st.sampled_from([b"", b"RIFF", b"BM", b"\0\0\0\x18ftyp", b"G"]))
def test_sniff_takes_any_bytes(head: bytes, prefix: bytes) -> None:
    sniff(prefix + head)


def test_threads_share_nothing_and_leave_no_trace(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x1a\0\x05\0\0\0\x01\xff\xff\xff\xff" * 3
    paths = []
    for k in range(12):
        pixels = np.full((16, 16, 3), k * 20, np.uint8)
        paths.append(put(tmp_path / f"{k}.jpg", pixels, "JPEG", quality=100, exif=exif))
    filters, running = list(warnings.filters), threading.active_count()
    with ThreadPoolExecutor(6) as pool:
        pictures = list(pool.map(read_picture, paths * 5))
    for k, picture in enumerate(pictures):
        assert abs(int(picture.pixels[8, 8, 0]) - (k % 12) * 20) <= 1
    assert warnings.filters == filters
    assert threading.active_count() == running


# ---- finding and telling apart -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x20ftypavif\0\0\0\0avif", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif", "HEIC"),  # the box ends before "avif"
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "MOV"),
        (b"\0\0\0\x14ftypM4A \0\0\0\0M4A ", None),
        (b"\0\0\0\x14ftypcrx \0\0\0\0crx ", None),
        (b"II*\0\x10\0\0\0CR\2\0", None),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "WebM"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x88matroska", "Matroska"),
        ((b"G" + b"\0" * 187) * 6, "MPEG-TS"),
        (b"\0\0\0\0" + (b"G" + b"\0" * 191) * 6, "MPEG-TS"),
        (b"G" * 30, None),
        (b"OggS\0\2", "Ogg"),
        (b"", None),
        (b"\xff\xd8", None),
    ],
)
def test_sniff(head: bytes, expected: str | None) -> None:
    assert sniff(head) == expected


def test_kind_of(tmp_path: Path) -> None:
    assert kind_of(put(tmp_path / "a.mp4", gradient(), "PNG")) == "picture"
    video = tmp_path / "b.jpg"
    video.write_bytes(b"RIFF\0\0\0\0AVI LIST")
    assert kind_of(video) == "video"
    (tmp_path / "c.jpg").write_text("hello")
    for bad in (tmp_path / "c.jpg", tmp_path / "d.jpg", tmp_path):
        with pytest.raises(MediaError, match=bad.name):
            kind_of(bad)


def test_find_media(tmp_path: Path) -> None:
    (tmp_path / "b" / "inner").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("z.JPG", "b/a.mp4", "b/inner/x.heic", "b/.y.png", ".hidden/v.png", "b/c.txt"):
        (tmp_path / name).write_bytes(b"not a medium, but maybe named like one")
    put(tmp_path / "no suffix", gradient(), "PNG")
    put(tmp_path / "b" / "d.dat", gradient(), "GIF")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b" / "gone").symlink_to("nowhere")
    (tmp_path / "again").symlink_to(tmp_path / "b")
    found = [str(path.relative_to(tmp_path)) for path in find_media([tmp_path])]
    assert found == ["no suffix", "z.JPG", "b/a.mp4", "b/d.dat", "b/inner/x.heic"]
    assert list(find_media([str(tmp_path / "b/c.txt")])) == [tmp_path / "b/c.txt"]


def test_find_media_names_what_is_missing_at_once(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"nothing: there is no such file or folder"):
        find_media([tmp_path, tmp_path / "nothing"])


def test_find_media_gives_back_a_folder_that_it_cannot_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "shut").mkdir(parents=True)
    put(tmp_path / "b.png", gradient(), "PNG")
    listing: Callable[[str], object] = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    shut = tmp_path / "a" / "shut"
    assert sorted(find_media([tmp_path])) == [shut, tmp_path / "b.png"]
    assert "cannot be listed (Permission denied)" in message(shut)


def test_every_suffix_belongs_to_a_format() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".heic", ".avif", ".mp4", ".mov"} <= SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)


def test_animated_png_warning_does_not_leak(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 8, 2, b"\0" * 7, (b"acTL", b"\0" * 8)))
    assert read_picture(path).pixels.shape == (1, 2, 3)


def test_text_chunks_do_not_reach_the_details(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a generator of pictures")
    plain = read_picture(put(tmp_path / "a.png", gradient(), "PNG")).subject.details
    told = read_picture(put(tmp_path / "b.png", gradient(), "PNG", pnginfo=info)).subject.details
    assert told == plain
