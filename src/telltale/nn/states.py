"""Weights as files: safetensors only, and an error that says what is wrong with one."""

from pathlib import Path

from torch import Tensor


def read_state(path: Path) -> dict[str, Tensor]:
    """Name to tensor of a safetensors file.

    Raises:
        ValueError: If there is no such file, or it is of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path}: no such file; want the backbone's weights as safetensors")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
