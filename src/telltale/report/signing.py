"""Signs what was written with an Ed25519 key, and checks it later: the chain of custody.

The signature stands beside the file, ``NAME.sig.json``: the file's SHA-256, who signed, when, with
which software, and Ed25519 over all of that as canonical JSON. The records inside name each input
by its SHA-256 and the weights by theirs; :func:`verify` follows all three.

Source: RFC 8032 (Ed25519), through the library ``cryptography``.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from telltale.media.files import one_line, sha256
from telltale.records import Report
from telltale.report.jsonl import read_jsonl

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SCHEMA = "telltale-signature-1"
SUFFIX = ".sig.json"
_FIELDS = ("schema", "file", "sha256", "signed_at", "software", "public_key", "signature")


class Check(NamedTuple):
    """One thing that was checked, None if it could not be."""

    what: str
    holds: bool | None
    says: str


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key of a PEM file.

    Raises:
        ValueError: If it is no unencrypted Ed25519 key; the text says how to make one.
    """
    crypto = _crypto()
    how = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"
    try:
        key = crypto.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: no Ed25519 key ({one_line(error, 80)}); {how}") from None
    if not isinstance(key, crypto.Ed25519PrivateKey):
        raise ValueError(f"{path}: want an Ed25519 key, got {type(key).__name__}; {how}")
    found: Ed25519PrivateKey = key
    return found


def public_key(path: Path) -> "Ed25519PublicKey":
    """The public key of a PEM file; raises ValueError if it holds none."""
    crypto = _crypto()
    try:
        key = crypto.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}: no public key ({one_line(error, 80)}); "
            "write one with: openssl pkey -in key.pem -pubout -out public.pem"
        ) from None
    if not isinstance(key, crypto.Ed25519PublicKey):
        raise ValueError(f"{path}: want an Ed25519 key, got {type(key).__name__}")
    found: Ed25519PublicKey = key
    return found


def sign(path: Path, key: "Ed25519PrivateKey") -> Path:
    """Sign a file; gives the signature's path, ``NAME.sig.json`` beside it."""
    from telltale import __version__

    said = {
        "schema": SCHEMA,
        "file": path.name,
        "sha256": sha256(path),
        "signed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": f"telltale {__version__}",
        "public_key": key.public_key().public_bytes_raw().hex(),
    }
    said["signature"] = key.sign(_canonical(said)).hex()
    out = path.with_name(path.name + SUFFIX)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    part.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    part.replace(out)
    return out


def verify(path: Path, key: "Ed25519PublicKey | None" = None) -> Iterator[Check]:
    """Check a signed file: its signature, and of JSON lines each input and all weights.

    Args:
        path: What was signed; its signature must lie beside it.
        key: Whose signature it must be; without it, the signer is only named.

    Raises:
        ValueError: If the file or its signature is missing or not to be read.
    """
    beside = path.with_name(path.name + SUFFIX)
    said = _read(beside)
    now = sha256(path)
    same = now == said["sha256"]
    yield Check("file", same, "as it was signed" if same else f"was changed: its SHA-256 is {now}")
    yield _signature(said)
    if key is None:
        yield Check("signer", None, f"{said['public_key']}; --key FILE checks whose key that is")
    else:
        known = key.public_bytes_raw().hex() == said["public_key"]
        text = "the key given" if known else f"another key than the one given: {said['public_key']}"
        yield Check("signer", known, text)
    if path.suffix == ".jsonl":
        yield from _records(path)


def _signature(said: dict[str, Any]) -> Check:
    crypto = _crypto()
    unsigned = {name: value for name, value in said.items() if name != "signature"}
    try:
        key = crypto.Ed25519PublicKey.from_public_bytes(bytes.fromhex(said["public_key"]))
        key.verify(bytes.fromhex(said["signature"]), _canonical(unsigned))
    except (ValueError, crypto.InvalidSignature):
        return Check("signature", False, "does not fit what it signs")
    return Check("signature", True, f"fits; signed {said['signed_at']} by {said['software']}")


def _records(path: Path) -> Iterator[Check]:
    weights: dict[str, str] = {}
    for record in read_jsonl(path):
        if not isinstance(record, Report):
            continue
        subject = record.subject
        weights |= {k: v for k, v in record.made_with.items() if k.startswith("weights ")}
        where = Path(subject.path)
        if not where.is_file():
            yield Check(subject.path, None, "is not here to be compared")
        elif sha256(where) == subject.sha256:
            yield Check(subject.path, True, "is the file that was scanned")
        else:
            yield Check(subject.path, False, "is not the file that was scanned")
    installed = _installed()
    for name, digest in weights.items():
        file = name.removeprefix("weights ")
        if file not in installed:
            yield Check(file, None, "these weights are not part of this installation")
        else:
            same = installed[file] == digest
            yield Check(file, same, "the same weights as here" if same else "other weights")


def _installed() -> dict[str, str]:
    from telltale.catalog import cards
    from telltale.media.facefinder import shipped

    described = [*(w for card in cards().values() for w in card.weights), *shipped()]
    return {weights.file: weights.sha256 for weights in described}


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such signature; scan with --sign KEY.pem") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a signature ({one_line(error)})") from None
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise ValueError(f"{path}: want a signature of schema {SCHEMA}")
    if sorted(said) != sorted(_FIELDS) or not all(isinstance(v, str) for v in said.values()):
        raise ValueError(f"{path}: want the fields {', '.join(_FIELDS)}")
    return said


def _canonical(said: dict[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _crypto() -> Any:  # noqa: ANN401  # names of the library, of which mypy knows the types
    """What is used of the library, loaded when it is wanted."""
    from types import SimpleNamespace

    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import (
            load_pem_private_key,
            load_pem_public_key,
        )
    except ModuleNotFoundError:
        raise ValueError(
            "signatures need cryptography: pip install 'telltale-vision[provenance]'"
        ) from None
    return SimpleNamespace(
        InvalidSignature=InvalidSignature,
        Ed25519PrivateKey=ed25519.Ed25519PrivateKey,
        Ed25519PublicKey=ed25519.Ed25519PublicKey,
        load_pem_private_key=load_pem_private_key,
        load_pem_public_key=load_pem_public_key,
    )
