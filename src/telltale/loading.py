"""Detectors by name or file, and networks on a backbone, for those who train."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from torch import nn

    from telltale.detector import Detector
    from telltale.records import Card

PathLike = str | os.PathLike[str]
ALL = "all"  # the task that is every task


@overload
def load(
    method: PathLike | None = None, *, task: str | None = None, threads: int = 0
) -> "Detector": ...


@overload
def load(method: PathLike, *, backbone: "str | Mapping[str, Any] | nn.Module") -> "nn.Module": ...


def load(
    method: PathLike | None = None,
    *,
    task: str | None = None,
    threads: int = 0,
    backbone: "str | Mapping[str, Any] | nn.Module | None" = None,
) -> "Detector | nn.Module":
    """A detector that is ready to use; or, on a backbone, a method's network to train.

        >>> detector = telltale.load("vit_lora_scl")
        >>> telltale.scan("selfie.jpg", detector=detector)
        >>> network = telltale.load("moe_ffd", backbone="vit_base_patch16_224.augreg_in21k")

    Args:
        method: A slug of the catalogue; the ``.onnx`` file of an exported method with its card, a
            ``.toml`` of the same stem, beside it; or the folder of a training run, whose exported
            file is taken if it is not older than the run's weights, else made elsewhere. By
            default the first that ships weights.
        task: Choose among the shipped ones by what they ask: "faces", "spoof", "documents", …
        threads: Threads inside a network call; 0 = all cores.
        backbone: A trunk's name, its settings or the trunk: gives the method's network on it, an
            ``nn.Module`` with the paper's other settings, untrained. Needs the extra ``train``.

    Raises:
        ValueError: If there is no such method or task (the text names the nearest), it ships no
            weights, or a weights file is not the one that its card describes.
    """
    if backbone is not None:
        from telltale.catalog import build

        if method is None:
            raise ValueError("want a method to build on the backbone, got none")
        return build(os.fspath(method), backbone=backbone)
    from telltale.catalog import cards
    from telltale.detector import Detector

    if task == ALL:
        raise ValueError("want one task; telltale.loading.detectors takes all of them")
    if method is None:
        return Detector.load(asked(task)[0].slug, threads=threads)
    if task is not None:
        raise ValueError(f"want a method or a task, got both: {os.fspath(method)!r} and {task!r}")
    path, name = Path(method), os.fspath(method)
    if path.suffix.lower() in {".safetensors", ".pt", ".pth", ".ckpt"}:
        raise ValueError(f"{path}: give the folder of the run that it belongs to: {path.parent}")
    if path.suffix.lower() != ".onnx":
        if path.is_dir() and name not in cards():
            return _of_run(path, threads)
        if len(path.parts) > 1:
            raise ValueError(f"{path}: no such exported .onnx file or folder of a run")
        return Detector.load(name, threads=threads)
    card = _card_beside(path)
    for weights in card.weights:
        if weights.file == path.name:
            return Detector(card, weights, folder=path.parent, threads=threads)
    raise ValueError(f"{path.with_suffix('.toml')}: has no weights entry for {path.name}")


def detectors(
    method: PathLike | None = None,
    *,
    task: str | None = None,
    context: str | None = None,
    threads: int = 0,
) -> "tuple[Detector, ...]":
    """All that a scan asks: the method's detector, a task's first, or one for each question.

    Args:
        method: As for :func:`load`.
        task: As for :func:`load`; or "all": one for each question that any shipped one answers.
        context: How the pictures were taken: "selfie" asks whether the face was presented live,
            too, and "document" whether the page was recaptured.
        threads: As for :func:`load`.

    Raises:
        ValueError: As for :func:`load`, or if no method knows the context.
    """
    from telltale.detector import Detector

    if context is not None and (method is not None or task is not None):
        raise ValueError(f"context {context!r} adds questions; leave out {task or method}")
    if method is not None or task not in (None, ALL):
        return (load(method, task=task, threads=threads),)
    first = {task_of(card): card for card in reversed(asked(task, context))}
    return tuple(Detector.load(card.slug, threads=threads) for card in reversed(first.values()))


def _of_run(folder: Path, threads: int) -> "Detector":
    """The detector that a run's folder holds, exported if need be."""
    weights = folder / "weights.safetensors"
    since = weights.stat().st_mtime if weights.exists() else 0.0
    exported = [
        path
        for path in sorted(folder.glob("*.onnx"))
        if path.with_suffix(".toml").exists() and path.stat().st_mtime >= since
    ]
    if len(exported) > 1:
        names = ", ".join(path.name for path in exported)
        raise ValueError(f"{folder}: holds several exported methods, name one of {names}")
    if exported:
        return load(exported[0], threads=threads)
    from telltale.export import export_run  # above this row: of loading, only this needs torch
    from telltale.runs import read_run

    slug = read_run(folder).slug
    try:
        with tempfile.TemporaryDirectory() as elsewhere:
            return load(export_run(folder, Path(elsewhere) / f"{slug}.onnx"), threads=threads)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "telltale":
            raise
        raise ValueError(
            f"{folder}: is not exported, which needs {error.name}: "
            "pip install 'telltale-vision[train]'"
        ) from None


def asked(task: str | None, context: str | None = None) -> "list[Card]":
    """The methods with shipped weights that answer a task, or "all"; those asked aside last.

    By default those that a scan asks.

    Args:
        task: Whose; None is all that a scan asks.
        context: With those that this way of taking a picture calls for.

    Raises:
        ValueError: If there is no such task or context; the text names the nearest.
    """
    from telltale.catalog import cards, nearest

    ready = [card for card in cards().values() if card.verb == "detect" and card.weights]
    ready.sort(key=lambda card: card.aside)
    if not ready:
        raise ValueError("no method ships weights in this installation; reinstall telltale-vision")
    known = dict.fromkeys(name for card in ready for name in card.contexts)
    if context is not None and context not in known:
        raise ValueError(
            f"no context {context!r}{nearest(context, known)}; there is {', '.join(known)}"
        )
    if task is None:
        return [card for card in ready if card.asked or context in card.contexts]
    if task == ALL:
        return ready
    tasks = dict.fromkeys(task_of(card) for card in ready)
    if task not in tasks:
        raise ValueError(
            f"no detector for the task {task!r}{nearest(task, tasks)}; there is {', '.join(tasks)}"
        )
    return [card for card in ready if task_of(card) == task]


def task_of(card: "Card") -> str:
    """What ``--task`` calls a method's question: the card's word, or its room."""
    return card.task or card.network.split(".")[1]


def _card_beside(path: Path) -> "Card":
    import tomllib

    from telltale.records import Card

    card = path.with_suffix(".toml")
    try:
        return Card.from_toml(path.stem, tomllib.loads(card.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{card}: wanted as the card of {path.name} ({error})") from None
