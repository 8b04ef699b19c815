"""Train, compare and export a convolutional face-forgery detector beside ViT-LoRA-SCL.

    python tools/prepare_faces.py --cache CACHE --lfw DIR ...
    python tools/ship_pyramid_cnn.py train   --cache CACHE
    python tools/ship_pyramid_cnn.py compare --cache CACHE

Pyramid CNN on EfficientNet-Lite0 (Apache-2.0 weights), all of it trained, on the same stream of
faces and forgeries, the same splits and the same kinds never learnt as the detector of
`ship_vit_lora_scl.py`. `compare` shows both the same test faces and tells what each finds, with
intervals by source, and what their difference is.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from carriers import Restorer, efficientnet_lite  # beside this file
from numpy.typing import NDArray
from ship_vit_lora_scl import SEED, UNSEEN, crops_of, evaluation_set, stream, views
from ship_vit_lora_scl import SIZE as SHIPPED
from shipping import answers, learn, logits_of, steps_done

from telltale import metrics
from telltale.data.pairs import SEEN

SIZE = 128  # maps of 8 × 8 and 4 × 4 cells
ROWS = {  # of the comparison: what it is of, and the kinds
    **{kind: [kind] for kind in SEEN},
    "kinds learnt": [*SEEN],
    **{f"{kind} (never trained on)": [kind] for kind in UNSEEN},
    "kinds never trained on": [*UNSEEN],
}


def network(cache: Path, size: int = SIZE) -> Any:
    """The method on its pretrained trunk."""
    import torch

    from telltale.faces.pyramid_cnn import PyramidCNN
    from telltale.nn.convnets import convnet

    trunk = convnet("tf_efficientnet_lite0", efficientnet_lite(cache), size=size)
    return PyramidCNN(trunk).to(memory_format=torch.channels_last)  # half the time on a CPU


def validation(cache: Path, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Real faces of the validation split and a forgery of each kind learnt, and their labels."""
    val = crops_of(cache, "val")
    some = [val[k] for k in np.random.default_rng(1).permutation(len(val))[:200]]
    made = evaluation_set(some, list(SEEN), seed=1)
    rng = np.random.default_rng(2)
    shown = [views(items, None, rng, size) for items in made.values()]
    labels = [np.full(len(items), int(kind != "real")) for kind, items in made.items()]
    return np.concatenate(shown), np.concatenate(labels).astype(np.int64)


def train(cache: Path, run: Path, steps: int, lr: float, pairs: int, pause: int) -> None:
    """Train, or go on where the run stands, for ``pause`` steps at most."""
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    net = network(cache)
    crops, labels = validation(cache, SIZE)
    queue: Any = multiprocessing.Queue(6)
    args = (cache, pairs, steps_done(run), queue, ("images", "labels", "masks"), SIZE)
    feeder = multiprocessing.Process(target=stream, args=args, daemon=True)
    feeder.start()
    fed = ({k: torch.from_numpy(v) for k, v in b.items()} for b in iter(queue.get, None))
    learn(
        net,
        fed,
        run,
        steps=steps,
        lr=lr,
        pause=pause,
        validate=lambda it: float(metrics.auc(logits_of(it, crops), labels)),
    )
    feeder.terminate()


def compare(cache: Path, run: Path, people: int) -> None:
    """Show both detectors the same test faces; writes ``compare.json`` and prints a table."""
    from telltale import fit
    from telltale.engine import session, weights_folder

    net = network(cache)
    fit.restore(net, run / "weights.safetensors")
    net.eval()
    shipped = session(weights_folder() / "vit_lora_scl.onnx")
    asked: dict[str, Callable[[Sequence[Any], int | None], NDArray[np.float64]]] = {
        "pyramid_cnn": lambda items, quality: logits_of(net, seen(items, quality, SIZE)),
        "vit_lora_scl": lambda items, quality: answers(shipped, seen(items, quality, SHIPPED)),
    }
    val = crops_of(cache, "val")
    some = [val[k] for k in np.random.default_rng(1).permutation(len(val))[:people]]
    genuine = [(crop.pixels, None, crop) for crop in some]
    # "Called forged" is what scores above 99 % of the validation's real faces.
    bars = {name: float(np.quantile(ask(genuine, None), 0.99)) for name, ask in asked.items()}
    test = crops_of(cache, "test")
    groups = {
        "held-out people": [c for c in test if c.source.startswith("lfw:")][:people],
        "held-out sources": [c for c in test if not c.source.startswith("lfw:")],
    }
    enhance, found = Restorer(), {}
    for group, crops in groups.items():
        made = evaluation_set(crops, [*SEEN, "swap_poisson"], seed=5)
        made["enhance"] = [(*enhance(crop), crop) for crop in crops[:: max(1, len(crops) // 30)]]
        sources = {kind: [item[2].source for item in items] for kind, items in made.items()}
        for quality in (95, 75, 50):
            logits = {
                name: {kind: ask(items, quality) for kind, items in made.items()}
                for name, ask in asked.items()
            }
            for row, kinds in ROWS.items():
                found[f"{group}, JPEG {quality}, {row}"] = against(logits, sources, kinds)
            found[f"{group}, JPEG {quality}, real faces called forged"] = {
                name: round(float((logits[name]["real"] >= bars[name]).mean()), 4) for name in asked
            }
    (run / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, row in found.items():
        print(f"| {name} | " + " | ".join(str(value) for value in row.values()) + " |")


def seen(items: Sequence[Any], quality: int | None, size: int) -> NDArray[np.uint8]:
    """What a detector of this size is shown."""
    return views(items, quality, np.random.default_rng(0), size)


def against(
    logits: Mapping[str, Mapping[str, NDArray[np.float64]]],
    sources: Mapping[str, list[str]],
    kinds: Sequence[str],
) -> dict[str, list[float]]:
    """AUC of each detector and of the first over the second, with 95 % intervals by source."""
    parts = ["real", *kinds]
    scores = [np.concatenate([of[kind] for kind in parts]) for of in logits.values()]
    people = np.array([name for kind in parts for name in sources[kind]])
    labels = np.repeat([0, 1], [len(sources["real"]), len(people) - len(sources["real"])])
    places = np.arange(len(people), dtype=np.float64)  # so that both draw the same sources

    def auc(number: int) -> Callable[[Any, Any], float]:
        return lambda drawn, y: float(metrics.auc(scores[number][drawn.astype(int)], y))

    first, second = auc(0), auc(1)
    measures = {
        **dict(zip(logits, (first, second), strict=True)),
        "difference": lambda drawn, y: first(drawn, y) - second(drawn, y),
    }
    return {
        name: [round(float(v), 4) for v in metrics.bootstrap(f, places, labels, people, seed=0)]
        for name, f in measures.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["train", "compare"])
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-pyramid_cnn"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--pause", type=int, default=10**9, help="stop after so many; go on later")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--people", type=int, default=300, help="held-out people to compare on")
    args = parser.parse_args()
    if args.step == "compare":
        compare(args.cache, args.run, args.people)
        return
    train(args.cache, args.run, args.steps, args.lr, args.pairs, args.pause)


if __name__ == "__main__":
    main()
