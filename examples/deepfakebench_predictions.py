"""Write DeepfakeBench's pickled predictions as NPZ, for ``telltale evaluate``.

Run it where DeepfakeBench ran, on your own pickles only: opening a pickle runs what is in it.

    python deepfakebench_predictions.py logs/…/test/Celeb-DF-v2 celebdf.npz
    telltale evaluate celebdf.npz --files /data

The folder is one of those that its trainer leaves for each test set: ``metric_dict_best.pickle``
holds the scores and labels, ``data_dict_test.pickle`` the frames' paths in the same order.
"""

import pickle
import sys
from pathlib import Path

import numpy as np


def main(folder: Path, out: Path) -> None:
    figures = pickle.loads((folder / "metric_dict_best.pickle").read_bytes())
    frames = pickle.loads((folder / "data_dict_test.pickle").read_bytes())["image"]
    np.savez(out, pred=figures["pred"], label=figures["label"], image=np.array(frames, np.str_))
    print(f"{out}: {len(frames)} predictions")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
