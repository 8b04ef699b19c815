"""Content credentials (C2PA): integrity, trust and signer, as three answers and never as one.

The public library reads and validates them; nothing is fetched from a network. Intact means that
the signature fits the file as it is, whoever made it: anyone can make a certificate. Whether the
signer is one to trust depends on a list of trust anchors, which the user gives.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from telltale.media.files import MediaError, one_line
from telltale.records.observation import Observation

_MIME = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WebP": "image/webp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "HEIC": "image/heic",
    "AVIF": "image/avif",
    "MP4": "video/mp4",
    "MOV": "video/quicktime",
    "AVI": "video/avi",
}
_BOX = b"c2pa"  # stands in every manifest store; without it the library need not be asked
_TRUST = frozenset({"signingCredential.untrusted"})  # failures that say nothing about the file
_GENERATED = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia")


def credentials(path: Path, form: str, *, anchors: Path | None = None) -> list[Observation]:
    """What a file's content credentials say; one observation that there are none otherwise.

    Args:
        path: The file.
        form: Its format by its content, see :func:`telltale.media.sniff`.
        anchors: PEM file of certificates to trust; without it trust is "not checked".

    Raises:
        MediaError: If the anchors cannot be used.
    """
    if form not in _MIME or not _mentions(path):
        return [_said("c2pa", "none", "the file has no content credentials (C2PA)")]
    try:
        import c2pa
    except ImportError:
        text = (
            "the file seems to have content credentials (C2PA); to read them: "
            "pip install 'telltale-vision[provenance]'"
        )
        return [_said("c2pa", "not read", text)]
    context = _context(anchors)
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(_MIME[form], file, context=context)
            if reader is None:
                return [_said("c2pa", "none", "the file has no content credentials (C2PA)")]
            with reader:
                store, state = json.loads(reader.json()), str(reader.get_validation_state())
    except (c2pa.C2paError, ValueError, OSError) as error:
        text = f"the content credentials (C2PA) cannot be read ({one_line(error, 100)})"
        return [_said("c2pa.integrity", "unreadable", text)]
    return _told(store, state, anchors)


def _told(store: Mapping[str, Any], state: str, anchors: Path | None) -> list[Observation]:
    manifest = store.get("manifests", {}).get(store.get("active_manifest"), {})
    results = store.get("validation_results", {}).get("activeManifest", {})
    codes = [str(failure.get("code")) for failure in results.get("failure", ())]
    broken = [code for code in codes if code not in _TRUST]
    signer = manifest.get("signature_info") or {}
    who = ", ".join(one_line(signer[k]) for k in ("common_name", "issuer") if signer.get(k))
    when = f" at {one_line(signer['time'])}" if signer.get("time") else ""
    if broken or state == "Invalid":
        words = f"broken: the file is not what was signed ({', '.join(broken) or 'invalid'})"
        integrity = Observation(
            "provenance", "derived", "c2pa.integrity", "broken", f"content credentials are {words}"
        )
    else:
        words = "content credentials are intact: the file is as it was signed"
        integrity = Observation("provenance", "derived", "c2pa.integrity", "intact", words)
    if anchors is None:
        trust = ("not checked", "trust in the signer was not checked: no trust anchors were given")
    elif "signingCredential.untrusted" in codes or state != "Trusted":
        trust = ("untrusted", "the signer leads to none of the given trust anchors")
    else:
        trust = ("trusted", "the signer leads to one of the given trust anchors")
    found = [
        integrity,
        Observation("provenance", "derived", "c2pa.trust", *trust),
        _said("c2pa.signer", who or "unnamed", f"signed by {who or 'nobody named'}{when}"),
    ]
    tools = [one_line(tool.get("name", "")) for tool in manifest.get("claim_generator_info") or ()]
    if tools:
        found.append(_said("c2pa.tool", ", ".join(tools), f"written by {', '.join(tools)}"))
    return found + _deeds(manifest)


def _deeds(manifest: Mapping[str, Any]) -> list[Observation]:
    """The actions that the signer declares, among them that a model made the picture."""
    done, kinds = [], []
    for assertion in manifest.get("assertions", ()):
        if not str(assertion.get("label", "")).startswith("c2pa.actions"):
            continue
        for action in (assertion.get("data") or {}).get("actions", ()):
            done.append(one_line(str(action.get("action", "")).removeprefix("c2pa.")))
            kinds.append(str(action.get("digitalSourceType", "")).rpartition("/")[2])
    found = []
    if done:
        listed = ", ".join(dict.fromkeys(done))
        found.append(_said("c2pa.actions", listed, f"declared as done to it: {listed}"))
    for kind in dict.fromkeys(kinds):
        if kind in _GENERATED:
            text = f"the signer declares that a generative model made it ({kind})"
            found.append(_said("declared.source", kind, text))
        elif kind:
            text = f"the signer declares its source as {one_line(kind)}"
            found.append(_said("declared.source", one_line(kind), text))
    return found


def _mentions(path: Path) -> bool:
    """Whether the bytes of a manifest store's box occur; reads in pieces."""
    tail = b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if _BOX in tail + piece:
                return True
            tail = piece[-len(_BOX) :]
    return False


@cache
def _context(anchors: Path | None) -> Any:  # noqa: ANN401  # c2pa's Context
    import c2pa

    settings: dict[str, Any] = {
        "verify": {
            "verify_trust": anchors is not None,
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        }
    }
    if anchors is not None:
        try:
            settings["trust"] = {"trust_anchors": anchors.read_text("ascii")}
        except (OSError, ValueError) as error:
            raise MediaError(
                f"{anchors}: want a PEM file of certificates ({one_line(error)})"
            ) from None
    try:
        return c2pa.Context(c2pa.Settings.from_dict(settings))
    except c2pa.C2paError as error:
        raise MediaError(
            f"{anchors}: cannot be used as trust anchors ({one_line(error)})"
        ) from None


def _said(name: str, value: str, text: str) -> Observation:
    return Observation("provenance", "observed", name, value, text)
