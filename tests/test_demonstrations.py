"""Demonstrations from Python and the command line, with a miniature encoder of words."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from telltale.demonstrations import Demonstrations, LayerBank, Pair, read_pool

Run = Callable[..., tuple[int, str, str]]
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
GOOD = "great fine lovely warm bright"
BAD = "poor dull cold awful weak"
OTHER = "the film a story was its cast and end scene plot"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder")
    vocabulary = {
        word: k for k, word in enumerate(["<pad>", "<unk>", *f"{GOOD} {BAD} {OTHER}".split()])
    }
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    core = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(path)
    return path


def texts(count: int, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    labels = ["good" if k % 2 else "bad" for k in range(count)]
    made = [
        " ".join([*rng.choice(OTHER.split(), 4), rng.choice((GOOD if k % 2 else BAD).split())])
        for k in range(count)
    ]
    return made, labels


@pytest.mark.parametrize("kind", ["mlsm", "dense", "bm25", "random", "ttf"])
def test_every_kind_chooses_the_same_each_time(kind: str, folder: Path) -> None:
    pool, labels = texts(60, 1)
    queries = texts(5, 2)[0]
    found = [
        Demonstrations(kind, str(folder), seed=3, epochs=1).fit(pool, labels).select(queries, 4)
        for _ in range(2)
    ]
    assert found[0].shape == (5, 4)
    assert np.array_equal(*found)
    own = Demonstrations(kind, str(folder), epochs=0).fit(pool, labels)
    rows = own.select(pool[:6], 5, range(6))
    assert not (rows == np.arange(6)[:, None]).any()


def test_ttf_learns_the_pools_labels_and_never_those_of_queries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telltale.demonstrations.RATE", 5e-3)
    pool, labels = texts(200, 4)
    queries, truth = texts(60, 5)

    def same(epochs: int) -> float:
        chosen = Demonstrations("ttf", str(folder), epochs=epochs).fit(pool, labels)
        rows = chosen.select(queries, 5)
        return float((np.array(labels)[rows] == np.array(truth)[:, None]).mean())

    assert same(0) < 0.75
    assert same(10) > 0.9


def test_the_bank_keeps_the_order_of_texts(folder: Path) -> None:
    bank = LayerBank(str(folder))
    some = ["the film was great", "dull", "a story and its cast was fine the end", "cold plot"]
    found = bank.encode(some)
    assert found.shape == (4, 4, 32)
    for text, vectors in zip(some, found, strict=True):
        np.testing.assert_allclose(bank.encode([text])[0], vectors, atol=1e-5)


def test_it_says_what_it_wants(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no kind 'mlms', did you mean 'mlsm'"):
        Demonstrations("mlms", str(folder))
    with pytest.raises(ValueError, match="mlsm wants a text encoder"):
        Demonstrations("mlsm")
    with pytest.raises(ValueError, match="ttf wants a label for each input"):
        Demonstrations("ttf", str(folder)).fit(["a", "b"], ["x", "x"])
    with pytest.raises(ValueError, match="no text encoder can be loaded"):
        Demonstrations("dense", str(tmp_path))
    with pytest.raises(ValueError, match="want a pool"):
        Demonstrations("bm25").fit([])


def test_pools(tmp_path: Path) -> None:
    path = tmp_path / "pool.tsv"
    path.write_text('input\toutput\nhe said "no\tbad\na, b\tgood\n')
    assert read_pool(path) == [Pair('he said "no', "bad"), Pair("a, b", "good")]
    path.write_text('input,output\n"a, b",good\n')
    assert read_pool(path) == [Pair("a, b", "good")]
    for text, wanted in {
        "text,label\na,b\n": ":1: want columns input and output",
        "input,output\na\n": ":2: want an input and an output",
        "input,output\n": "has no example",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=wanted):
            read_pool(path)


def test_the_command_line(run: Run, folder: Path, tmp_path: Path) -> None:
    pool, labels = texts(40, 6)
    table, asked = tmp_path / "pool.tsv", tmp_path / "queries.txt"
    rows = [f"{text}\t{label}" for text, label in zip(pool, labels, strict=True)]
    table.write_text("\n".join(["input\toutput", *rows]) + "\n")
    asked.write_text(f"{pool[7]}\n\nthe plot was warm\n")
    words = ("demonstrations", table, asked, "--count", 3)
    code, out, _ = run(*words, "--model", folder, "--json")
    assert code == 0
    first, second = (json.loads(line) for line in out.splitlines())
    assert 7 not in first["rows"]
    assert second["prompt"].splitlines()[-1] == "the plot was warm\t"
    assert len(second["prompt"].splitlines()) == 4
    last = second["rows"][-1]
    assert second["prompt"].splitlines()[2] == f"{pool[last]}\t{labels[last]}"
    code, out, _ = run(*words, "--method", "bm25", "--template", "{input} It is {output}")
    assert code == 0
    assert "the plot was warm It is\n" in out
    for wrong, said in (
        (("--method", "bm25", "--template", "{input}"), "want a template with {input}"),
        (("--method", "mlsm"), "wants a text encoder"),
        (("--method", "bm52"), "did you mean 'bm25'"),
    ):
        code, _, err = run(*words, *wrong)
        assert code == 2
        assert said in err
