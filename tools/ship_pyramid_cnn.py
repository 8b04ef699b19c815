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
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from carriers import efficientnet_lite  # beside this file
from numpy.typing import NDArray
from ship_vit_lora_scl import SEED, crops_of, evaluation_set, stream, views
from shipping import learn, logits_of, steps_done

from telltale import metrics
from telltale.data.pairs import SEEN

SIZE = 128  # maps of 8 × 8 and 4 × 4 cells


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["train"])
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-pyramid_cnn"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--pause", type=int, default=10**9, help="stop after so many; go on later")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pairs", type=int, default=16)
    args = parser.parse_args()
    train(args.cache, args.run, args.steps, args.lr, args.pairs, args.pause)


if __name__ == "__main__":
    main()
