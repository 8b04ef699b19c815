"""A run that is judged on people it learnt from says so, whichever dataset they stand in."""

from pathlib import Path

import numpy as np
import pytest

from telltale.data.layout import members, relatives
from telltale.evaluate.learnt import FILE, learnt_too
from telltale.evaluate.predictions import Predictions


def judged(*sources: str) -> Predictions:
    count = len(sources)
    paths, labels = np.array([f"{k}.png" for k in range(count)]), np.arange(count) % 2
    return Predictions("deeperforensics", paths, labels, np.zeros(count), np.array(sources))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that learnt from two pairs of FaceForensics++."""
    names = relatives([("953", "974"), ("000", "003")])
    (tmp_path / FILE).write_text("".join(f"ff:{name}\n" for name in sorted({*names.values()})))
    return tmp_path


def test_a_pair_is_its_two_videos() -> None:
    assert members("ff:953+974") == {"ff:953", "ff:974"}
    assert members("anna") == {"anna"}


def test_targets_of_another_dataset_are_found_inside_a_pair(run: Path) -> None:
    (said,) = learnt_too(run, judged("ff:974", "ff:111", "ff:974", "celebdf-v2:id3"))
    assert said == (
        "1 of 3 sources in deeperforensics were learnt from, e.g. ff:974: figures on them flatter"
    )


def test_nothing_is_said_of_strangers_or_of_what_does_not_tell(run: Path, tmp_path: Path) -> None:
    assert learnt_too(run, judged("ff:001", "dfd:953")) == []
    assert learnt_too(tmp_path / "other", judged("ff:953")) == []
    assert learnt_too("vit_lora_scl", judged("ff:953")) == []
