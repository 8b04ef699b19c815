"""Which heat map of a shipped detector can be believed: the violation test, and the card's lines.

    python benchmarks/heat_maps.py vit_lora_scl --faces CROPS --count 50 --grid 5 --card
    python benchmarks/heat_maps.py joint_attacks --faces CROPS --count 50 --grid 5 --card
    python benchmarks/heat_maps.py pim --photos DIR DIR --count 50 --grid 8 --card

Held-out people's faces (or photographs of the test split), each as it is and as an attack
(**synthetic**): those of benchmarks/quality_risk.py, undistorted, at JPEG 95. The shipped file is
shown what a scan would show it; :mod:`telltale.explaining.files` does the rest, without torch.

Prints the table; "restored" is another test of the attacks alone: the share in which giving the
block that a map marks most its genuine pixels back lowered the score, and by how many nats.
``--card`` writes ``[weights.maps]`` into the method's card, which scans and reports read.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality_risk import faces, pair, photographs  # beside this file

from telltale import catalog
from telltale.degrade import jpeg
from telltale.detector.maps import LOT
from telltale.explaining.files import Shown
from telltale.explaining.tables import card_maps, cells, columns
from telltale.explaining.verdicts import Faithfulness, measured

Pixels = NDArray[np.uint8]


def pairs(shown: Shown, given: list[Any]) -> Iterator[tuple[Pixels, Pixels]]:
    """What the network is shown of a genuine picture and of an attack made of it, cut alike."""
    looker = shown.detector.looker
    for number in range(len(given)):
        try:
            both = [jpeg(it, 95) for it in pair(shown.detector.card.slug, number, given)]
        except ValueError:  # nobody of another's size to swap with
            continue
        subjects = looker.look(both[0], {})
        if subjects and both[0].shape == both[1].shape:
            one, other = subjects[0].crops, looker.cut(both[1], subjects[0].region)
            place = hottest(one, other)
            yield one[place], other[place]


def hottest(one: Any, other: Any) -> int:  # crops or tiles
    """Of several crops or tiles the one in which most was changed."""
    return int(
        np.argmax([np.abs(a.astype(int) - b).sum() for a, b in zip(one, other, strict=True)])
    )


def restored(shown: Shown, both: list[tuple[Pixels, Pixels]]) -> dict[str, list[float]]:
    """Share of attacks that look less like one, and by how many nats, with the top block undone."""
    edges = np.rint(np.linspace(0, shown.detector.size, shown.grid + 1)).astype(int)
    lost: dict[str, list[float]] = {}
    for number, (genuine, attack) in enumerate(both):
        before = shown.odds(attack)
        for method, weights in shown.maps(attack, np.random.default_rng([1, number])).items():
            if method == LOT:
                weights = np.abs(weights)
            row, column = np.unravel_index(int(weights.argmax()), weights.shape)
            place = np.s_[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            made = attack.copy()
            made[place] = genuine[place]
            lost.setdefault(method, []).append(before - shown.odds(made))
    return {k: [float(np.mean(np.array(v) > 0)), float(np.mean(v))] for k, v in lost.items()}


def write(card: Path, maps: dict[str, dict[str, Any]]) -> None:
    """Put the tables before the metrics of a card's only weights, in place of those it had."""
    text = card.read_text("utf-8")
    head, _, tail = text.partition("[weights.metrics]")
    head = head.partition("[weights.maps.")[0]
    lines = []
    for method, told in maps.items():
        name = json.dumps(method) if " " in method else method
        lines += [
            f"[weights.maps.{name}]",
            *(f"{k} = {json.dumps(v)}" for k, v in told.items()),
            "",
        ]
    part = card.with_suffix(".part")
    part.write_text(head + "\n".join(lines) + "\n[weights.metrics]" + tail, encoding="utf-8")
    part.replace(card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("slug")
    parser.add_argument("--faces", type=Path, nargs="+", default=[])
    parser.add_argument("--photos", type=Path, nargs="+", default=[])
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument(
        "--count", type=int, default=50, help="genuine pictures, and as many attacks"
    )
    parser.add_argument("--grid", type=int, help="blocks a side")
    parser.add_argument("--card", action="store_true", help="write into the method's card")
    args = parser.parse_args()
    shown = Shown.of(args.slug, args.grid)
    given = photographs(args.photos, args.split, args.count) if args.photos else []
    given = given or faces(args.faces, args.split, args.count)
    both = [*pairs(shown, given)]
    tests = shown.tested([crop for two in both for crop in two])
    flags = {m: dict(zip(it.removals, it.violated.T, strict=True)) for m, it in tests.items()}
    rows = [
        measured(
            method,
            flags[method],
            flags[LOT],
            *(float(x.mean()) for x in (it.still, it.comprehensive, it.sufficient)),
        )
        for method, it in tests.items()
    ]
    data = f"{len(both)} genuine pictures of the {args.split} split and as many attacks (synthetic)"
    where = data, 2 * len(both), shown.grid, tuple(sorted(rows, key=lambda row: row.violation)), ()
    found = Faithfulness(args.slug, shown.claim, *where)
    back = restored(shown, both)
    print(f"{args.slug}: {data}, {shown.grid} blocks a side")
    print(" | ".join((*columns(found), "better than by lot", "restored", "nats")))
    for row in found.rows:
        print(
            " | ".join(
                (*cells(found, row), str(row.better), *(f"{v:.2f}" for v in back[row.method]))
            )
        )
        print("    " + ", ".join(f"{how} {share:.2f}" for how, share in row.by_removal.items()))
    if args.card:
        package = Path(catalog.__file__).parent
        (card,) = package.glob(f"*/{args.slug}.toml")
        write(card, card_maps(found))
        print(card.name)


if __name__ == "__main__":
    main()
