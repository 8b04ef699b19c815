"""Faces that were cut already, those of a video in one HDF5 file, as the tools of Idiap write them.

    /Frame_0/array   uint8 (3, S, S) red, green, blue
    /Frame_1/array   …

Other channels (grey, depth, infra-red, thermal) lie in files of four, which are not read here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from telltale.media import MediaError

if TYPE_CHECKING:
    import h5py


def count_stack(path: Path) -> int:
    """How many frames a file holds.

    Raises:
        MediaError: That names the file, if it is no HDF5 file.
        ValueError: If h5py is not installed.
    """
    with _opened(path) as file:
        return len(_names(file))


def read_stack(path: Path, number: int) -> NDArray[np.uint8]:
    """The ``number``-th frame (S, S, 3), RGB, in the order of the frames' numbers.

    Raises:
        MediaError: That names the file and what is wrong with it.
        ValueError: If h5py is not installed.
    """
    with _opened(path) as file:
        name = _names(file)[number]
        try:
            found = np.asarray(file[name]["array"])
        except (KeyError, OSError, ValueError) as error:
            raise MediaError(f"{path}: {name} has no readable array ({error})") from None
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[0] != 3:
        raise MediaError(
            f"{path}: want colour faces (3, S, S) of uint8 in {name}, got {found.dtype} "
            f"{found.shape}"
        )
    return np.ascontiguousarray(found.transpose(1, 2, 0))


def _opened(path: Path) -> "h5py.File":
    try:
        import h5py
    except ModuleNotFoundError:
        raise ValueError(
            f"{path}: HDF5 files want h5py: pip install 'telltale-vision[hdf5]'"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise MediaError(f"{path}: cannot be read as HDF5 ({error})") from None


def _names(file: Iterable[str]) -> list[str]:
    """Frames in the order of their numbers, 10 after 9."""
    found = [name for name in file if name.partition("_")[2].isdecimal()]
    return sorted(found, key=lambda name: int(name.partition("_")[2]))
