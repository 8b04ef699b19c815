"""Transfer robustness of runs, from the command line and from Python."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from telltale.transfer import ITSELF, TOGETHER, Carried, means, table, transfer, wilson

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A triggered classifier and two that are its kind with other seeds, all hardly trained."""
    from telltale.train import train

    folder, found = tmp_path_factory.mktemp("runs"), []
    for seed in range(3):
        settings = {
            "data.scenes": 24,
            "data.validation": 40,
            "data.batch": 8,
            "fit.steps": 24,
            "fit.every": 24,
            "fit.seed": seed,
        }
        found.append(folder / f"seed{seed}")
        train("trigger_activation", recipe="toy", settings=settings, run=found[-1])
    return found


@pytest.mark.usefixtures("one_thread")
def test_the_table_of_runs(runs: list[Path], tmp_path: Path, run: Run) -> None:
    target, *others = runs
    out = tmp_path / "transfer.csv"
    words = [word for path in others for word in ("--surrogate", path)]
    code, text, err = run(
        "transfer", target, *words, "--attacks", "PGD,MI", "--steps", 3, "--eps", 4, "--out", out
    )
    assert code == 0, err
    rows = [*csv.DictReader(out.read_text().splitlines())]
    assert [(row["attack"], row["source"]) for row in rows] == [
        ("none", "none"),
        *((attack, str(s)) for attack in ("PGD", "MI") for s in (*others, TOGETHER)),
        ("white-box PGD", ITSELF),
    ]
    assert all(
        0 <= float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) <= 1 for row in rows
    )
    assert len({row["count"] for row in rows[1:]}) == 1
    assert int(rows[1]["count"]) <= int(rows[0]["count"]) == 40
    assert float(rows[-1]["accuracy"]) <= min(float(row["accuracy"]) for row in rows[1:-1])
    assert f"{target}: " in text
    again = transfer([target], others, attacks=["PGD", "MI"], steps=3, eps=4 / 255)
    assert table([*again]) == out.read_text()


@pytest.mark.usefixtures("one_thread")
def test_a_detector_is_judged_by_its_log_odds(runs: list[Path], tmp_path: Path) -> None:
    from telltale.train import train

    detector = tmp_path / "detector"
    settings = {"fit.steps": 8, "fit.every": 8, "fit.warmup": 0, "data.batch": 8}
    settings |= {"data.scenes": 24, "data.validation": 40}
    train("vit_lora_scl", recipe="toy", settings=settings, run=detector)
    found = [*transfer([detector], runs[:1], attacks=["MI"], steps=2)]
    assert [row.attack for row in found] == ["none", "MI", "white-box PGD"]
    assert found[0].count == 40


def test_what_is_wrong_is_named(runs: list[Path], tmp_path: Path) -> None:
    target, other, _ = runs
    for targets, surrogates, given, says in (
        ([], [other], {}, "want one target"),
        ([target], [target], {}, "is a target"),
        ([target], [other], {"attacks": ["FGSM"]}, "no attack 'FGSM'"),
        ([target], [other], {"eps": 0.0}, "eps in"),
        ([target], [tmp_path], {}, "run.json"),
    ):
        with pytest.raises(ValueError, match=says):
            [*transfer(targets, surrogates, **given)]


def test_wilson_and_means_by_hand() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0
    assert wilson(5, 5)[1] == 1
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)
    rows = [
        Carried("a", attack, source, value, 0, 1, 10)
        for attack, source, value in (
            ("none", "none", 1.0), ("MI", "b", 0.5), ("DI", "b", 0.7), ("white-box PGD", ITSELF, 0)
        )
    ]  # fmt: skip
    assert means(rows) == {"a": pytest.approx(0.6)}
