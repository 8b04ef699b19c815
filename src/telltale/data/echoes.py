"""The echo that goes with a picture of a manifest: its column ``sound``, through the front end.

path,label,source,sound
a/001.png,0,anna,a/001.wav      a recording of the probe, 44.1 kHz (telltale.media.sound)
b/001.png,1,bert,b/clips_1.npy  a spectrogram as M3FAS's data have it: (33, 61, 2) or (2, 33, 61)
c/001.png,1,carl,               none: all of its echo is NaN, and the picture speaks alone
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telltale.media.sound import echo_spectrogram, read_wav

SHAPE = (2, 33, 61)


def read_echo(path: Path | None) -> NDArray[np.float32]:
    """An echo's spectrogram (2, 33, 61), real and imaginary part; NaN where there is no sound.

    Args:
        path: ``.wav`` or ``.npy``.

    Raises:
        ValueError: That names the file and what is wrong with it.
    """
    if path is None:
        return np.full(SHAPE, np.nan, np.float32)
    if path.suffix.lower() == ".npy":
        return _stored(path)
    samples, rate = read_wav(path)
    try:
        return echo_spectrogram(samples, rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _stored(path: Path) -> NDArray[np.float32]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array ({error})") from None
    if found.shape == (*SHAPE[1:], SHAPE[0]):
        found = found.transpose(2, 0, 1)
    if found.shape != SHAPE or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise ValueError(
            f"{path}: want finite numbers (33, 61, 2) or {SHAPE}, got {found.dtype} {found.shape}"
        )
    return np.ascontiguousarray(found, np.float32)
