"""Certificates of trunks, runs, CLIP towers, any module, and of detectors' verdicts."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from redness import redness, save_empty, save_face
from telltale.certify import Certified, Noise, certify, certify_split, curve, to_markdown, to_svg
from telltale.metrics.bounds import cosine_bound, cosine_radius

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
MEDIA = Path(__file__).parents[1] / "examples/media"
ASTRONAUT = [MEDIA / "astronaut.jpg"]


def test_a_trunk_by_its_name(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "c.csv"
    words = ("certify", "vit_toy", MEDIA / "astronaut.jpg", MEDIA / "commodore.jpg")
    code, text, err = run(*words, "--samples", 200, "--sigma", 0.1, "--out", out)
    assert code == 0, err
    assert "astronaut.jpg" in text
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["astronaut.jpg", "commodore.jpg"]
    for row in rows:
        assert 0 <= float(row["score"]) <= 1
        known = [float(row[f"cosine at {s}"] or 0) for s in ("0.05", "0.1", "0.25", "0.5")]
        assert known == sorted(known, reverse=True)
    assert ElementTree.fromstring(out.with_suffix(".svg").read_text()).tag.endswith("svg")
    assert "2 pictures, σ = 0.1" in out.with_suffix(".md").read_text()


def test_a_run_and_its_sigma(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    settings = ("--set", "fit.steps=2", "--set", "fit.every=1", "--set", "data.scenes=16")
    train = ("train", "feature_smoothing", "--recipe", "toy", "--run", folder, *settings, "--quiet")
    code, _, err = run(*train)
    assert code == 0, err
    (one,) = certify(folder, ASTRONAUT, Noise(samples=100))
    (again,) = certify(str(folder), ASTRONAUT, Noise(samples=100))
    (other,) = certify(folder, ASTRONAUT, Noise(samples=100, sigma=0.05))
    assert (one.score, one.radius) == (again.score, again.radius)
    assert other.score > one.score  # less noise, nearer features


class Tilted(nn.Module):
    """A module of nobody's: maps (B, 4, 3, 3) of pictures of 24 pixels."""

    size = 24

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def clip_tower(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["any module", "CLIP", "CLIP in bfloat16"])
def test_any_module_and_a_clip_by_its_folder(kind: str, tmp_path: Path) -> None:
    what: Any = Tilted() if kind == "any module" else clip_tower(tmp_path / "clip")
    noise = Noise(sigma=0.1, samples=300, batch=37, bfloat16=kind.endswith("bfloat16"))
    (row,) = certify(what, ASTRONAUT, noise, sizes=(0.0, 0.05))
    assert row.verdict is None
    assert row.score > 0.7
    assert row.bounds[0] == pytest.approx(float(cosine_bound(row.score, 0, 0.1)))
    assert row.radius == pytest.approx(float(cosine_radius(row.score, 0.1)))
    # The batch bounds the memory and nothing else
    (other,) = certify(what, ASTRONAUT, Noise(0.1, 300, batch=300, bfloat16=noise.bfloat16))
    assert other.score == pytest.approx(row.score, abs=2e-2 if noise.bfloat16 else 1e-5)


def test_bfloat16_is_close_where_it_holds(tmp_path: Path) -> None:
    folder = clip_tower(tmp_path / "clip")
    scores = [
        next(certify(folder, ASTRONAUT, Noise(0.1, 300, bfloat16=half))).score
        for half in (False, True)
    ]
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=5e-3)


def flat(folder: Path, colour: tuple[int, int, int], name: str = "a.png") -> Path:
    path = folder / name
    Image.new("RGB", (32, 32), colour).save(path)
    return path


@pytest.mark.parametrize(("colour", "holds"), [((128, 100, 125), True), ((120, 100, 125), False)])
def test_a_linear_detectors_radius_is_its_distance(
    tmp_path: Path, colour: tuple[int, int, int], holds: bool
) -> None:
    """The verdict is the sign of a plane's side, for which the certificate is tight."""
    detector = redness(tmp_path)
    path, noise = flat(tmp_path, colour), Noise(sigma=0.5, samples=4000)
    (row,) = certify(detector, [path], noise, on="crops", sizes=(0.0, 0.1, 9.0))
    # logit = 8 mean(R - B), of 1,024 pixels: the weights' length is 8 √2 / 32
    distance = 8 * abs(colour[0] - colour[2]) / 255 / (8 * np.sqrt(2) / 32)
    assert row.verdict is holds
    assert 0.75 * distance < row.radius <= distance
    assert row.bounds[0] == pytest.approx(row.score)
    assert row.bounds[1] < row.score
    assert np.isnan(row.bounds[2])


def test_no_perturbation_within_the_radius_turns_a_verdict(tmp_path: Path) -> None:
    detector = redness(tmp_path)
    path = flat(tmp_path, (128, 100, 125))
    (row,) = certify(detector, [path], Noise(sigma=0.5, samples=2000), on="crops")
    worst = np.zeros((1, 3, 32, 32), np.float32)
    worst[:, 0], worst[:, 2] = -1, 1
    random = np.random.default_rng(1)
    clean = np.array([128, 100, 125], np.float32)[:, None, None] / 255
    for times, stays in ((0.9, True), (2.0, False)):
        moved = clean + times * row.radius * worst / np.linalg.norm(worst)
        votes = [
            detector.network.run(
                None, {"images": moved + 0.5 * random.standard_normal(moved.shape, np.float32)}
            )[0][0]
            > 0
            for _ in range(2000)
        ]
        assert (np.mean(votes) > 0.5) == stays


def test_stress_certifies_detectors_and_encoders(tmp_path: Path, run: Run) -> None:
    redness(tmp_path)
    lines = ["path,label,source,split"]
    for number, colour in enumerate([(200, 90, 40), (40, 90, 200), (160, 90, 40), (200, 90, 60)]):
        flat(tmp_path, colour, f"{number}.png")
        lines.append(f"{number}.png,{int(number in (0, 2))},person {number},test")
    (tmp_path / "m.csv").write_text("\n".join([*lines, "none.png,1,person 9,test"]) + "\n")
    (tmp_path / "none.png").write_bytes(b"no picture")
    words = ("stress", tmp_path / "redness.onnx", "vit_toy", "--data", tmp_path / "m.csv")
    more = ("--certify", "--on", "crops", "--samples", 50, "--sigma", 0.1, "--out", tmp_path / "o")
    code, _, err = run(*words, *more, "--quiet")
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "o/certified_redness.csv").read_text().splitlines()))
    assert [row["verdict"] for row in rows] == ["1", "0", "1", "1"]
    assert [row["label"] for row in rows] == ["1", "0", "1", "0"]
    text = (tmp_path / "o/certified.md").read_text()
    assert "| verdict held | 1.000" in text
    assert "| right and held | 0.750" in text
    assert "1 pictures have no answer, e.g. none.png" in text
    root = ElementTree.fromstring((tmp_path / "o/certified.svg").read_text())
    assert len(root.findall("{http://www.w3.org/2000/svg}g")) == 2  # a panel each kind
    code, _, err = run(*words, "--certify", "--faithfulness")
    assert code == 2
    assert "one of --certify and --faithfulness" in err


def test_faces_are_found_and_the_verb_says_what_is_missing(tmp_path: Path, run: Run) -> None:
    detector = redness(tmp_path)
    face, empty = save_face(tmp_path / "face.png"), save_empty(tmp_path / "empty.png")
    code, out, err = run("certify", tmp_path / "redness.onnx", face, "--samples", 50)
    assert code == 0, err
    assert "face.png: the claim" in out
    code, _, err = run("certify", tmp_path / "redness.onnx", empty, "--samples", 50)
    assert code == 2
    assert "no face found" in err
    (tmp_path / "m.csv").write_text("path,label,source,split\nempty.png,1,a,test\n")
    with pytest.raises(ValueError, match=r"no picture has an answer, e\.g\. empty"):
        certify_split(detector, tmp_path / "m.csv", Noise(samples=5))
    code, _, err = run("certify", "pim", face)
    assert code == 2
    assert "tiles" in err


def test_curves_by_hand() -> None:
    rows = [
        Certified(Path("a"), 0.99, 0.2, (), True, 1),
        Certified(Path("b"), 0.9, 0.1, (), True, 0),
        Certified(Path("c"), 0.4, 0.0, (), False, 0),
    ]
    found = curve(rows, "verdict", 0.1)
    assert found.at(0.05) == pytest.approx({"verdict held": 2 / 3, "right and held": 1 / 3})
    assert found.at(0.15)["verdict held"] == pytest.approx(1 / 3)
    assert found.radius == pytest.approx(0.2 / 3)
    one = curve(rows, "cosine", 0.1)
    wanted = [float(cosine_bound(score, 0.05, 0.1)) for score in (0.99, 0.9)]
    assert one.at(0.05)["mean"] == pytest.approx((sum(wanted) - 1) / 3)  # the third: -1
    assert one.at(0.0)["share at 0.5 or more"] == pytest.approx(2 / 3)
    assert "| mean |" in to_markdown({"x": one})
    assert "<polygon" in to_svg({"x": one})
    with pytest.raises(ValueError, match="want a picture"):
        curve([], "verdict", 0.1)


def test_what_is_wrong_is_named(tmp_path: Path, run: Run) -> None:
    for words, says in (
        (("vit_toyy", ASTRONAUT[0]), "vit_toyy"),
        (("vit_toy", tmp_path / "none.jpg"), "none.jpg"),
        ((tmp_path, ASTRONAUT[0]), "run.json"),
        (("mtl_ue", ASTRONAUT[0]), "ships no weights"),
        (("vit_toy", ASTRONAUT[0], "--sigma", "0"), "sigma above 0"),
    ):
        code, _, err = run("certify", *words)
        assert code == 2
        assert says in err
