"""What the folder of a training says of itself: ``run.json``, ``steps.jsonl`` and ``card.toml``."""

import json
import platform
import time
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale import catalog
from telltale.engine import sha256
from telltale.recipe import Recipe, in_force

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LIBRARIES = ("telltale-vision", "torch", "numpy", "accelerate", "safetensors", "timm")


FACE: Mapping[str, Any] = {"crop": "face", "margin": 1.3}
MARGIN = (  # the record of a run does not say how its faces were cut
    "# The margin is how a scan cuts faces: as `telltale prepare` does by itself. If those learnt\n"
    "# from were cut with another --margin, write it here; if with --align or by others, judge\n"
    "# with `telltale evaluate --on crops`."
)
SHOWN: Mapping[str, Mapping[str, Any]] = {  # what a method of this task is shown in a scan
    "documents": {"crop": "page"},
    "tampering": {"crop": "whole"},
    "hidden": {"crop": "whole"},
}


def write_run(run: Path, plan: Recipe, about: Mapping[str, Any]) -> None:
    """Make the folder with ``run.json``: every value in force, versions, and ``about``."""
    run.mkdir(parents=True, exist_ok=True)
    record = {"slug": plan.slug, "recipe": plan.tables(), "seed": plan.fit.seed, **about}
    record |= _made_with()
    replace_text(run / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_run(run: Path) -> Recipe:
    """The values in force of a run's folder.

    Raises:
        ValueError: If it is not a run's folder.
    """
    path = run / "run.json"
    try:
        about = json.loads(path.read_text("utf-8"))
        slug, tables = str(about["slug"]), dict(about["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the record of a run ({error})") from None
    return in_force(slug, tables)


def write_card(run: Path, plan: Recipe, size: int, step: int, figure: str) -> None:
    """The method's card with these weights; ``figure`` says what they were chosen by."""
    weights = run / "weights.safetensors"
    about = {
        "file": weights.name,
        "sha256": sha256(weights),
        "license": plan.data.license,
        "trained_on": f"{Path(plan.data.manifest).name}, seed {plan.fit.seed}, {step} steps; "
        f"best by validation, {figure}",  # chosen by it, hence no measure of it
        "input": {"size": size},
    }
    replace_text(run / "card.toml", _card_text(plan.slug, about))


def write_export_card(
    run: Path, path: Path, digest: str, size: int, calibration: Mapping[str, Any]
) -> None:
    """The card of an exported run, beside the ONNX file and of the same stem."""
    plan = read_run(run)
    trained = tomllib.loads((run / "card.toml").read_text("utf-8"))["weights"][0]
    about = {
        "file": path.name,
        "sha256": digest,
        "license": trained["license"],
        "trained_on": trained["trained_on"],
        "learnt": [*learnt_of(run)],
        "input": {"size": size, **SHOWN.get(catalog.card(plan.slug).task, FACE)},
        "calibration": calibration,
        "threshold": 0.5,
        "doubt": 0.1,
    }
    text = _card_text(plan.slug, about)
    if "margin" in about["input"]:
        text = text.replace("\ninput = ", f"\n{MARGIN}\ninput = ")
    replace_text(path.with_suffix(".toml"), text)


def learnt_of(run: Path) -> tuple[str, ...]:
    """The kinds of forgery or attack that the record of a run says it learnt from."""
    about = json.loads((run / "run.json").read_text("utf-8")).get("data", {})
    return tuple(str(kind) for kind in about.get("kinds", ()))


def _card_text(slug: str, weights: Mapping[str, Any]) -> str:
    card = catalog.card(slug)
    words = ("title", "source", "code", "network", "verb", "claim")
    lists = ("takes", "learns_from", "assumed", "limits")
    lines = [f"{key} = {_toml(getattr(card, key))}" for key in (*words, *lists)]
    lines += ["", "[[weights]]", *(f"{key} = {_toml(value)}" for key, value in weights.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A value as TOML; a JSON string is a TOML string too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text at once; an interrupted write leaves the old file."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _made_with() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "versions": found}


def log(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record to a JSON-lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(record)) + "\n")


def read_log(path: Path, *, until: int | None = None) -> list[dict[str, Any]]:
    """A log's records, those with a ``step`` up to ``until``; a last line cut short is dropped."""
    lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [r for r in records if until is None or r.get("step", 0) <= until]


def to_tensorboard(records: Iterable[Mapping[str, Any]], writer: "SummaryWriter") -> None:
    """Send records' numbers to TensorBoard, under the record's ``step``."""
    for record in records:
        for key, value in record.items():
            if key != "step" and isinstance(value, int | float):
                writer.add_scalar(key, value, record["step"])
