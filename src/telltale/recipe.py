"""Recipes: a flat TOML file of tables, settings laid over it, and the values that are in force.

    method   = { rank = 4 }                                # the method's constructor
    backbone = { name = "vit_toy" }                        # and each module that it takes
    data     = { manifest = "synth:toyfaces" }             # telltale.data.sources.Data
    fit      = { lr = 1e-3, steps = 300 }                  # Fit

A value stands in the recipe or is the constructor's default; there is nothing else to look up.
"""

import inspect
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from telltale import catalog
from telltale.data.sources import Data

Tables = Mapping[str, Mapping[str, Any]]
Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A recipe's table ``fit``; see :func:`telltale.fit.adam` and :func:`telltale.fit.fit`.

    Args:
        steps: After which training ends.
        lr: Learning rate.
        lrs: Parameter name to a rate of its own.
        weight_decay: Of matrices.
        decoupled: AdamW in place of Adam.
        schedule: "constant" or "cosine".
        warmup: Steps of a linear rise; with "cosine" only.
        clip: Largest norm of the gradient.
        bfloat16: Mixed precision.
        every: Steps between validations; the state is kept then, too.
        patience: Validations without a better one after which to stop; 0 is never.
        seed: Of weights, orders and forgeries.
        tensorboard: Write for TensorBoard as well.
    """

    steps: int = 1000
    lr: float = 3e-5
    lrs: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 1e-5
    decoupled: bool = False
    schedule: str = "constant"
    warmup: int = 0
    clip: float = 1.0
    bfloat16: bool = False
    every: int = 100
    patience: int = 0
    seed: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1 or min(self.patience, self.warmup, self.seed) < 0:
            raise ValueError("fit: want steps and every ≥ 1; patience, warmup and seed ≥ 0")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"fit.schedule: want constant or cosine, got {self.schedule!r}")
        if (self.warmup and self.schedule == "constant") or self.warmup >= self.steps:
            raise ValueError(f"fit.warmup: {self.warmup} wants schedule cosine and more steps")


class Recipe(NamedTuple):
    """Every value in force of one training."""

    slug: str
    method: Mapping[str, Any]
    modules: Mapping[str, Mapping[str, Any]]  # "backbone" …
    data: Data
    fit: Fit

    def tables(self) -> dict[str, Any]:
        """As a recipe's tables, for ``run.json``; :func:`in_force` makes the same again."""
        made = {"method": dict(self.method), **self.modules}
        return made | {"data": asdict(self.data), "fit": asdict(self.fit)}


def read_recipe(recipe: Path | str, slug: str) -> dict[str, dict[str, Any]]:
    """A recipe file's tables; a bare name such as "toy" is ``recipes/<slug>/toy.toml``.

    Raises:
        ValueError: If there is no such file, or it is not TOML.
    """
    path = Path(recipe)
    if path.suffix != ".toml":
        folders = (Path("recipes") / slug, Path(__file__).parents[2] / "recipes" / slug)
        known = {p.stem: p for folder in reversed(folders) for p in sorted(folder.glob("*.toml"))}
        if path.name not in known or len(path.parts) > 1:
            near = catalog.nearest(path.name, known)
            names = ", ".join(sorted(known)) or "none here"
            raise ValueError(f"no recipe {str(recipe)!r} for {slug}{near}; there is {names}")
        path = known[path.name]
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a recipe ({error})") from None


def setting(text: str) -> tuple[str, Any]:
    """``"fit.lr=1e-3"`` of a command line as a pair; a value that is not TOML is a word.

    Raises:
        ValueError: If it is not of that form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"want table.key=value, such as fit.steps=500, got {text!r}")
    try:
        return name.strip(), tomllib.loads(f"it = {value}")["it"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def in_force(slug: str, tables: Tables, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The values of a recipe with ``settings`` laid over it and all defaults filled in.

    Args:
        slug: Method.
        tables: As :func:`read_recipe` gives them.
        settings: "table.key" to value.

    Raises:
        ValueError: For an unknown table or key, with the nearest known name, or a wrong type.
    """
    parameters = inspect.signature(catalog.network(slug)).parameters.values()
    modules = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    known = ("method", *modules, "data", "fit")
    merged: dict[str, dict[str, Any]] = {name: {} for name in known}
    for name, table in tables.items():
        _want(name, known, "a recipe")
        if not isinstance(table, Mapping):
            raise ValueError(f"{name}: want a table {{ key = value }}, got {table!r}")
        merged[name] |= table
    for where, value in (settings or {}).items():
        name, dot, key = where.partition(".")
        if not dot or not key:
            raise ValueError(f"want a setting as table.key, such as fit.steps, got {where!r}")
        _want(name, known, "a recipe")
        merged[name][key] = value
    given = tables.get("data", {}).get("manifest")
    if "data.license" not in (settings or {}) and merged["data"].get("manifest") != given:
        merged["data"].pop("license", None)  # the recipe's is that of the recipe's own data
    usual = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    # Lists, as TOML and JSON have them: a run's record has to read back as it was.
    method = {k: [*v] if isinstance(v, tuple) else v for k, v in usual.items()}
    hints = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    for key, value in merged["method"].items():
        _want(key, method, slug, "setting")
        _check(f"method.{key}", value, hints[key])
    method |= merged["method"]
    if missing := [name for name, value in method.items() if value is inspect.Parameter.empty]:
        raise ValueError(f"{slug} wants method.{missing[0]}")
    for name in modules:
        if "name" not in merged[name]:
            raise ValueError(f"{slug} wants a {name}: set {name}.name, or take a recipe")
    return Recipe(
        slug,
        method,
        {name: _module(name, merged[name]) for name in modules},
        _filled(Data, merged["data"], "data"),
        _filled(Fit, merged["fit"], "fit"),
    )


def _module(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A module's table with its maker's defaults."""
    from telltale.nn.backbones import maker

    _check(f"{name}.name", table["name"], str)
    parameters = inspect.signature(maker(table["name"])).parameters
    usual = {p.name: p.default for p in parameters.values()}
    for key, value in table.items():
        _want(key, usual, name, "setting")
        _check(f"{name}.{key}", value, parameters[key].annotation)
    made: dict[str, Any] = {**usual, **table}
    if made["weights"] is not None:  # a run may be resumed from another folder
        made["weights"] = str(Path(made["weights"]).absolute())
    return made


def _filled(kind: type[Settings], table: Mapping[str, Any], name: str) -> Settings:
    hints = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    for key, value in table.items():
        _want(key, hints, f"table {name!r}", "key")
        _check(f"{name}.{key}", value, hints[key])
    for made in fields(kind):  # type: ignore[arg-type]
        has_default = made.default is not MISSING or made.default_factory is not MISSING
        if made.name not in table and not has_default:
            raise ValueError(f"want {name}.{made.name}, in the recipe or as a setting")
    return kind(**table)


def _check(name: str, value: object, hint: object) -> None:
    """ValueError that names a setting whose value is not of the type of its parameter."""
    if not _fits(value, hint):
        said = hint.__name__ if isinstance(hint, type) else re.sub(r"\b(\w+\.)+", "", str(hint))
        raise ValueError(f"{name}: want {said}, got {value!r}")


def _fits(value: object, hint: object) -> bool:
    """Whether a value out of TOML or JSON is of a field's type; a list stands for a tuple."""
    if hint in (Any, inspect.Parameter.empty):
        return True
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint in (int, float):
        numbers = (int, float) if hint is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    origin = get_origin(hint) or hint
    if isinstance(value, str) and hint is not str:  # a str is a Sequence, too
        return hint is Path
    if origin is tuple and isinstance(value, list):
        origin = list
    if not isinstance(origin, type) or not isinstance(value, origin):
        return False
    parts = [part for part in get_args(hint) if part is not ...]
    if isinstance(value, list | tuple) and parts:
        counted = get_origin(hint) is tuple and ... not in get_args(hint)
        fits = all(any(_fits(item, part) for part in parts) for item in value)
        return fits and (not counted or len(value) == len(parts))
    return True


def _want(word: str, known: Iterable[str], owner: str, what: str = "table") -> None:
    names = [*known]
    if word not in names:
        near = catalog.nearest(word, names)
        raise ValueError(f"{owner} has no {what} {word!r}{near}; it has {', '.join(names)}")
