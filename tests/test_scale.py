"""A corpus over a real Ray of this machine: the same answers, single faults, resumed by content."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import telltale
from telltale.records import Failure, Report
from telltale.report import read_jsonl
from telltale.scale import Worker, known, scan_corpus

pytest.importorskip("ray")
pytest.importorskip("pyarrow")
MEDIA = Path(__file__).parents[1] / "examples/media"
Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of which there are many


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("astronaut.jpg", "commodore.jpg", "forged_swap.jpg"):
        shutil.copy(MEDIA / name, folder)
    (folder / "broken.jpg").write_bytes((MEDIA / "astronaut.jpg").read_bytes()[:2000])
    shutil.copy(MEDIA / "astronaut.jpg", folder / "copy.jpg")
    return folder


def test_a_worker_keeps_a_fault_to_its_row(corpus: Path) -> None:
    worker = Worker(set(), False, 1.0, None)
    good, bad = worker.row(str(corpus / "astronaut.jpg")), worker.row(str(corpus / "broken.jpg"))
    assert not good["error"]
    assert "damaged" in bad["error"]
    assert not bad["report"]
    again = Worker({good["sha256"]}, False, 1.0, None).row(str(corpus / "copy.jpg"))
    assert again["verdict"] == "passed"
    there = Worker(set(), False, 1.0, None).row((corpus / "astronaut.jpg").as_uri())
    assert there["sha256"] == good["sha256"]
    assert json.loads(there["report"])["subject"]["path"].startswith("file://")


@pytest.mark.slow
def test_the_same_answers_and_resumed_by_content(corpus: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out.jsonl"
    first = scan_corpus([corpus], out, workers=2)
    assert (first.scanned, first.failed, first.passed) == (3, 1, 1)
    assert first.evidence == 1
    found = {Path(r.subject.path).name: r for r in read_jsonl(out) if isinstance(r, Report)}
    assert next(r for r in read_jsonl(out) if isinstance(r, Failure)).path.endswith("broken.jpg")
    for name, report in found.items():
        alone = telltale.scan(corpus / name, survival=False)
        assert [f.score for f in report.findings] == pytest.approx(
            [f.score for f in alone.findings], abs=1e-6
        )
    Image.new("RGB", (80, 80), (90, 30, 60)).save(corpus / "new.png")
    (corpus / "commodore.jpg").rename(corpus / "moved.jpg")
    code, stdout, err = run("scan", corpus, "--engine", "ray", "--json", out, "--workers", 1)
    assert code in (0, 1), err
    assert "1 scanned" in err + stdout
    assert len([r for r in read_jsonl(out) if isinstance(r, Report)]) == 4

    folder = tmp_path / "parquet"
    assert scan_corpus([corpus], folder, workers=1).scanned == 4
    assert known(folder) == {r.subject.sha256 for r in read_jsonl(out) if isinstance(r, Report)}
    assert scan_corpus([corpus], folder, workers=1).scanned == 0


def test_what_is_wrong_is_named(tmp_path: Path, corpus: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures or videos"):
        scan_corpus([tmp_path / "empty"], tmp_path / "o.jsonl")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="want a folder for Parquet"):
        known(tmp_path / "file")
    code, _, err = run("scan", corpus, "--engine", "ray")
    assert code == 2
    assert "--json" in err
    code, _, err = run("scan", corpus, "--engine", "spark")
    assert code == 2
    assert "threads, ray" in err
