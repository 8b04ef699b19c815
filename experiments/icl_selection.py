"""Which demonstrations help a language model, and what do those have that are chosen by learning?

    python experiments/icl_selection.py --texts DATA/text --encoder MINILM --model SMOLLM2

**Levels**: 2,000 items with three hidden numbers (wording, topic, structure), each seen by one
layer of vectors under noise. The answer depends on one of them, or, in "misled", on the third while
the first two say the same. Eight demonstrations vote, weighted by rank: a model that copies.
**Tasks**: SST-2, TREC and Subj, short texts only. A pool of 300 labelled inputs, 4 demonstrations,
the answer of a real language model (SmolLM2-135M-Instruct; the option with the least loss), the
encoder MiniLM-L6 in place of BERT. TTF and EPR tune its upper three layers; EPR learns from the
model's losses after each of 4 candidates for 32 inputs, once a task, on the first seed's pool.

Two findings are looked at. (1) CKA of each layer of the plain encoder with the learnt retriever's
vectors (``cka_1`` … ``cka_6``): which levels it uses. (2) ``same_label``: how alike the outputs
are, the share of demonstrations with the query's label, on 100 queries. ``accuracy`` is the model's
on 16 queries a task and seed.

Found (3 seeds): accuracy over the three tasks, 144 questions, random 49.3, BM25 66.0, dense 68.1,
MLSM 79.2, TTF 88.9, EPR 77.1. Demonstrations with the query's label: 38, 59, 64, 68, 88 and 73 %,
and 86 % for MLSM on TTF's layers. Levels, mean of three tasks: one level alone 52 to 54, equal
mixture 86, MLSM 77, TTF 94, TTF in MLSM 77; misled: mixture 57, MLSM 46, TTF 96.

Writes results/icl_selection.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, over_seeds

from telltale.demonstrations import LayerBank
from telltale.fit import adam, fit
from telltale.language.icl_selection import MLSM, TTF
from telltale.language.levels import cka_map
from telltale.language.prompts import TEMPLATES, build, option_losses
from telltale.language.retrievers import BM25, EPR, Random, TopK, helpful, ranked, unit

POOL, PROBES, ASKED, SHOWN = 300, 100, 16, 4
CASES, CANDIDATES, EACH = 32, 4, 1  # of EPR's training: inputs, their candidates, best and worst
EPOCHS, BATCH, RATE = 3, 16, 2e-4
TASKS = {"sst2": 14, "trec": 14, "subj": 18}  # longest text in words
Texts = tuple[list[str], NDArray[np.int64]]


class Task(NamedTuple):
    """Inputs with labels: what to choose from, and what to ask."""

    pool: list[str]
    labels: NDArray[np.int64]
    asked: list[str]
    truth: NDArray[np.int64]


def read(folder: Path, name: str) -> tuple[Texts, Texts]:
    """Training and test part of a task, short texts only."""

    def rows(file: str, separator: str, first: bool) -> list[tuple[str, int]]:
        lines = (folder / file).read_text("utf-8", errors="replace").splitlines()
        cut = [line.split(separator, 1) if first else line.rsplit(separator, 1) for line in lines]
        pairs = [(c[::-1] if first else c) for c in cut if len(c) == 2 and c[not first].isdigit()]
        if first:
            pairs = [(text, label) for text, label in pairs]
        return [(t.strip(), int(n)) for t, n in pairs if 3 <= len(t.split()) <= TASKS[name]]

    if name == "sst2":
        parts = rows("sst2_train_10k.tsv", "\t", False), rows("sst2_dev.tsv", "\t", False)
    elif name == "trec":
        parts = rows("trec_train.txt", " ", True), rows("trec_test.txt", " ", True)
    else:
        both = rows("subj.txt", " ", True)
        order = np.random.default_rng(0).permutation(len(both))
        half = len(both) // 2
        parts = [both[k] for k in order[:half]], [both[k] for k in order[half:]]
    one, two = (([t for t, _ in part], np.array([n for _, n in part])) for part in parts)
    return one, two


def drawn(folder: Path, name: str, seed: int) -> Task:
    (texts, labels), (others, truth) = read(folder, name)
    rng = np.random.default_rng([seed, 7])
    rows, asked = rng.permutation(len(texts))[:POOL], rng.permutation(len(others))[:PROBES]
    return Task([texts[k] for k in rows], labels[rows], [others[k] for k in asked], truth[asked])


def tuned(network: nn.Module, batches: Callable[[], Any]) -> None:
    """Train a TTF or EPR, but for the embeddings and the encoder's lower half."""
    model: Any = network.get_submodule("encoder.model")
    model.embeddings.requires_grad_(False)
    for layer in model.encoder.layer[:3]:
        layer.requires_grad_(False)
    rates = {"head.weight": 5e-4} if isinstance(network, TTF) else {}
    optimizer = adam(network, lr=RATE, lrs=rates, weight_decay=1e-4, decoupled=True)
    for _ in range(EPOCHS):
        for _ in fit(network, batches(), optimizer):
            pass
    network.eval()


def ttf(bank: LayerBank, task: Task) -> None:
    network = TTF(bank.encoder, classes=int(task.labels.max()) + 1)
    labels = torch.from_numpy(task.labels)
    tuned(
        network,
        lambda: (
            {"tokens": bank.tokens([task.pool[k] for k in rows]), "labels": labels[rows]}
            for rows in torch.randperm(POOL).split(BATCH)
        ),
    )


class Reader:
    """The language model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text)["input_ids"]
        return found

    def losses(self, name: str, prompts: list[str]) -> NDArray[np.float64]:
        """Of each option, after each prompt."""
        options = [self.ids(f" {word}") for word in TEMPLATES[name].options]
        order = sorted(range(len(prompts)), key=lambda k: len(prompts[k]))
        found = np.empty((len(prompts), len(options)))
        for start in range(0, len(order), 8):
            part = order[start : start + 8]
            rows = [self.ids(prompts[k]) for k in part]
            found[part] = option_losses(self.model, rows, options).numpy()
        return found

    def prompt(self, name: str, task: Task, query: str, rows: list[int]) -> str:
        template = TEMPLATES[name]
        shown = [(task.pool[k], template.options[task.labels[k]]) for k in rows]
        return build(
            template, query, shown, length=lambda text: len(self.ids(text)), budget=1600
        ).text


def epr(bank: LayerBank, reader: Reader, name: str, task: Task) -> None:
    """Tune the encoder on what helped: candidates have words in common with the answered input."""
    inputs = task.pool[:CASES]
    written = [f"{t} {n}" for t, n in zip(task.pool, task.labels, strict=True)]
    near = BM25().fit(written).select(written[:CASES], CANDIDATES, np.arange(CASES))
    prompts = [reader.prompt(name, task, inputs[k], [row]) for k in range(CASES) for row in near[k]]
    told = reader.losses(name, prompts)
    right = told[np.arange(len(told)), np.repeat(task.labels[:CASES], CANDIDATES)]
    best, worst = helpful(right.reshape(CASES, CANDIDATES), EACH)
    rng = np.random.default_rng(0)

    def batches() -> Iterator[dict[str, Tensor]]:
        for rows in np.array_split(rng.permutation(CASES), CASES // 8):
            at = rng.integers(EACH, size=len(rows))
            good, bad = near[rows, best[rows, at]], near[rows, worst[rows, at]]
            yield {
                "tokens": bank.tokens([inputs[k] for k in rows]),
                "positives": bank.tokens([task.pool[k] for k in good]),
                "negatives": bank.tokens([task.pool[k] for k in bad]),
            }

    tuned(EPR(bank.encoder), lambda: (b for _ in range(4) for b in batches()))


def on_task(
    name: str, seed: int, texts: Path, encoder: str, reader: Reader, kept: dict[str, Any]
) -> dict[str, Figures]:
    task = drawn(texts, name, seed)
    torch.manual_seed(seed)
    plain, tuned_bank = LayerBank(encoder), LayerBank(encoder)
    ttf(tuned_bank, task)
    if name not in kept:
        kept[name] = LayerBank(encoder)
        epr(kept[name], reader, name, drawn(texts, name, 0))
    banks = {"plain": plain, "ttf": tuned_bank, "epr": kept[name]}
    pool = {k: bank.encode(task.pool) for k, bank in banks.items()}
    asked = {k: bank.encode(task.asked) for k, bank in banks.items()}
    rows = {
        "random": Random(seed=seed).fit(task.pool).select(task.asked, SHOWN),
        "BM25": BM25().fit(task.pool).select(task.asked, SHOWN),
        "dense": TopK().fit(pool["plain"]).select(asked["plain"], SHOWN),
        "MLSM": MLSM(train=200, seed=seed).fit(pool["plain"]).select(asked["plain"], SHOWN),
        "TTF": TopK().fit(pool["ttf"]).select(asked["ttf"], SHOWN),
        "EPR": TopK().fit(pool["epr"]).select(asked["epr"], SHOWN),
        "TTF in MLSM": MLSM(train=200, seed=seed).fit(pool["ttf"]).select(asked["ttf"], SHOWN),
    }
    table: dict[str, Figures] = {}
    for way, chosen in rows.items():
        same = task.labels[chosen] == task.truth[:, None]
        table[way] = {"same_label": 100 * float(same.mean())}
        if way == "TTF in MLSM":
            continue
        prompts = [
            reader.prompt(name, task, task.asked[k], chosen[k].tolist()) for k in range(ASKED)
        ]
        answers = reader.losses(name, prompts).argmin(1)
        table[way]["accuracy"] = 100 * float((answers == task.truth[:ASKED]).mean())
    for way, source in (("TTF", "ttf"), ("EPR", "epr")):
        alike = cka_map(pool["plain"], pool[source][:, -1:])[:, 0]
        table[way] |= {f"cka_{k}": float(v) for k, v in enumerate(alike, 1)}
    return table


def levels(seed: int) -> dict[str, Figures]:
    """Share of right votes on 200 queries for answers that depend on one level."""
    found: dict[str, Figures] = {}
    for number, name in enumerate(("wording", "topic", "structure", "misled")):
        rng = np.random.default_rng([seed, number])
        hidden = rng.integers(0, 40, (2200, 3))
        if name == "misled":
            hidden[:, 1] = hidden[:, 0]
        codes = rng.normal(size=(3, 40, 32))
        vectors = np.stack([codes[k][hidden[:, k]] for k in range(3)], 1)
        vectors = (vectors + 0.7 * rng.normal(size=vectors.shape)).astype(np.float32)
        answers = rng.integers(0, 4, 40)[hidden[:, min(number, 2)]]
        pool, asked = vectors[:2000], vectors[2000:]
        learnt = hidden_layer(pool, answers[:2000], seed)
        features = [learnt(part)[:, None] for part in (pool, asked)]
        mixed = [
            np.concatenate([part, f], 1) for part, f in zip((pool, asked), features, strict=True)
        ]
        alike = np.einsum("qlc,nlc->qn", unit(asked), unit(pool))
        rows = {
            "random": Random(seed=seed).fit(pool).select(asked, 8),
            **{f"level {k + 1}": TopK(layer=k).fit(pool).select(asked, 8) for k in range(3)},
            "equal mixture": ranked(alike, 8),
            "MLSM": MLSM(seed=seed).fit(pool).select(asked, 8),
            "TTF": TopK().fit(features[0]).select(features[1], 8),
            "TTF in MLSM": MLSM(seed=seed).fit(mixed[0]).select(mixed[1], 8),
        }
        for way, chosen in rows.items():
            votes = np.zeros((len(asked), 4))
            for place in range(8):  # the last is the most similar
                votes[np.arange(len(asked)), answers[chosen[:, place]]] += 1 + 0.1 * place
            right = 100 * float((votes.argmax(1) == answers[2000:]).mean())
            found.setdefault(f"levels: {way}", {})[name] = right
    return found


def hidden_layer(
    pool: NDArray[np.float32], answers: NDArray[np.int64], seed: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What two layers that learnt the pool's answers see."""
    torch.manual_seed(seed)
    below = nn.Sequential(nn.Flatten(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 32))
    head = nn.Linear(32, 4, bias=False)
    optimizer = torch.optim.Adam([*below.parameters(), *head.parameters()], 3e-3)
    x, y = torch.from_numpy(pool), torch.from_numpy(answers)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(head(below(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def see(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            made: Tensor = below(torch.from_numpy(vectors))
        return made.numpy()

    return see


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder of the tasks' files")
    parser.add_argument("--encoder", required=True, help="folder of MiniLM for transformers")
    parser.add_argument("--model", type=Path, required=True, help="folder of SmolLM2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "icl_selection.json")
    args = parser.parse_args()
    reader, kept = Reader(args.model), {}

    def one_seed(seed: int) -> dict[str, Figures]:
        rows = levels(seed)
        for name in TASKS:
            made = on_task(name, seed, args.texts, args.encoder, reader, kept)
            for way, figures in made.items():
                rows[f"{name}: {way}"] = figures
        return rows

    settings = {
        "tasks": TASKS, "pool": POOL, "asked": ASKED, "probes": PROBES, "shown": SHOWN,
        "epochs": EPOCHS, "rate": RATE,
    }  # fmt: skip
    result = over_seeds(args.out, settings, args.seeds, one_seed)
    ways = ("random", "BM25", "dense", "MLSM", "TTF", "EPR", "TTF in MLSM")
    table = result["summary"]
    shown = {
        way.replace(" ", "\n"): {
            f"{name}{end}": table[f"{name}: {way}"][key]
            for name in TASKS
            for key, end in (("accuracy", ""), ("same_label", " "))
            if key in table[f"{name}: {way}"]
        }
        for way in ways
    }
    draw(
        {"summary": shown, "runs": result["runs"]},
        args.out.with_suffix(".png"),
        "Demonstrations for SmolLM2-135M",
        ("accuracy, %", tuple(TASKS)),
        ("demonstrations with the query's label, %", tuple(f"{name} " for name in TASKS)),
    )


if __name__ == "__main__":
    main()
