"""The verb: where in a video is what a sentence describes?

    clip = load_clip("openai/clip-vit-large-patch14")
    watched = watch(Path("holiday.mp4"), clip, kept=Path("holiday.npz"))
    for moment in find(watched, "a dog jumps into the water", clip):
        moment.start, moment.end

Frames are looked at some times a second by CLIP's image tower, once: what it saw may be kept in a
file. A sentence's moments are then the windows W with most √|W| (mean similarity inside - outside),
those that overlap a better one left out; or what a trained moment network ranks first.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media.files import sha256
from telltale.media.video import Frame, read_video
from telltale.records import Subject
from telltale.searching import WINDOW, by_network, by_windows

if TYPE_CHECKING:
    from telltale.language.vid_morp import VidMorp
    from telltale.nn.clip import Clip

BATCH = 16  # frames that the tower sees at once
SHOWN = 320  # long side of a thumbnail in pixels
CONTEXT = "a photo of"  # before a sentence, as the moment network was trained


class Moment(NamedTuple):
    """A span of the video, in seconds."""

    start: float
    end: float
    score: float  # of its window's similarities inside less outside, or the network's logit
    thumbnail: bytes  # JPEG of its middle frame


@dataclass(frozen=True, slots=True)
class Watched:
    """What CLIP saw in a video's frames.

    Args:
        subject: The video.
        model: Name of the CLIP model.
        fps: Frames a second that were asked for.
        seconds: (T,), when each frame comes.
        features: (T, C), of length 1.
        thumbnails: JPEG of each frame.
    """

    subject: Subject
    model: str
    fps: float
    seconds: NDArray[np.float64]
    features: NDArray[np.float32]
    thumbnails: tuple[bytes, ...]

    @property
    def duration(self) -> float:
        """Seconds: what the container says, or the last frame's end."""
        return max(self.subject.seconds, float(self.seconds[-1]) + 1 / self.fps)


def watch(
    video: Path,
    clip: "Clip",
    *,
    fps: float = 2.0,
    kept: Path | None = None,
    note: Callable[[int], None] = lambda frames: None,
) -> Watched:
    """Look at a video, or take what was seen of it before.

    Args:
        video: The file.
        clip: As :func:`telltale.nn.clip.load_clip` gives it.
        fps: Frames a second.
        kept: An ``.npz`` file to take from if it is of the same video, model and rate, and else
            to write.
        note: Gets the number of frames that were looked at, now and then.

    Raises:
        ValueError: If the video cannot be read or has no frame, or ``kept`` holds something else.
    """
    if kept is not None and kept.exists():
        found = _read(kept)
        if (found.subject.sha256, found.model, found.fps) == (sha256(video), clip.name, fps):
            return found
        raise ValueError(
            f"{kept}: was made from another video, model or rate "
            f"({found.subject.path}, {found.model}, {found.fps:g} a second); name another file"
        )
    subject, frames = read_video(video, fps)
    seconds, parts, thumbnails, waiting = [], [], [], []
    for frame in frames:
        seconds.append(frame.seconds)
        thumbnails.append(_thumbnail(frame))
        waiting.append(_cropped(frame.pixels, clip.size))
        if len(waiting) == BATCH:
            parts.append(_seen(clip, waiting))
            note(len(seconds))
            waiting = []
    if waiting:
        parts.append(_seen(clip, waiting))
    if not parts:
        raise ValueError(f"{video}: has no frame to look at")
    made = Watched(
        subject, clip.name, fps, np.array(seconds), np.concatenate(parts), tuple(thumbnails)
    )
    if kept is not None:
        _write(kept, made)
    return made


def find(
    watched: Watched,
    text: str,
    clip: "Clip",
    *,
    top: int = 3,
    network: "VidMorp | None" = None,
    window: float = WINDOW,
) -> list[Moment]:
    """The moments that fit a sentence best, best first, none of which overlap.

    Args:
        watched: As :func:`watch` gives it, by the same model.
        text: The sentence.
        clip: The model.
        top: Moments to give, at most.
        network: A trained moment network; None compares windows, which needs no training.
        window: Seconds of a video that a network looks at, beside the whole of it: a network has a
            fixed number of clips, and learnt from videos of about that length.

    Raises:
        ValueError: If the text is empty, ``top`` is below 1, or the model or network is another's.
    """
    if top < 1 or window <= 0:
        raise ValueError(f"want top ≥ 1 and window > 0, got {top} and {window}")
    if clip.name != watched.model:
        raise ValueError(f"the frames were seen by {watched.model}, not by {clip.name}")
    sentence = clip.sentences([text], CONTEXT)
    if network is None:
        rows = by_windows(watched.features, watched.duration, sentence)[:top]
    else:
        rows = by_network(
            watched.features, watched.seconds, watched.duration, sentence, network, window
        )[:top]
    moments = []
    for start, end, score in rows:
        middle = int(np.abs(watched.seconds - (start + end) / 2).argmin())
        moments.append(Moment(start, end, score, watched.thumbnails[middle]))
    return moments


def load_network(path: Path) -> "VidMorp":
    """A moment network out of the safetensors file that :func:`telltale.fit.save` wrote.

    Raises:
        ValueError: If the file holds other weights.
    """
    from telltale.fit import restore
    from telltale.language.vid_morp import VidMorp
    from telltale.nn.states import read_state

    state = read_state(path)
    try:
        width, sentence_width = state["textual.weight"].shape
        channels = state["stem.0.weight"].shape[0]
        levels = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("down."))
    except (KeyError, ValueError):
        raise ValueError(f"{path}: not the weights of a moment network (vid_morp)") from None
    network = VidMorp(
        width=width, sentence_width=sentence_width, channels=channels, clips=2 ** (levels + 1)
    )
    restore(network, path)
    return network.eval()


def _seen(clip: "Clip", crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    import torch

    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    device = next(clip.parameters()).device
    return np.asarray(clip.pictures(images.to(device)).float().cpu())


def _cropped(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of a picture at ``size`` pixels, resampled as CLIP was trained."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    square = (left, top, left + side, top + side)
    return np.asarray(
        Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, square)
    )


def _thumbnail(frame: Frame) -> bytes:
    from PIL import Image

    image = Image.fromarray(frame.pixels)
    image.thumbnail((SHOWN, SHOWN))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def _write(path: Path, watched: Watched) -> None:
    about = {"subject": asdict(watched.subject), "model": watched.model, "fps": watched.fps}
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(
            file,
            about=np.array(json.dumps(about)),
            seconds=watched.seconds,
            features=watched.features,
            lengths=np.array([len(t) for t in watched.thumbnails]),
            thumbnails=np.frombuffer(b"".join(watched.thumbnails), np.uint8),
        )
    os.replace(part, path)


def _read(path: Path) -> Watched:
    try:
        with np.load(path, allow_pickle=False) as table:
            about: dict[str, Any] = json.loads(str(table["about"]))
            bounds = np.cumsum([0, *table["lengths"]])
            whole = table["thumbnails"].tobytes()
            return Watched(
                Subject(**about["subject"]),
                about["model"],
                about["fps"],
                table["seconds"],
                table["features"],
                tuple(whole[a:b] for a, b in pairwise(bounds.tolist())),
            )
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not what `telltale find --keep` writes ({error})") from None
