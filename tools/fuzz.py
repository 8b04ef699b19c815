"""Feed mutated media files to every decoder path; none may crash, hang or take too much memory.

    python tools/fuzz.py --files 50000 --seed 0

Small valid files of every format that Telltale reads are changed at random: bytes flipped, pieces
cut out, doubled, moved or swapped with another file's, lengths set to extremes, ends cut off. Each
is read as a scan reads it: told apart, decoded, its metadata and credentials looked at. A file may
be refused with a ``MediaError``; anything else is a find, kept in ``--keep``. A child process does
the reading under a limit of memory and is replaced when it dies.
"""

import argparse
import io
import itertools
import multiprocessing
import queue
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

SECONDS, MEMORY = 10, 3_000_000_000
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def seeds() -> dict[str, bytes]:
    """A small valid file of each format and of its variants."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    picture = small.resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x010F], exif[0x0131], exif[0x0112] = "Maker", "Software 1.0", 6
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "x" * 50)
    profile = b""
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    except ImportError:
        print("no colour profiles in this Pillow", file=sys.stderr)
    grey, palette = picture.convert("L"), picture.quantize(16)
    clear = picture.convert("RGBA")
    made: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg": (picture, "JPEG", {"exif": exif, "icc_profile": profile, "xmp": b"<x:xmpmeta/>"}),
        "jpeg progressive": (picture, "JPEG", {"progressive": True, "subsampling": 2}),
        "jpeg cmyk": (picture.convert("CMYK"), "JPEG", {}),
        "png": (clear, "PNG", {"exif": exif, "pnginfo": text}),
        "png palette": (palette, "PNG", {"transparency": 0}),
        "png 16": (grey.convert("I;16"), "PNG", {}),
        "webp": (picture, "WEBP", {"exif": exif}),
        "webp lossless": (clear, "WEBP", {"lossless": True}),
        "tiff": (picture, "TIFF", {"compression": "tiff_lzw"}),
        "tiff plain": (picture, "TIFF", {}),
        "tiff jpeg": (picture, "TIFF", {"compression": "jpeg"}),
        "bmp": (picture, "BMP", {}),
        "gif": (palette, "GIF", {"save_all": True, "append_images": [palette.rotate(90)]}),
        "avif": (picture, "AVIF", {"exif": exif}),
    }
    found = {}
    for name, (image, form, options) in made.items():
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        found[name] = buffer.getvalue()
    try:
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture).save(buffer, format="HEIF")
        found["heic"] = buffer.getvalue()
    except ImportError:
        print("no HEIC encoder here", file=sys.stderr)
    return found | dict(_videos(picture))


def _videos(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    import av

    for form, codec in (
        ("mp4", "mpeg4"),
        ("mov", "mjpeg"),
        ("matroska", "mpeg4"),
        ("webm", "libvpx"),
        ("avi", "mjpeg"),
        ("mpeg", "mpeg2video"),
        ("mpegts", "mpeg2video"),
        ("flv", "flv1"),
        ("asf", "wmv2"),
        ("ogg", "libtheora"),
    ):
        buffer = io.BytesIO()
        try:
            with av.open(buffer, "w", format=form) as container:
                stream: Any = container.add_stream(codec, 25)
                stream.width, stream.height = picture.size
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                for turn in range(4):
                    frame = av.VideoFrame.from_image(picture.rotate(turn))
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError) as error:
            print(f"no {form} with {codec} here ({error})", file=sys.stderr)
            continue
        yield form, buffer.getvalue()


def mutated(files: list[bytes], rng: random.Random) -> bytes:
    """One of the files, changed in one to six places."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        size = len(data)
        if size < 8:
            break
        # Headers hold most of what a parser believes.
        at = rng.randrange(min(size, 200)) if rng.random() < 0.5 else rng.randrange(size)
        length = min(rng.choice((1, 2, 4, 8, 40, 300)), size - at)
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                width = rng.choice((1, 2, 4))
                value = rng.choice(EXTREMES) & ((1 << 8 * width) - 1)
                order: Any = rng.choice(("little", "big"))
                data[at : at + width] = value.to_bytes(width, order)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at : at + length] = rng.randbytes(length)
            case 5:
                other = rng.choice(files)
                start = rng.randrange(len(other))
                data[at : at + length] = other[start : start + length]
            case 6:
                del data[max(at, 12) :]
            case _:
                to = rng.randrange(size)
                data[to : to + length] = data[at : at + length]
    return bytes(data)


def look(path: Path) -> str:
    """Read a file as a scan does; how that ended."""
    from telltale.media import Limits, MediaError, kind_of, read_picture, read_video
    from telltale.media.provenance import provenance

    limits = Limits(pixels=50_000_000, frames=200)
    try:
        if kind_of(path) == "picture":
            picture = read_picture(path, limits)
            provenance(path, picture.subject, picture.pixels)
        else:
            subject, frames = read_video(path, 2.0, limits)
            for _ in itertools.islice(frames, 50):
                pass
            provenance(path, subject, None)
    except MediaError as error:
        return "refused" if str(path) in str(error) else f"nameless refusal: {error}"
    return "read"


def work(seed: int, numbers: Any, at: Any, results: Any) -> None:
    """Read files whose numbers come from a queue, until None comes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files = list(seeds().values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fuzzed.bin")
        while (number := numbers.get()) is not None:
            data = mutated(files, random.Random(f"{seed}/{number}"))
            path.write_bytes(data)
            at.value = number
            signal.alarm(SECONDS)  # whose default ends the process
            began = time.monotonic()
            try:
                how = look(path)
            except BaseException as error:
                how = f"{type(error).__name__}: {error}"
            signal.alarm(0)
            results.put((number, how, time.monotonic() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that were finds")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    at = context.Value("q", -1)
    waiting = iter(range(args.files))
    counts: Counter[str] = Counter()
    finds: dict[int, str] = {}
    slowest, began, rest = 0.0, time.monotonic(), []
    while rest := rest or list(itertools.islice(waiting, 500)):
        numbers, results = context.Queue(), context.Queue()
        for number in [*rest, None]:
            numbers.put(number)
        child = context.Process(target=work, args=(args.seed, numbers, at, results))
        child.start()
        while child.is_alive() or not results.empty():
            try:
                number, how, seconds = results.get(timeout=0.2)
            except queue.Empty:
                continue
            rest.remove(number)
            slowest = max(slowest, seconds)
            counts[how if how in ("read", "refused") else "find"] += 1
            if how not in ("read", "refused"):
                finds[number] = how
        child.join()
        if rest and at.value in rest:  # it died on this one; the others are read by the next child
            code = child.exitcode
            finds[at.value] = "hang" if code == -signal.SIGALRM else f"crash, exit code {code}"
            rest.remove(at.value)
        if not rest and (done := sum(counts.values())) % 5000 == 0:
            seconds = time.monotonic() - began
            print(f"{done:,} files, {len(finds)} finds, {seconds:.0f} s", flush=True)
    files = list(seeds().values())
    for number, how in sorted(finds.items()):
        print(f"file {number}: {how}")
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            data = mutated(files, random.Random(f"{args.seed}/{number}"))
            (args.keep / f"{args.seed}-{number}.bin").write_bytes(data)
    print(
        f"{args.files:,} files of {len(files)} formats: {counts['read']:,} read, "
        f"{counts['refused']:,} refused, {len(finds)} finds; slowest {slowest:.2f} s"
    )
    sys.exit(bool(finds))


if __name__ == "__main__":
    main()
