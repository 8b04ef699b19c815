"""Protected copies of videos with the boxes of a target, by TUE."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from telltale.media import MediaError
from telltale.media.files import sha256
from telltale.media.lossless import copy_video, frame_pairs
from telltale.protect import copies
from telltale.protect.copies import GENERATOR, PROGRESS, Copy, Difference
from telltale.protect.learning import Turn, learn
from telltale.records import Failure

if TYPE_CHECKING:
    from torch import Tensor

    from telltale.robustness.tue import TUE

USUAL: dict[str, dict[str, Any]] = {
    "method": {"size": 32, "width": 64, "depth": 2, "tracker": "toy"},
    "fit": {"lr": 1e-3, "steps": 200},
}
BATCH, CLIPS, FRAMES, SIDE = 16, 160, 6, 72  # of the drawn clips that generator and tracker see


def protect_videos(
    videos: Sequence[Path],
    out: Path,
    *,
    boxes: Path | None = None,
    recipe: Path | str | None = None,
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    watch: Callable[[str], None] = lambda text: None,
) -> Iterator[Copy | Failure]:
    """Train TUE on drawn clips, and write a protected lossless copy of each video.

    Args:
        videos: Only read.
        out: A new folder.
        boxes: Text file with a line "x, y, w, h" in pixels of the upright frame for each frame; a
            line of zeros where the target is not to be seen. Without it, the file beside the video
            that is called as it with ``.txt``.
        recipe: As for training; None is a small generator.
        settings: "table.key" to value, over the recipe.
        resume: Go on with a run that was stopped.
        watch: Told what is being done.

    Yields:
        Each copy once it was read back and found within the bound, or why there is none.

    Raises:
        ValueError: If settings or folders are not right, or torch is not installed.
    """
    if not videos:
        raise ValueError("want one video or more")
    if boxes is not None and len(videos) > 1:
        raise ValueError("--boxes is of one video; name each video's boxes after it")
    plan = plan_of(recipe, settings or {})
    levels = copies.budget(plan["method_settings"]["eps"])
    whole = plan | {"levels": levels, "videos": [str(v) for v in videos], "boxes": str(boxes or "")}
    copies.begin(out, videos, whole, resume=resume)
    network = trained(whole, out, watch)
    parents = {video.parent for video in videos}
    root = videos[0].parent if len(parents) == 1 else Path(*_common(parents))
    places = copies.names(videos, root, ".mkv")
    finished = copies.done(out)
    copies.rewrite(out, finished.values())
    for video in videos:
        if str(video) in finished:
            yield finished[str(video)]
            continue
        watch(f"protecting {video}")
        try:
            rows = read_boxes(boxes or video.with_suffix(".txt"))
            record = _copied(network, video, rows, out, places[video], levels)
        except (MediaError, ValueError) as error:
            yield Failure(str(video), str(error))
            continue
        copies.keep(out, record)
        yield record


def read_boxes(path: Path) -> NDArray[np.float32]:
    """Boxes (T, 4) of a text file, numbers with commas or blanks between, as GOT-10k and OTB have.

    Raises:
        ValueError: If it cannot be read; the text names the line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: boxes cannot be read ({error}); want a line x, y, w, h a frame"
        ) from None
    found = []
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split(r"[,\s]+", line.strip()) if word]
        if not words and number == len(lines):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != 4 or not np.isfinite(row).all() or min(row[2:]) < 0:
            raise ValueError(f"{path}, line {number}: want x, y, w, h, got {line[:60]!r}")
        found.append(row)
    if not found:
        raise ValueError(f"{path}: has no boxes")
    return np.array(found, np.float32)


def plan_of(recipe: Path | str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Every value in force, as a plan keeps it."""
    try:
        from telltale.recipe import in_force, read_recipe
    except ModuleNotFoundError as error:
        raise ValueError(
            f"protecting needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    tables = {k: dict(v) for k, v in USUAL.items()}
    for name, table in {} if recipe is None else read_recipe(recipe, "tue").items():
        tables[name] = table
    tables["data"] = {"manifest": "drawn clips", "license": "the owner's"}
    plan = in_force("tue", tables, settings)
    return {
        "method": "tue",
        "method_settings": dict(plan.method),
        "fit": plan.tables()["fit"],
    }


def drawn(seed: int, count: int = CLIPS) -> "tuple[Tensor, Tensor]":
    """Clips (N, T, 3, S, S) with tracks, for generator and trackers."""
    import torch

    from telltale.data.synth.moving import moving_clips

    clips, tracks = moving_clips(count, frames=FRAMES, size=SIDE, seed=seed)
    return torch.from_numpy(clips), torch.from_numpy(tracks)


def pairs(clips: "Tensor", tracks: "Tensor", seed: int) -> "Iterator[dict[str, Tensor]]":
    """Endless batches of two random frames of a clip."""
    import torch

    from telltale.data.memory import batches

    random = torch.Generator().manual_seed(seed)
    for batch in batches({"clips": clips, "tracks": tracks}, BATCH, seed=seed):
        rows = torch.arange(len(batch["clips"]))[:, None]
        two = torch.rand(len(rows), clips.shape[1], generator=random).argsort(1)[:, :2]
        yield {name: column[rows, two] for name, column in batch.items()}


def trained(plan: dict[str, Any], out: Path, watch: Callable[[str], None]) -> "TUE":
    """The generator, from the folder if a stopped run left one there."""
    import torch

    from telltale import catalog
    from telltale import fit as fitting
    from telltale.robustness.tue import TUE

    fit, kept = plan["fit"], out / GENERATOR
    torch.manual_seed(fit["seed"])
    network = catalog.build("tue", **plan["method_settings"])
    if not isinstance(network, TUE):
        raise ValueError(f"want a TUE, got {type(network).__name__}")
    if kept.exists():
        fitting.restore(network, kept)
        (out / PROGRESS).unlink(missing_ok=True)  # of a kill between the two
        return network.eval()
    watch(f"training the generator on drawn clips, {fit['steps']} steps")
    feed = pairs(*drawn(fit["seed"]), fit["seed"])
    turns = [Turn("generator", 1), Turn("tracker", 1)] * fit["steps"]
    learn(network, turns, feed, out / PROGRESS, lr=fit["lr"], clip=fit["clip"])
    network.enter("generator")
    fitting.save(network, kept)
    (out / PROGRESS).unlink(missing_ok=True)
    return network.eval()


def _copied(
    network: "TUE", video: Path, rows: NDArray[np.float32], out: Path, place: Path, most: int
) -> Copy:
    import torch

    def change(number: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if number >= len(rows):
            raise ValueError(f"{video}: has more frames than the {len(rows)} boxes given for it")
        if not rows[number, 2:].all():
            return pixels
        frame = (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
        )
        with torch.no_grad():
            delta = network.perturb(frame, torch.from_numpy(rows[number])[None])
        return copies.changed(pixels, delta[0].permute(1, 2, 0).numpy(), most)

    target = out / place
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy_video(video, target, change, f"protected by telltale: TUE, bound {most}/255")
    except MediaError as error:
        if isinstance(error.__cause__, ValueError) and "more frames than" in str(error.__cause__):
            raise error.__cause__ from None
        raise
    apart = Difference()
    for original, copy in frame_pairs(video, target):
        apart.add(original, copy)
    figures = apart.largest, apart.psnr, apart.ssim, apart.frames
    return copies.checked(Copy(str(video), str(place), sha256(target), *figures), most)


def _common(folders: set[Path]) -> Sequence[str]:
    """The parts that all folders begin with."""
    shared = []
    for parts in zip(*(folder.absolute().parts for folder in folders), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
