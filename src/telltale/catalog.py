"""The catalogue: every ``<slug>.toml`` beside its ``<slug>.py`` is a method, and nothing else is.

Reading the cards needs no torch; building a network imports its module then.
"""

import difflib
import inspect
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale.engine import verified
from telltale.records import Card, Weights

if TYPE_CHECKING:
    from torch import nn

ROOMS = ("faces", "pictures", "robustness", "language", "spiking", "explain")


@cache
def cards() -> Mapping[str, Card]:
    """Every method's card by its slug, sorted.

    Raises:
        ValueError: If a card is not complete; the text names it.
    """
    package = Path(str(files("telltale")))
    found = sorted(path for room in ROOMS for path in (package / room).glob("*.toml"))
    return {path.stem: _read(path) for path in sorted(found, key=lambda path: path.stem)}


def card(slug: str) -> Card:
    """The card of a method.

    Raises:
        ValueError: If there is none; the text names the nearest.
    """
    known = cards()
    if slug not in known:
        raise ValueError(f"no method {slug!r}{nearest(slug, known)}; see: telltale methods")
    return known[slug]


def build(slug: str, **settings: Any) -> "nn.Module":
    """A method's network with random or pretrained parts, as the settings say.

    Args:
        slug: Method.
        settings: Its constructor's arguments. A backbone may be given as a module, a name, or a
            table of its maker's arguments, see :func:`telltale.nn.backbones.maker`.

    Raises:
        ValueError: If the method or a setting is not known, or torch is not installed.
    """
    target = network(slug)
    signature = inspect.signature(target)
    wrong = [name for name in settings if name not in signature.parameters]
    if wrong:
        names = list(signature.parameters)
        raise ValueError(
            f"{slug} has no setting {wrong[0]!r}{nearest(wrong[0], names)}; it has {_words(names)}"
        )
    parts = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    made = {k: _module(k, value) if k in parts else value for k, value in settings.items()}
    try:
        bound = signature.bind(**made)
    except TypeError as error:
        raise ValueError(f"{slug}: {error}; it has {_words(signature.parameters)}") from None
    return target(*bound.args, **bound.kwargs)


def network(slug: str) -> "type[nn.Module]":
    """The class that a card's ``network`` names.

    Raises:
        ValueError: If torch is not installed; the text says what to install.
    """
    module, _, name = card(slug).network.partition(":")
    try:
        found: type[nn.Module] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "telltale":
            raise
        raise ValueError(
            f"{slug} needs {error.name.partition('.')[0]}: pip install 'telltale-vision[train]'"
        ) from None
    return found


def weights_path(weights: Weights) -> Path:
    """The installed file of a card's weights, its hash checked; see :func:`engine.verified`."""
    return verified(weights)


def nearest(word: str, known: Iterable[str]) -> str:
    """``", did you mean …?"`` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, [*known], n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _read(path: Path) -> Card:
    try:
        return Card.from_toml(path.stem, tomllib.loads(path.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a card ({error})") from None


def _module(name: str, value: object) -> object:
    """A module parameter given as a name or a table becomes the module."""
    if isinstance(value, str | Mapping):
        from telltale.nn.backbones import maker

        table: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
        make = maker(table.get("name"))
        known = [*inspect.signature(make).parameters]
        for key in table:
            if key not in known:
                raise ValueError(f"{name} has no setting {key!r}{nearest(key, known)}")
        return make(**table)
    return value


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)
