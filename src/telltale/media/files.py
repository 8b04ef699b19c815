"""Finds media files, tells by their bytes what they are, and reads them within limits.

A name's extension is never believed, and nothing behind the end of a container is looked at.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HEAD = 4096  # bytes that tell a format; an ISO container's list of brands is far shorter

PICTURES = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "HEIC", "AVIF")
VIDEOS = ("MP4", "MOV", "Matroska", "WebM", "AVI", "MPEG-PS", "MPEG-TS", "FLV", "WMV", "Ogg")

_SUFFIXES_OF = {  # ".ts" is left out: most of those files are programs
    "JPEG": ".jpg .jpeg .jpe .jfif",
    "PNG": ".png .apng",
    "WebP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp .dib",
    "GIF": ".gif",
    "HEIC": ".heic .heif .hif",
    "AVIF": ".avif .heif",
    "MP4": ".mp4 .m4v .mov .3gp",
    "MOV": ".mov .mp4 .m4v",
    "Matroska": ".mkv .webm",
    "WebM": ".webm .mkv",
    "AVI": ".avi",
    "MPEG-PS": ".mpg .mpeg",
    "MPEG-TS": ".mts .m2ts .mpg .mpeg",
    "FLV": ".flv",
    "WMV": ".wmv",
    "Ogg": ".ogv",
}
SUFFIXES = frozenset(" ".join(_SUFFIXES_OF.values()).split())

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # with 64-bit offsets
    (b"MM\0+", "TIFF"),
    (b"\0\0\x01\xba", "MPEG-PS"),
    (b"FLV\x01", "FLV"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMV"),
    (b"OggS", "Ogg"),
)
_RIFF = {b"WEBP": "WebP", b"AVI ": "AVI"}
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_NO_MEDIA = frozenset({b"crx ", b"jp2 ", b"jpx ", b"M4A ", b"M4B "})  # raw photos, JPEG 2000, sound
_BITMAP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes that BMP's headers have had


class MediaError(ValueError):
    """A file that cannot be used: one line that names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask of this machine.

    Args:
        pixels: Width times height of a picture, or of one frame.
        bytes: Size of a picture's file, which is held in memory; a video is streamed.
        frames: Sampled frames of a video.
        seconds: Duration of a video.
    """

    pixels: int = 200_000_000
    bytes: int = 200_000_000
    frames: int = 10_000
    seconds: float = 4 * 3600

    def __post_init__(self) -> None:
        for name in ("pixels", "bytes", "frames", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"want a limit of {name} above 0, got {getattr(self, name)}")


def sniff(head: bytes) -> str | None:
    """The format of a file by its first :data:`HEAD` bytes, one of PICTURES or VIDEOS, or None."""
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return None  # a camera's raw file in TIFF's clothes; its pixels are only a preview
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "WebM" if b"webm" in head[:64] else "Matroska"
    if head[4:8] == b"ftyp":
        return _iso(head)
    if head[4:8] in (b"moov", b"mdat", b"wide"):  # QuickTime before it had brands
        return "MOV"
    for packet, start in ((188, 0), (192, 4)):  # the second as camcorders and discs store it
        if len(head) > start + 4 * packet and head[start : start + 5 * packet : packet] == b"G" * 5:
            return "MPEG-TS"
    return None


def kind_of(path: str | os.PathLike[str]) -> Literal["picture", "video"]:
    """Whether a file is a picture or a video, by its bytes; raises MediaError if neither."""
    size = checked_size(path)
    return "picture" if format_of(path, read_bytes(path, min(size, HEAD))) in PICTURES else "video"


def find_media(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """The media files that ``paths`` mean.

    A file stands for itself, whatever it is: who named it wants to hear what is wrong with it. A
    folder is walked in sorted order and gives the files that have a medium's suffix or a
    medium's bytes; hidden ones and linked folders are left out. A folder that cannot be listed
    comes out itself, so that its reader reports it.

    Raises:
        MediaError: If a path does not exist; before the first file comes out.
    """
    wanted = [Path(path) for path in paths]
    for path in wanted:
        if not os.path.lexists(path):
            raise MediaError(f"{shown(path)}: there is no such file or folder; check the path")
    return (found for path in wanted for found in _found(path))


def checked_size(path: str | os.PathLike[str]) -> int:
    """Size in bytes of a regular file that is not empty; raises MediaError for anything else."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            target = shown(os.readlink(path))
            raise MediaError(
                f"{shown(path)}: is a link to {target}, which does not exist; repair the link"
            ) from None
        raise MediaError(f"{shown(path)}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(_about_folder(path))
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could wait for ever
        raise MediaError(f"{shown(path)}: is a pipe, a socket or a device; copy it to a file first")
    if not status.st_size:
        raise MediaError(f"{shown(path)}: is empty; get the file again from where it came")
    return status.st_size


def read_bytes(path: str | os.PathLike[str], count: int) -> bytes:
    """At most the first ``count`` bytes of a file; raises MediaError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, hexadecimal, in constant memory."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def format_of(path: str | os.PathLike[str], head: bytes) -> str:
    """:func:`sniff` that raises MediaError for what is no medium."""
    name = sniff(head)
    if name is None:
        readable = ", ".join(PICTURES)
        raise MediaError(f"{shown(path)}: is no picture or video; want {readable}, or a video file")
    return name


def lying_name(path: str | os.PathLike[str], name: str) -> str:
    """A warning if the extension promises another format than ``name``, or ""."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES or suffix in _SUFFIXES_OF[name].split():
        return ""
    return f"the name ends in {suffix}, but the content is {name}"


def unreadable(path: str | os.PathLike[str], error: Exception) -> MediaError:
    """The MediaError for an operating system's refusal."""
    if isinstance(error, PermissionError):
        return MediaError(f"{shown(path)}: may not be read; ask for permission to read it")
    return MediaError(
        f"{shown(path)}: cannot be read ({reason(error)}); check the path and the disk"
    )


def shown(path: str | os.PathLike[str]) -> str:
    """A path as one printable line: line breaks and undecodable bytes are escaped."""
    text = os.fspath(path)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def reason(error: Exception) -> str:
    """Why something failed, as one line; the error's kind where its text is only a number."""
    text = one_line(getattr(error, "strerror", None) or error)
    return text if any(c.isalpha() for c in text) else f"{type(error).__name__} {text}".rstrip()


def one_line(value: object, most: int = 160) -> str:
    """Anything as one printable line of at most ``most`` characters."""
    words = " ".join(str(value).split())
    text = "".join(c for c in words if c.isprintable())
    return text if len(text) <= most else text[: most - 1] + "…"


def _iso(head: bytes) -> str | None:
    """What an ISO base media file is, by its major brand and then the compatible ones."""
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[at : at + 4] for at in range(16, end - 3, 4)}
    if major in _NO_MEDIA:
        return None
    if major in _AVIF or (major in (b"mif1", b"msf1") and brands & _AVIF):
        return "AVIF"
    if major in _HEIC:
        return "HEIC"
    return "MOV" if major == b"qt  " else "MP4"


def _found(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    closed: list[Path] = []
    for folder, folders, files in os.walk(path, onerror=lambda e: closed.append(Path(e.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (file for file in here if _is_medium(file))
        yield from closed
        closed.clear()
    yield from closed


def _is_medium(file: Path) -> bool:
    if file.suffix.lower() in SUFFIXES:
        return True
    if not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            return sniff(opened.read(HEAD)) is not None
    except OSError:  # neither its name nor its bytes say that it is a medium
        return False


def _about_folder(path: str | os.PathLike[str]) -> str:
    try:
        with os.scandir(path):
            return f"{shown(path)}: is a folder, want a file; scan the folder or name a file in it"
    except OSError as error:
        why = reason(error)
        return f"{shown(path)}: is a folder that cannot be listed ({why}); ask for permission"
