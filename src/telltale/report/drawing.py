"""The pictures on the page: thumbnails and coloured heat maps, as data URIs."""

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.records import Finding, Region, Report, Subject

Pixels = NDArray[np.uint8]

# Heat to red, green, blue, alpha: lightness rises with heat, so that it reads in grey and for
# colour-blind eyes; nothing is drawn where nothing speaks for the claim.
_HEAT = np.array([0.0, 0.3, 0.55, 0.8, 1.0])
_COLORS = np.array(
    [
        [60, 0, 90, 0],
        [90, 10, 130, 70],
        [200, 40, 90, 165],
        [250, 140, 30, 215],
        [255, 240, 130, 235],
    ]
)


def thumbnail(pixels: Pixels, long_side: int) -> str:
    """Pixels (H, W, 3) as a JPEG data URI of at most ``long_side`` pixels; never enlarged."""
    image = Image.fromarray(pixels)
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return data_uri(image, "jpeg", quality=82, optimize=True, progressive=True)


def closeup(pixels: Pixels, region: Region, size: int) -> str:
    """A region turned upright as a JPEG data URI of ``size`` pixels a side.

    Empty for a region that the whole picture shows as well: one that is not about square, or
    wider than half of the picture.
    """
    is_square = abs(region.width - region.height) <= 0.05 * region.width
    if not is_square or region.width > pixels.shape[1] / 2:
        return ""
    return upright(pixels, region, size)


def upright(pixels: Pixels, region: Region, size: int) -> str:
    """A region as a square of ``size`` pixels, whatever its form, as a JPEG data URI."""
    from telltale.media.regions import cut

    return thumbnail(cut(pixels, region, size), size)


def heat(heatmap: NDArray[np.float32]) -> str:
    """A heat map (h, w) in [0, 1] as a coloured PNG data URI; the browser smooths it."""
    rgba = np.stack([np.interp(heatmap, _HEAT, channel) for channel in _COLORS.T], -1)
    return data_uri(Image.fromarray(np.rint(rgba).astype(np.uint8), "RGBA"), "png", optimize=True)


def heat_legend() -> str:
    """The colours of :func:`heat` from 0 on the left to 1 on the right, as a PNG data URI."""
    return heat(np.linspace(0, 1, 64, dtype=np.float32)[None])


def reread(report: Report) -> Pixels:
    """The picture of a report, read again from its path: of a video, the frame that scored highest.

    Raises:
        ValueError: If the file is gone, cannot be read, or is not what was scanned.
    """
    wanted = shown_at(report)
    return next(pixels for seconds, pixels in stills(report) if seconds == wanted)


def stills(report: Report, file: Path | None = None) -> Iterator[tuple[float, Pixels]]:
    """Seconds and pixels of the frames in which the findings scored highest, in their order.

    They are read again from ``file``, by default the report's path, one at a time; of a picture it
    is the one at 0.0.

    Raises:
        ValueError: As :func:`reread`.
    """
    from telltale.media import read_picture, read_video  # here: it loads the codecs

    path = file or Path(report.subject.path)
    if report.subject.kind == "picture":
        picture = read_picture(path)
        _check_same(report, picture.subject)
        yield 0.0, picture.pixels
        return
    subject, frames = read_video(path, float(report.made_with.get("video_fps", 1)))
    _check_same(report, subject)
    wanted = sorted({peak(finding) for finding in report.findings} or {0.0})
    for frame in frames:
        if frame.seconds >= wanted[0] - 1e-6:
            yield wanted.pop(0), frame.pixels
        if not wanted:
            return
    raise ValueError("the video has no frame at the time that was scanned")


def peak(finding: Finding) -> float:
    """Seconds of the frame that scored highest; 0 for a picture."""
    known = [point for point in finding.timeline if not math.isnan(point[1])]
    return max(known, key=lambda point: point[1], default=(0.0, 0.0))[0]


def shown_at(report: Report) -> float:
    """Seconds of the frame of a video that stands for it: where any finding scored highest."""
    known = [p for finding in report.findings for p in finding.timeline if not math.isnan(p[1])]
    return max(known, key=lambda point: point[1], default=(0.0, 0.0))[0]


def _check_same(report: Report, now: Subject) -> None:
    if now.sha256 != report.subject.sha256:
        raise ValueError("the file has changed since it was scanned")


def corner(region: Region, width: int, height: int) -> tuple[float, float]:
    """Where a region's label goes: its first corner, in % of the picture, kept inside it."""
    angle = math.radians(region.angle)
    left, up = -region.width / 2, -region.height / 2
    x = region.x - left + left * math.cos(angle) - up * math.sin(angle)
    y = region.y - up + left * math.sin(angle) + up * math.cos(angle)
    return min(max(100 * x / width, 0.5), 95.0), min(max(100 * y / height, 0.5), 93.0)


def timeline(finding: Finding, seconds: float) -> tuple[str, str]:
    """SVG paths of a face's scores over a video's time in a box of 1000 × 100, 1 at the top.

    The first is a line with a gap where frames have no score, the second a dot for each score; it
    is empty for more than 100, which would hide the line.
    """
    span = max([seconds, *(moment for moment, _ in finding.timeline)]) or 1.0
    path, dots, pen = [], [], "M"
    for moment, score in finding.timeline:
        if math.isnan(score):
            pen = "M"
            continue
        place = f"{1000 * moment / span:.1f} {100 - 100 * score:.1f}"
        path.append(f"{pen}{place}" + ("h0" if pen == "M" else ""))  # one alone is a dot
        dots.append(f"M{place}h0")
        pen = "L"
    return "".join(path), "".join(dots) if len(dots) <= 100 else ""


def data_uri(image: Image.Image, form: str, **options: object) -> str:
    """A picture as a data URI in a form of Pillow's, such as "png"."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
