"""Protected copies of a folder of labelled pictures, by MTL-UE."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.media import MediaError, read_picture
from telltale.media.files import sha256
from telltale.media.lossless import write_png
from telltale.protect import copies
from telltale.protect.copies import GENERATOR, PROGRESS, Copy, Difference
from telltale.protect.learning import Turn, learn
from telltale.records import Failure

if TYPE_CHECKING:
    from torch import Tensor

    from telltale.robustness.mtl_ue import MTLUE

# What holds without a recipe: small enough for a processor without a graphics card.
USUAL: dict[str, dict[str, Any]] = {
    "method": {"size": 64, "width": 32},
    "surrogate": {"name": "resnet_toy"},
    "fit": {"lr": 1e-3, "weight_decay": 1e-4, "clip": 5.0, "steps": 400},
}
BATCH = 32
ROUNDS, TURN = 10, 4  # of EM: times that both learn in turn, the surrogate's batches in each


class Labelled(NamedTuple):
    """Pictures of a folder with the class of each task."""

    files: list[Path]
    attributes: NDArray[np.int64]  # (N, K)
    tasks: list[str]
    classes: list[list[str]]  # names, by task


def protect_pictures(
    folder: Path,
    out: Path,
    *,
    labels: Path | None = None,
    recipe: Path | str | None = None,
    settings: dict[str, Any] | None = None,
    most: int = 2000,
    resume: bool = False,
    watch: Callable[[str], None] = lambda text: None,
) -> Iterator[Copy | Failure]:
    """Train MTL-UE on pictures, and write a protected PNG of each.

    Args:
        folder: Pictures; only read.
        out: A new folder.
        labels: CSV of ``path`` and a column a task, paths relative to ``folder``. Without it the
            subfolder that a picture is in is its class.
        recipe: As for training; None is a small network.
        settings: "table.key" to value, over the recipe.
        most: Pictures to train on, drawn at random; their thumbnails are held in memory.
        resume: Go on with a run that was stopped.
        watch: Told what is being done.

    Yields:
        Each copy once it was read back and found within the bound, or why there is none.

    Raises:
        ValueError: If labels, settings or folders are not right, or torch is not installed.
    """
    given = read_labels(folder, labels)
    plan = plan_of(given, folder, recipe, settings or {})
    levels = copies.budget(plan["method_settings"]["eps"])
    whole = plan | {"levels": levels, "most": most, "labels": given.classes, "tasks": given.tasks}
    copies.begin(out, given.files, whole, resume=resume)
    network = _trained(given, whole, out, watch)
    places = copies.names(given.files, folder, ".png")
    finished = copies.done(out)
    copies.rewrite(out, finished.values())
    for file, row in zip(given.files, given.attributes, strict=True):
        if str(file) in finished:
            yield finished[str(file)]
            continue
        try:
            record = _copied(network, file, row, out, places[file], levels)
        except MediaError as error:
            yield Failure(str(file), str(error))
            continue
        copies.keep(out, record)
        yield record


def read_labels(folder: Path, labels: Path | None) -> Labelled:
    """The pictures of a folder and their classes.

    Raises:
        ValueError: If there is no picture, a task has fewer than two classes, or a line of the
            table is not right; the text names the line.
    """
    if labels is None:
        files = copies.pictures(folder)
        rows = {file: [file.parent.relative_to(folder).as_posix()] for file in files}
        tasks = ["folder"]
    else:
        rows, tasks = _table(folder, labels)
    if not rows:
        raise ValueError(f"{folder}: has no pictures")
    classes = [sorted({row[k] for row in rows.values()}) for k in range(len(tasks))]
    for task, known in zip(tasks, classes, strict=True):
        if len(known) < 2:
            raise ValueError(
                f"{labels or folder}: want two classes or more of {task!r}, got {known}; labels "
                "come from subfolders or from --labels FILE.csv"
            )
    numbers = [[known.index(v) for v, known in zip(r, classes, strict=True)] for r in rows.values()]
    return Labelled([*rows], np.array(numbers, np.int64), tasks, classes)


def plan_of(
    given: Labelled, folder: Path, recipe: Path | str | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Every value in force, as a plan keeps it."""
    try:
        from telltale.recipe import in_force, read_recipe
    except ModuleNotFoundError as error:
        raise ValueError(f"protecting needs {error.name}: {_INSTALL}") from None
    tables = {k: dict(v) for k, v in USUAL.items()}
    for name, table in {} if recipe is None else read_recipe(recipe, "mtl_ue").items():
        tables[name] = table
    tables["data"] = {"manifest": str(folder), "license": "the owner's"}
    over = settings | {"method.classes": [len(known) for known in given.classes]}
    plan = in_force("mtl_ue", tables, over)
    return {
        "method": "mtl_ue",
        "method_settings": dict(plan.method),
        "surrogate": dict(plan.modules["surrogate"]),
        "fit": plan.tables()["fit"],
    }


_INSTALL = "pip install 'telltale-vision[train]'"


def thumbnail(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Pixels squeezed to a square of ``size``, without aliasing."""
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def as_images(thumbnails: list[NDArray[np.uint8]]) -> "Tensor":
    """Squares (S, S, 3) as (N, 3, S, S) in [0, 1]."""
    import torch

    stacked = np.stack(thumbnails).transpose(0, 3, 1, 2)
    # In torch's usual order of memory: with the colours last, some builds for processors crash
    # when they train.
    return torch.from_numpy(np.ascontiguousarray(stacked)).float() / 255


def sampled(given: Labelled, most: int, seed: int) -> NDArray[np.int64]:
    """Rows to train on, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(given.files))
    found: NDArray[np.int64] = np.sort(order[:most])
    return found


def fresh(plan: dict[str, Any]) -> "MTLUE":
    """The network of a plan, untrained; the same each time."""
    import torch

    from telltale import catalog
    from telltale.robustness.mtl_ue import MTLUE

    torch.manual_seed(plan["fit"]["seed"])
    made = catalog.build("mtl_ue", surrogate=plan["surrogate"], **plan["method_settings"])
    if not isinstance(made, MTLUE):
        raise ValueError(f"want an MTLUE, got {type(made).__name__}")
    return made


def _trained(
    given: Labelled, plan: dict[str, Any], out: Path, watch: Callable[[str], None]
) -> "MTLUE":
    """The network with a trained generator, from the folder if a stopped run left one there."""
    import torch

    from telltale import fit as fitting
    from telltale.data.memory import batches

    network, kept, fit = fresh(plan), out / GENERATOR, plan["fit"]
    if kept.exists():
        fitting.restore(network, kept)
        (out / PROGRESS).unlink(missing_ok=True)  # of a kill between the two
        return network.eval()
    rows = sampled(given, plan["most"], fit["seed"])
    size, seen, good = network.size, [], []
    watch(f"reading {len(rows)} pictures to learn from")
    for row in rows:
        try:
            seen.append(thumbnail(read_picture(given.files[row]).pixels, size))
            good.append(row)
        except MediaError:  # reported when its copy is due
            continue
    if not seen:
        raise ValueError("no picture could be read")
    columns = {"images": as_images(seen), "attributes": torch.from_numpy(given.attributes[good])}
    feed = batches(columns, min(BATCH, len(good)), seed=fit["seed"])
    steps = fit["steps"]
    watch(f"training the generator, {steps} steps a part")
    learn(
        network,
        turns_of(network.base, steps),
        feed,
        out / PROGRESS,
        lr=fit["lr"],
        clip=fit["clip"],
        weight_decay=fit["weight_decay"],
    )
    network.checkpoints = torch.nn.ModuleList()  # only training needs them
    network.enter("generator")
    fitting.save(network, kept)
    (out / PROGRESS).unlink(missing_ok=True)
    return network.eval()


def turns_of(base: str, steps: int) -> list[Turn]:
    """Who learns when, for a base of MTL-UE."""
    if base == "em":
        pair = [Turn("generator", max(1, steps // ROUNDS)), Turn("surrogate", TURN)]
        return pair * ROUNDS
    if base == "sep":
        each = max(1, steps // 5)
        return [*(Turn("clean", each, bool(k)) for k in range(5)), Turn("generator", steps)]
    return [Turn("clean", steps), Turn("generator", steps)]


def _copied(
    network: "MTLUE", file: Path, row: NDArray[np.int64], out: Path, place: Path, most: int
) -> Copy:
    import torch
    import torch.nn.functional as F

    pixels = read_picture(file).pixels
    small = as_images([thumbnail(pixels, network.size)])
    with torch.no_grad():
        delta = network.perturb(small, torch.from_numpy(row)[None])
        # Bilinear values lie between those that they are mixed of: the bound still holds.
        wide = F.interpolate(delta, pixels.shape[:2], mode="bilinear", antialias=True)
    target = out / place
    target.parent.mkdir(parents=True, exist_ok=True)
    says = f"protected by telltale: {network.base.upper()} MTL-UE, bound {most}/255"
    write_png(target, copies.changed(pixels, wide[0].permute(1, 2, 0).numpy(), most), file, says)
    apart = Difference()
    apart.add(pixels, read_picture(target).pixels)
    return copies.checked(
        Copy(str(file), str(place), sha256(target), apart.largest, apart.psnr, apart.ssim), most
    )


def _table(folder: Path, labels: Path) -> tuple[dict[Path, list[str]], list[str]]:
    try:
        with labels.open(encoding="utf-8-sig", newline="") as file:
            lines = [*csv.reader(file)]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{labels}: cannot be read ({error})") from None
    head = lines[0] if lines else []
    if len(head) < 2 or head[0] != "path":
        raise ValueError(f"{labels}: want columns path and one or more tasks, got {head}")
    rows: dict[Path, list[str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(head) or not all(line):
            raise ValueError(f"{labels}, line {number}: want {len(head)} values, got {line}")
        path = folder / line[0]
        if path in rows or ".." in Path(line[0]).parts or Path(line[0]).is_absolute():
            raise ValueError(f"{labels}, line {number}: want each path once, inside {folder}")
        rows[path] = line[1:]
    return rows, head[1:]
