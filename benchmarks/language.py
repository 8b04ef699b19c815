"""How long does it take to choose demonstrations, and to find a moment?

    python benchmarks/language.py

Seconds of one core, median of some rounds. Aims: 16 demonstrations out of 10,000 in 50 ms once the
pool is indexed; the moments of one sentence in a video of ten minutes in 1 s once its frames were
seen. Vectors are random numbers of BERT-base's and CLIP ViT-L/14's sizes; the time of the encoders
is not part of it (the sentence's own pass through CLIP's text tower is measured apart).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from telltale.data.moments import pooled
from telltale.language.icl_selection import MLSM
from telltale.language.retrievers import BM25, Random, TopK
from telltale.language.vid_morp import VidMorp
from telltale.searching import by_network, by_windows

POOL, SHOWN, MINUTES, FPS = 10_000, 16, 10, 2
AIM_CHOICE, AIM_MOMENT = 0.05, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    choices(rng, rounds)
    moments(rng, rounds)


def choices(rng: np.random.Generator, rounds: int) -> None:
    """Each way to choose, for one query and for a batch of eight."""
    shared = rng.normal(size=(POOL, 1, 768))
    pool = (shared + rng.normal(size=(POOL, 12, 768))).astype(np.float32)
    asked = (rng.normal(size=(8, 1, 768)) + rng.normal(size=(8, 12, 768))).astype(np.float32)
    known = [f"word{k}" for k in range(3000)]
    texts = [" ".join(rng.choice(known, 20)) for _ in range(POOL)]
    ways: dict[str, tuple[Callable[[int], object], float]] = {}
    for name, chooser, given, queries in (
        ("MLSM", MLSM(), pool, asked),
        ("dense, TTF", TopK(), pool, asked),
        ("BM25", BM25(), texts, texts[:8]),
        ("random", Random(), texts, texts[:8]),
    ):
        began = time.process_time()
        fitted = chooser.fit(given)
        index = time.process_time() - began
        ways[name] = (lambda n, f=fitted, q=queries: f.select(q[:n], SHOWN)), index
    print(f"{SHOWN} of {POOL:,}; aim ≤ {1000 * AIM_CHOICE:.0f} ms a query")
    for name, (way, index) in ways.items():
        one, eight = (median(lambda n=n, w=way: w(n), rounds) for n in (1, 8))
        each = eight / 8
        print(
            f"  {name:10}  one query {1000 * one:6.1f} ms, of a batch of 8 {1000 * each:6.1f} ms "
            f"each; indexing {index:.2f} s{'' if one <= AIM_CHOICE else '  OVER THE AIM'}",
            flush=True,
        )


def moments(rng: np.random.Generator, rounds: int) -> None:
    """Both ways to find moments."""
    count = MINUTES * 60 * FPS
    features = rng.normal(size=(count, 768)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    times, length = np.arange(count) / FPS, MINUTES * 60.0
    sentence = torch.from_numpy(features[300:301])
    network = VidMorp().eval()
    print(f"a video of {MINUTES} minutes, {FPS} frames a second; aim ≤ {AIM_MOMENT:g} s")
    ways: dict[str, Callable[[], object]] = {
        "windows": lambda: by_windows(features, length, sentence),
        "network": lambda: by_network(features, times, length, sentence, network),
        "pooling": lambda: pooled(features, 128),
        "text tower": tower(),
    }
    for name, way in ways.items():
        seconds = median(way, rounds)
        over = "" if seconds <= AIM_MOMENT else "  OVER THE AIM"
        print(f"  {name:10}  {1000 * seconds:6.1f} ms{over}", flush=True)


def tower() -> Callable[[], object]:
    """A sentence through a text tower of CLIP ViT-L/14's size, with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    model = CLIPTextModel(config).eval()
    tokens = torch.randint(1, 1000, (1, 20))

    def run() -> object:
        with torch.no_grad():
            return model(input_ids=tokens)

    return run


def median(way: Callable[[], object], rounds: int) -> float:
    """Seconds of this process."""
    way()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        way()
        found.append(time.process_time() - began)
    return statistics.median(found)


if __name__ == "__main__":
    main()
