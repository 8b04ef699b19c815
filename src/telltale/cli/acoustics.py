"""``telltale m3fas-signal``: the sound that a phone plays to hear a face."""

from pathlib import Path
from typing import Annotated

import typer


def m3fas_signal(
    out: Annotated[Path, typer.Argument(help="WAV file to write.", metavar="OUT.wav")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
) -> None:
    """Write the probe of M3FAS: a pilot tone and nine inaudible chirps, 0.81 s at 44.1 kHz.

    Play it from the earpiece and record with the microphone beside it, without noise suppression.
    """
    from telltale.media.sound import RATE, probe, write_wav

    if out.suffix.lower() != ".wav":
        raise ValueError(f"{out}: want a name that ends in .wav")
    if out.exists() and not force:
        raise ValueError(f"{out}: is there already; --force writes over it")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist; make it first")
    sound = probe()
    write_wav(out, sound)
    typer.echo(f"{out}: {len(sound) / RATE:.2f} s at {RATE} samples a second")
