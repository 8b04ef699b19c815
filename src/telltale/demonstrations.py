"""The verb: which examples to put before a question to a language model.

chosen = Demonstrations("mlsm", "google-bert/bert-base-uncased").fit(inputs)
rows = chosen.select(["is it worth seeing?"], 8)      # of the pool, the most similar last
Demonstrations("ttf", folder).fit(inputs, labels)      # learns the task from the pool's labels
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from telltale.language.icl_selection import TTF

KINDS = ("mlsm", "ttf", "dense", "bm25", "random")
WITHOUT_MODEL = ("bm25", "random")
BATCH, LONGEST = 32, 128  # texts and tokens
HELD_OUT, EPOCHS = 0.1, 10  # of the pool, to stop TTF by; and at most
HEAD_RATE, RATE = 5e-4, 5e-5


class Pair(NamedTuple):
    """An example of the pool."""

    input: str
    output: str


class Demonstrations:
    """Chooses examples out of a pool; the same for the same pool and seed.

    Args:
        kind: One of :data:`KINDS`.
        model: A text encoder for transformers, a folder or a name of the hub; "bm25" and "random"
            need none.
        seed: Of draws and of training.
        epochs: Of TTF's training, at most; 0 leaves the encoder as it is.

    Raises:
        ValueError: If the kind is not known or lacks a model.
    """

    def __init__(
        self, kind: str = "mlsm", model: str | None = None, *, seed: int = 0, epochs: int = EPOCHS
    ) -> None:
        from telltale.catalog import nearest

        if kind not in KINDS:
            raise ValueError(f"no kind {kind!r}{nearest(kind, KINDS)}; there is {', '.join(KINDS)}")
        if model is None and kind not in WITHOUT_MODEL:
            raise ValueError(f"{kind} wants a text encoder: a folder, or a name of the hub")
        self.kind, self.seed, self.epochs = kind, seed, epochs
        self.bank = LayerBank(model) if model is not None and kind not in WITHOUT_MODEL else None

    def fit(self, inputs: Sequence[str], outputs: Sequence[str] | None = None) -> Self:
        """Take a pool in.

        Args:
            inputs: What is compared with a query.
            outputs: Their labels, for "ttf"; all others look at inputs alone.

        Raises:
            ValueError: If the pool is empty, or "ttf" has not a label each, of two kinds or more.
        """
        from telltale.language.icl_selection import MLSM
        from telltale.language.retrievers import BM25, Random, TopK

        if not len(inputs):
            raise ValueError("want a pool of one input or more, got none")
        if self.kind == "ttf":
            self._tune(inputs, outputs)
        pool = self._seen(inputs)
        made: dict[str, Callable[[], Any]] = {
            "mlsm": lambda: MLSM(layers=min(3, pool.shape[1]), seed=self.seed),
            "ttf": TopK,
            "dense": TopK,
            "bm25": BM25,
            "random": lambda: Random(seed=self.seed),
        }
        self.chooser_ = made[self.kind]().fit(pool)
        return self

    def select(
        self, queries: Sequence[str], count: int = 8, own: Sequence[int] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the pool, (q, count), the most similar last.

        Args:
            queries: Inputs to find demonstrations for.
            count: Demonstrations of each.
            own: A query's own row of the pool, -1 where it is none; that one is never chosen.
        """
        mine = None if own is None else np.asarray(own)
        rows: NDArray[np.int64] = self.chooser_.select(self._seen(queries), count, mine)
        return rows

    def _seen(self, texts: Sequence[str]) -> Any:  # noqa: ANN401
        return [*texts] if self.bank is None else self.bank.encode(texts)

    def _tune(self, inputs: Sequence[str], outputs: Sequence[str] | None) -> None:
        """Fine-tune the encoder on the pool's labels; what did best on the held-out tenth stays."""
        import torch

        from telltale.fit import adam, fit, trained
        from telltale.language.icl_selection import TTF

        if outputs is None or len(outputs) != len(inputs) or len(set(outputs)) < 2:
            raise ValueError("ttf wants a label for each input, of two kinds or more")
        if self.bank is None or not self.epochs:
            return
        known = sorted(set(outputs))
        labels = torch.tensor([known.index(output) for output in outputs])
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = TTF(self.bank.encoder, classes=len(known))
            order = torch.randperm(len(labels))
            held = max(1, round(HELD_OUT * len(labels)))
            judge, learn = order[:held], order[held:]
            optimizer = adam(
                network, lr=RATE, lrs={"head.weight": HEAD_RATE}, weight_decay=1e-4, decoupled=True
            )
            best, state = np.inf, trained(network)
            for _ in range(self.epochs):
                batches = (
                    {"tokens": self.bank.tokens([inputs[k] for k in rows]), "labels": labels[rows]}
                    for rows in learn[torch.randperm(len(learn))].split(BATCH)
                )
                for _ in fit(network, batches, optimizer):
                    pass
                loss = self._held_out_loss(network.eval(), inputs, labels, judge)
                if loss >= best:
                    break
                best, state = loss, {k: v.clone() for k, v in trained(network).items()}
            network.load_state_dict(state)
            network.eval()

    def _held_out_loss(
        self, network: "TTF", inputs: Sequence[str], labels: "Tensor", rows: "Tensor"
    ) -> float:
        import torch

        if self.bank is None:
            raise ValueError("want a text encoder")
        with torch.no_grad():
            parts = [
                float(network.loss(self.bank.tokens([inputs[k] for k in part]), labels[part])["ce"])
                * len(part)
                for part in rows.split(BATCH)
            ]
        return sum(parts) / len(rows)


class LayerBank:
    """Texts to the mean vector of each layer of a text encoder.

    Args:
        model: A folder of transformers' files, or a name of the hub.

    Raises:
        ValueError: If it cannot be had.
    """

    def __init__(self, model: str) -> None:
        try:
            from transformers import AutoTokenizer

            from telltale.nn.text import text_encoder
        except ModuleNotFoundError as error:
            raise ValueError(
                f"choosing by meaning needs {error.name}: "
                "pip install 'telltale-vision[train,language]'"
            ) from None
        try:
            self.encoder: nn.Module = text_encoder("bert_base", model).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ValueError(f"{model}: no text encoder can be loaded ({why[:200]})") from None

    def tokens(self, texts: Sequence[str]) -> "Tensor":
        """Token rows (B, N), filled up."""
        found: Tensor = self.tokenizer(
            [*texts], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        )["input_ids"]
        return found

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, L, C), each text's in its place."""
        import torch

        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))  # alike long ones together
        parts = []
        with torch.no_grad():
            for start in range(0, len(order), BATCH):
                part = [texts[k] for k in order[start : start + BATCH]]
                parts.append(self.encoder(self.tokens(part)).numpy())
        found: NDArray[np.float32] = np.concatenate(parts)
        return found[np.argsort(order)]


def read_pool(path: Path) -> list[Pair]:
    """Examples of a table with columns ``input`` and ``output``, separated by commas or tabs.

    Raises:
        ValueError: If the file is not there or not of that form; file and line are named.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    tabs = "\t" in text.partition("\n")[0]
    table = (
        csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        if tabs
        else csv.DictReader(text.splitlines())
    )
    if not {"input", "output"} <= {*(table.fieldnames or ())}:
        raise ValueError(f"{path}:1: want columns input and output, got {table.fieldnames}")
    pairs = []
    for row in table:
        if not row["input"] or row["output"] is None:
            raise ValueError(f"{path}:{table.line_num}: want an input and an output")
        pairs.append(Pair(row["input"], row["output"]))
    if not pairs:
        raise ValueError(f"{path}: has no example")
    return pairs
