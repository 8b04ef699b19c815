"""Weights as files: safetensors only, and an error that says what is wrong with one."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

CLASSIFIER = re.compile(r"classifier|fc\b|head\.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Name to tensor of a safetensors file.

    Raises:
        ValueError: If there is no such file, or it is of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path}: no such file; want weights as safetensors")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None


def begin(network: nn.Module, start: Mapping[str, Tensor] | Path) -> None:
    """Put in what was trained before; a path to a file that is not there changes nothing.

    Raises:
        ValueError: If the network has no such weights, or of another shape.
    """
    if isinstance(start, Path):
        if not start.exists():
            return
        start = read_state(start)
    own = network.state_dict()
    if wrong := [k for k, v in start.items() if k not in own or own[k].shape != v.shape]:
        raise ValueError(
            f"the run to start from has weights {wrong[0]}, which this network has not, or of "
            "another shape; give both the same settings but for the stage"
        )
    network.load_state_dict(dict(start), strict=False)


def load_trunk(model: nn.Module, path: Path) -> None:
    """Copy a convolutional trunk's weights; a classifier's are passed over, all else has to fit.

    Raises:
        ValueError: That names the file, if it holds other weights.
    """
    state = {k: v for k, v in read_state(path).items() if not CLASSIFIER.match(k)}
    own = model.state_dict()
    wrong = sorted(
        key
        for key in {*own, *state}
        if not key.endswith("num_batches_tracked")
        and (key not in own or key not in state or own[key].shape != state[key].shape)
    )
    if wrong:
        raise ValueError(f"{path}: not the weights of this network: {', '.join(wrong[:5])}")
    model.load_state_dict(state, strict=False)
