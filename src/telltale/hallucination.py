"""The verb: what models invent, measured from their answers by POPE, MME, CHAIR or AMBER.

    table = judge("pope", {"greedy": Path("greedy.jsonl")}, truth=[Path("pope.json")])

A row for each file of answers, figures in percent but MME's points and lengths. With POPE, rows
may be compared with the first: the same questions on photographs and on their stylised versions.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from telltale.metrics import amber, objects
from telltale.metrics.hallucination import mme_points, pope_rates, read_pope, says_yes, style_gap

BENCHMARKS = ("pope", "mme", "chair", "amber")
Table = dict[str, dict[str, float]]  # name of the row to its figures
UNITS = ("length", "points")  # not in percent
ENDS = (".md", ".json", ".png")


def judge(
    benchmark: str,
    answers: Mapping[str, Path],
    truth: Sequence[Path] = (),
    *,
    captions: Sequence[Path] = (),
    relations: Path | None = None,
    safe: Path | None = None,
    gap: bool = False,
) -> Table:
    """Figures of each file of answers.

    Args:
        benchmark: "pope", "mme", "chair" or "amber".
        answers: Name to file. POPE: JSON lines of question_id and answer; MME: a task's result
            file; CHAIR: image_id and caption of each; AMBER: id and response of each.
        truth: POPE: its question file; CHAIR: COCO's instances files; AMBER: its annotations.
        captions: CHAIR: COCO's caption files.
        relations: AMBER's table of associations, for its descriptions.
        safe: AMBER's words that never count as invented.
        gap: POPE: compare each row with the first, question by question.

    Raises:
        ValueError: If a file is not such, an answer is missing, or the truth is.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(f"no benchmark {benchmark!r}; there is {', '.join(BENCHMARKS)}")
    if not answers:
        raise ValueError("want one file of answers or more, got none")
    if gap and (benchmark != "pope" or len(answers) < 2):
        raise ValueError("a gap wants POPE's answers on photographs, then on something else")
    if benchmark == "mme":
        return {name: {"points": mme_points(path)} for name, path in answers.items()}
    if not truth or (benchmark != "chair" and len(truth) > 1):
        raise ValueError(f"{benchmark} wants its file of what is true, got {len(truth)}")
    if benchmark == "pope":
        return _pope(answers, truth[0], gap)
    if benchmark == "chair":
        return _chair(answers, truth, captions)
    return _amber(answers, truth[0], relations, safe)


def markdown(table: Table) -> str:
    """The table as Markdown, a decimal each."""
    heads = list(dict.fromkeys(key for row in table.values() for key in row))
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in table.items():
        cells = ["" if key not in row else _cell(key, row[key]) for key in heads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(table: Table, path: Path, title: str) -> None:
    """Write the table as .md or .json, or as bars, .png.

    Raises:
        ValueError: If the name ends otherwise, or matplotlib is not installed.
    """
    part = path.with_name(path.name + ".part")
    if path.suffix == ".md":
        part.write_text(f"# {title}\n\n{markdown(table)}\n", "utf-8")
    elif path.suffix == ".json":
        part.write_text(json.dumps({"title": title, "rows": table}, indent=1) + "\n", "utf-8")
    elif path.suffix == ".png":
        _bars(table, part, title)
    else:
        raise ValueError(f"{path}: want a name that ends in {', '.join(ENDS)}")
    part.replace(path)


def _pope(answers: Mapping[str, Path], truth: Path, gap: bool) -> Table:
    questions = read_pope(truth)
    labels = [item["label"] for item in questions]
    table: Table = {}
    first: list[bool] = []
    for name, path in answers.items():
        found = _answers(path)
        missing = [q["question_id"] for q in questions if q["question_id"] not in found]
        if missing:
            raise ValueError(f"{path}: no answer to question {missing[0]} of {truth}")
        said = [found[item["question_id"]] for item in questions]
        table[name] = _percent(pope_rates(said, labels))
        right = [says_yes(a) == (b == "yes") for a, b in zip(said, labels, strict=True)]
        if gap and first:
            cost = style_gap(first, right)
            table[name] |= _percent({key: cost[key] for key in ("gap", "low", "high")})
            table[name]["p"] = cost["p"]
        first = first or right
    return table


def _chair(answers: Mapping[str, Path], truth: Sequence[Path], captions: Sequence[Path]) -> Table:
    words = objects.word_table(objects.COCO_WORDS)
    there = objects.read_coco(truth, captions, words)
    table: Table = {}
    for name, path in answers.items():
        said = objects.read_captions(path)
        if unknown := [number for number in said if number not in there]:
            raise ValueError(f"{path}: nothing is known of picture {unknown[0]}")
        table[name] = _percent(
            objects.chair([*said.values()], [there[number] for number in said], words)
        )
    return table


def _amber(
    answers: Mapping[str, Path], truth: Path, relations: Path | None, safe: Path | None
) -> Table:
    known = amber.read_truth(truth)
    table: Table = {}
    for name, path in answers.items():
        said = amber.read_answers(path)
        kinds = {known[number].kind == "generative" for number in said if number in known}
        row: dict[str, float] = {}
        if True in kinds:
            if relations is None:
                raise ValueError(f"{path}: descriptions want AMBER's relation.json")
            words = amber.read_safe(safe) if safe else set()
            row |= amber.generative(said, known, amber.read_relations(relations), words)
        if False in kinds:
            row |= amber.discriminative(said, known)["all"]
        if not kinds:
            raise ValueError(f"{path}: no answer to an item of {truth}")
        if len(kinds) == 2:
            row["amber"] = amber.amber_score(row["chair"], row["f1"])
        table[name] = _percent(row)
    return table


def _answers(path: Path) -> dict[str, str]:
    """question_id to what was answered, under any of the names that the field uses."""
    found = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            key = next(name for name in ("answer", "text", "response") if name in item)
            found[str(item["question_id"])] = str(item[key])
        except (ValueError, KeyError, TypeError, StopIteration):
            raise ValueError(f"{path}, line {number}: want question_id and answer") from None
    return found


def _percent(row: Mapping[str, float]) -> dict[str, float]:
    return {key: value if key in UNITS else 100 * value for key, value in row.items()}


def _cell(key: str, value: float) -> str:
    return f"{value:.3f}" if key == "p" else f"{value:.1f}"


def _bars(table: Table, path: Path, title: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ValueError(
            "a picture of the table needs matplotlib: pip install matplotlib"
        ) from None
    hidden = (*UNITS, "p", "low", "high")
    heads = list(dict.fromkeys(k for row in table.values() for k in row if k not in hidden))
    heads = heads or list(next(iter(table.values())))
    figure = Figure(figsize=(max(5.0, 1.3 * len(heads)), 3.6), layout="constrained")
    axes: Any = figure.add_subplot()
    width = 0.8 / len(table)
    for number, (name, row) in enumerate(table.items()):
        shift = (number - (len(table) - 1) / 2) * width
        spots = [k + shift for k in range(len(heads))]
        axes.bar(spots, [row.get(key, 0.0) for key in heads], 0.95 * width, label=name)
    axes.set_xticks(range(len(heads)), heads, fontsize=8)
    axes.set_ylabel("points" if heads == ["points"] else "%")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, format="png")
