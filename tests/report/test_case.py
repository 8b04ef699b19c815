"""The case in its order, recaptures that make maps unreliable, and signatures that hold or not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from telltale.detector.joined import joined
from telltale.records import Finding, Observation, Report, Subject
from telltale.report.case import by_stage, case

MEDIA = Path(__file__).parents[2] / "examples/media"
Run = Callable[..., tuple[int, str, str]]
TASKS = {"recapture": "documents", "pim": "tampering", "s_adapter": "spoof"}


def finding(slug: str, verdict: str, **more: object) -> Finding:
    score = {"yes": 0.97, "no": 0.03, "can't tell": 0.5}[verdict]
    return Finding(slug, f"the claim of {slug}", score, verdict, **more)  # type: ignore[arg-type]


def test_a_recapture_makes_the_tamper_map_unreliable() -> None:
    heat = np.ones((2, 2), np.float32)
    found = [finding("pim", "yes", heatmap=heat), finding("recapture", "yes")]
    after = joined(found, TASKS)
    assert [f.verdict for f in after] == ["can't tell", "yes"]
    assert "recaptured" in after[0].notes[0]
    assert after[0].score == found[0].score  # nothing else moves
    for other in ("no", "can't tell"):
        same = [finding("pim", "yes"), finding("recapture", other)]
        assert joined(same, TASKS) == same


def test_lines_come_in_the_order_of_the_questions() -> None:
    unfit = finding(
        "vit_lora_scl", "can't tell", quality={"sharpness": 1.0},
        operating_range={"sharpness": (3.5, float("inf"))}, notes=("it is blurred",),
    )  # fmt: skip
    report = Report(
        Subject("a.jpg", "0" * 64, 1, "picture", "JPEG", 8, 8),
        (unfit, finding("recapture", "no")),
        {},
        "2026-01-01T00:00:00+00:00",
        (
            Observation("history", "derived", "jpeg.tables", "standard 75", "tables"),
            Observation("provenance", "observed", "c2pa", "none", "no credentials"),
        ),
    )
    assert [(line.stage, line.basis) for line in case(report)] == [
        ("provenance", "observed"),
        ("history", "derived"),
        ("quality", "derived"),
        ("recapture", "inferred"),
        ("forgery", "inferred"),
    ]
    titles = [title for title, _ in by_stage(report)]
    assert titles[0].startswith("Where does the file")
    assert "it is blurred" in case(report)[-1].says


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_signed_scan_is_verified_and_a_changed_one_is_not(
    tmp_path: Path, keys: tuple[Path, Path], run: Run
) -> None:
    private, public = keys
    picture, lines = tmp_path / "a.jpg", tmp_path / "out.jsonl"
    picture.write_bytes((MEDIA / "commodore.jpg").read_bytes())
    page = tmp_path / "out.html"
    code, _, err = run("scan", picture, "--json", lines, "--report", page, "--sign", private)
    assert code == 0, err
    code, out, _ = run("verify", lines, "--key", public)
    assert code == 0
    assert "NO " not in out
    assert "is the file that was scanned" in out
    assert run("verify", page, "--key", public)[0] == 0

    picture.write_bytes(b"another file")
    code, out, _ = run("verify", lines, "--key", public)
    assert code == 1
    assert "is not the file that was scanned" in out
    picture.unlink()
    code, out, _ = run("verify", lines)
    assert code == 0
    assert "is not here to be compared" in out

    page.write_text(page.read_text("utf-8").replace("No evidence", "Evidence"), "utf-8")
    code, out, _ = run("verify", page)
    assert code == 1
    assert "was changed" in out
    beside = lines.with_name("out.jsonl.sig.json")
    said = json.loads(beside.read_text())
    beside.write_text(json.dumps(said | {"signed_at": "2020-01-01T00:00:00+00:00"}))
    code, out, _ = run("verify", lines)
    assert code == 1
    assert "does not fit" in out


def test_another_key_is_seen_and_wrong_files_are_named(
    tmp_path: Path, keys: tuple[Path, Path], run: Run
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, _ = keys
    lines = tmp_path / "out.jsonl"
    assert run("scan", MEDIA / "commodore.jpg", "--json", lines, "--sign", private)[0] == 0
    other = Ed25519PrivateKey.generate().public_key()
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(
        other.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    code, out, _ = run("verify", lines, "--key", stranger)
    assert code == 1
    assert "another key" in out
    code, _, err = run("scan", MEDIA / "commodore.jpg", "--json", lines, "--sign", lines)
    assert code == 2
    assert "openssl genpkey" in err
    code, _, err = run("scan", MEDIA / "commodore.jpg", "--sign", private)
    assert code == 2
    assert "--sign wants something to sign" in err
    code, _, err = run("verify", tmp_path / "none.jsonl")
    assert code == 2
    assert "none.jsonl" in err


def test_a_pdf_is_printed(tmp_path: Path, run: Run) -> None:
    from telltale.report.pdf import browser

    if browser() is None:
        pytest.skip("no browser on this machine")
    out = tmp_path / "r.pdf"
    assert run("scan", MEDIA / "commodore.jpg", "--pdf", out)[0] == 0
    assert out.read_bytes().startswith(b"%PDF")
    assert [path.name for path in tmp_path.iterdir()] == ["r.pdf"]
