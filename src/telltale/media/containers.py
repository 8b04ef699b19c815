"""How many bytes a container's outermost elements promise, to know a file that was cut off.

Demuxers read what is there and stop without a word, so a video of which half is missing would
pass for a short one. MPEG streams have no such promise: any piece of them is whole.

Source: ISO/IEC 14496-12 §4.2 (boxes), RFC 8794 §4 and §5 (EBML numbers), RFC 9559 (Matroska);
RIFF: an 8-byte header whose second half is the length of what follows.
"""

import os
from typing import BinaryIO

OUTERMOST = frozenset(
    b"ftyp styp moov moof mdat mfra sidx ssix prft pdin "
    b"emsg meta meco udta uuid free skip wide pnot".split()
)
SEGMENT = b"\x18\x53\x80\x67"  # Matroska's element that holds everything after the header


def promised_size(path: str | os.PathLike[str], name: str, size: int) -> int:
    """Bytes that a file of format ``name`` and ``size`` bytes should have at least; 0 if unsaid."""
    with open(path, "rb") as file:
        if name in ("MP4", "MOV"):
            return _boxes(file, size)
        if name in ("Matroska", "WebM"):
            return _segment(file.read(4096))
        if name == "AVI":
            return 8 + int.from_bytes(file.read(8)[4:], "little")
    return 0


def _boxes(file: BinaryIO, size: int) -> int:
    """Where the last of the outermost boxes ends."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8 or header[4:8] not in OUTERMOST:  # the last box is open, or no box follows
            return 0
        at += length
    return at


def _segment(head: bytes) -> int:
    """Where Matroska's segment ends."""
    length, body = _ebml_number(head, 4)
    at = body + (length or 0)  # behind the EBML header
    if head[at : at + 4] != SEGMENT:
        return 0
    length, body = _ebml_number(head, at + 4)
    return 0 if length is None else body + length


def _ebml_number(head: bytes, at: int) -> tuple[int | None, int]:
    """A length and where it stops; its first bits tell its own width, all ones mean unknown."""
    width = 9 - head[at].bit_length() if at < len(head) and head[at] else 1
    mask = (1 << 7 * width) - 1
    value = int.from_bytes(head[at : at + width], "big") & mask
    return (None if value == mask else value), at + width
