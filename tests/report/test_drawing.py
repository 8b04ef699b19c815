"""The page's pictures and colours: what was scanned, upright, readable."""

import base64
import dataclasses
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from telltale.records import Finding, Region, Report
from telltale.report import drawing, reread

Make = Callable[..., Report]
Pixels = NDArray[np.uint8]


def test_reread_takes_the_picture_only_if_it_is_what_was_scanned(
    tmp_path: Path, pixels: Pixels, found: Finding, report_of: Make
) -> None:
    path = tmp_path / "selfie.png"
    Image.fromarray(pixels).save(path)
    report = report_of(found, path=str(path))
    with pytest.raises(ValueError, match="has changed since it was scanned"):
        reread(report)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same = dataclasses.replace(report, subject=dataclasses.replace(report.subject, sha256=digest))
    np.testing.assert_array_equal(reread(same), pixels)


def test_close_ups_show_the_region_turned_upright(pixels: Pixels) -> None:
    uri = drawing.closeup(pixels, Region(60, 40, 120, 120, 30), 96)
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert shown.size == (96, 96)
    assert drawing.closeup(pixels, Region(60, 40, 120, 60), 96) == ""  # not square
    assert drawing.closeup(pixels, Region(0, 0, 300, 300), 96) == ""  # as large as the picture


def test_colours_have_contrast() -> None:
    """WCAG 2.2 AA: 4.5 : 1 of text against each ground that it stands on, light and dark."""
    css = (Path(drawing.__file__).parent / "templates" / "page.css").read_text()
    blocks = re.findall(r"color-scheme: (?:light|dark);(.*?)}", css, re.S)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for text in ("ink", "soft", "link", "yes", "unsure", "no"):
            for ground in ("paper", "sheet"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    dark, light = sorted(luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
