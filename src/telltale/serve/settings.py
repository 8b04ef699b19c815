"""What a server may use and whom it lets in."""

import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs.

    Args:
        folder: Where uploads, reports and the history are kept; made if it is missing.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        token: What a client must show; "" only on a loopback address.
        workers: Scans at once, each in a process of its own.
        queue: Jobs that may wait; beyond that an upload is refused with 429.
        upload: Bytes of one request.
        files: Files of one request.
        memory: Bytes that a worker may allocate for a scan, beyond what it needs empty.
        seconds: Time that one scan may take.
        keep_uploads: Keep what was sent until its job is deleted; otherwise until it is scanned.
        survival: Whether a scan asks again after degradations, unless its request says.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    workers: int = 2
    queue: int = 200
    upload: int = 500 * MEGABYTE
    files: int = 200
    memory: int = 3000 * MEGABYTE
    seconds: float = 600.0
    keep_uploads: bool = True
    survival: bool = True

    def __post_init__(self) -> None:
        for name in ("workers", "queue", "upload", "files", "memory", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"want {name} above 0, got {getattr(self, name)}")
        if not 0 <= self.port < 65536:
            raise ValueError(f"want a port from 0 to 65535, got {self.port}")
        if not self.token and not is_loopback(self.host):
            raise ValueError(f"{self.host} can be reached by others: want a token, got none")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def version() -> str:
    """Telltale's."""
    from telltale import __version__

    return __version__
