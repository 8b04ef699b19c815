"""What attacks on faces there are, and which datasets hold them: the survey's catalogue as data.

Source: Kong, Wang, Li, "Digital and Physical Face Attacks: Reviewing and One Step Further", APSIPA
Transactions on Signal and Information Processing, 2023, arXiv:2209.14692, for the division into
physical and digital attacks. Sizes are as their publications give them; an entry that nobody has
checked against its dataset's page says so (``verified = false``).
"""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

FAMILIES = ("physical", "digital", "hybrid")
TASKS = ("fas", "forgery", "joint")
HERE = Path(__file__).parent


class Attack(NamedTuple):
    """A kind of attack, a node of the tree whose roots are :data:`FAMILIES`."""

    id: str
    name: str
    parent: str  # "" for a family
    traces: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()


class Source(NamedTuple):
    """A dataset: what it holds and where it is described."""

    id: str
    name: str
    year: int
    task: str
    attacks: tuple[str, ...]
    size: str
    modality: tuple[str, ...]
    url: str
    subjects: int = 0  # 0: not known
    split: str = ""
    verified: bool = False


@cache
def attacks() -> dict[str, Attack]:
    """All kinds by id, families first.

    Raises:
        ValueError: If the tree is not one: an id twice, or a parent that is not there.
    """
    made: dict[str, Attack] = {}
    for entry in _table("attacks.toml", "attack"):
        parent = str(entry.get("parent", ""))
        if entry["id"] in made or (parent and parent not in made):
            raise ValueError(f"attacks.toml: {entry['id']} comes twice, or before its parent")
        words = {key: tuple(entry.get(key, ())) for key in ("traces", "sensors")}
        made[entry["id"]] = Attack(entry["id"], entry["name"], parent, **words)
    return made


@cache
def sources() -> dict[str, Source]:
    """All datasets by id, the oldest first.

    Raises:
        ValueError: If one names an attack or a task that is not known.
    """
    made = []
    for entry in _table("datasets.toml", "dataset"):
        known = {**entry, "attacks": tuple(entry["attacks"]), "modality": tuple(entry["modality"])}
        source = Source(**known)
        if unknown := sorted(set(source.attacks) - set(attacks())):
            raise ValueError(f"datasets.toml: {source.id} names unknown attacks {unknown}")
        if source.task not in TASKS:
            raise ValueError(f"datasets.toml: {source.id} wants a task of {', '.join(TASKS)}")
        made.append(source)
    return {source.id: source for source in sorted(made, key=lambda it: (it.year, it.id))}


def family(attack: str) -> str:
    """The root above a kind of attack.

    Raises:
        ValueError: If there is no such kind.
    """
    tree = attacks()
    if attack not in tree:
        raise ValueError(f"no attack {attack!r}; there is {', '.join(tree)}")
    while tree[attack].parent:
        attack = tree[attack].parent
    return attack


def kind_of(name: str) -> str:
    """The entry that a dataset's name for a kind of attack means: "warped print", "Face2Face".

    An entry's own id is itself; what no entry knows may name its family first: "digital/mine".

    Raises:
        ValueError: If nothing says what it is.
    """
    head, slash, _ = name.partition("/")
    if slash and head.strip().lower() in FAMILIES:
        return head.strip().lower()
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if plain in attacks():
        return plain
    table = _kinds()
    for entry, names in table["names"].items():
        if plain in names:
            return str(entry)
    parts = {part for part in plain.split("_") if not part.isdigit()}
    parts -= set(table["qualifiers"])
    known = {word for words in table["words"].values() for word in words}
    if parts and parts <= known:
        return next(str(it) for it, words in table["words"].items() if parts & set(words))
    raise ValueError(
        f"no kind of attack {name!r}: want one of `telltale catalogue`, or its family before it, "
        f"as in {'digital/' + name!r}"
    )


def family_of(name: str) -> str:
    """The family of :func:`kind_of`."""
    return family(kind_of(name))


def find(
    *,
    task: str | None = None,
    attack: str | None = None,
    modality: str | None = None,
    since: int | None = None,
) -> list[Source]:
    """The datasets that match all that is asked.

    Args:
        task: One of :data:`TASKS`.
        attack: A kind or a family; what stands below it counts.
        modality: Such as "RGB", "depth", "IR".
        since: First year.

    Raises:
        ValueError: If the task or the attack is not known.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"no task {task!r}; there is {', '.join(TASKS)}")
    if attack is not None:
        family(attack)

    def holds(source: Source) -> bool:
        return attack is None or any(attack in lineage(kind) for kind in source.attacks)

    return [
        source
        for source in sources().values()
        if (task is None or source.task == task)
        and (since is None or source.year >= since)
        and (modality is None or modality.lower() in map(str.lower, source.modality))
        and holds(source)
    ]


def lineage(attack: str) -> list[str]:
    """A kind and all that stands above it, the family last."""
    found = [attack]
    while parent := attacks()[found[-1]].parent:
        found.append(parent)
    return found


@cache
def _kinds() -> dict[str, Any]:
    return tomllib.loads((HERE / "kinds.toml").read_text("utf-8"))


def _table(name: str, key: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = tomllib.loads((HERE / name).read_text("utf-8"))[key]
    return entries
