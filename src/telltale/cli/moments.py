"""``telltale moments``: label videos by machine, learn from labels, and measure."""

import json
from pathlib import Path
from typing import Annotated

import typer

from telltale.cli.finding import loaded_clip

Videos = Annotated[list[Path], typer.Argument(help="Videos.", metavar="VIDEO…")]
Labels = Annotated[
    Path,
    typer.Argument(
        help="Charades-STA (.txt), ActivityNet Captions (.json), QVHighlights, annotate (.jsonl).",
        metavar="LABELS",
    ),
]
Features = Annotated[
    Path, typer.Option("--features", help="Folder of VIDEO.npy, (frames, C).", metavar="DIR")
]
Model = Annotated[str, typer.Option(help="CLIP: a folder or a name of the hub.", metavar="DIR")]
Durations = Annotated[
    Path | None, typer.Option(help="Charades-STA's table of lengths.", metavar="FILE.csv")
]
CONTEXT = "a photo of"

moments = typer.Typer(help="Label videos by machine, learn to find moments, and measure it.")


@moments.command(no_args_is_help=True)
def features(
    videos: Videos,
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for VIDEO.npy.", metavar="DIR")],
    fps: Annotated[float, typer.Option(help="Frames to look at for each second.")] = 2.0,
) -> None:
    """Keep what CLIP sees in videos, for train and evaluate. Videos that are there are left out."""
    from telltale.find import watch

    clip = loaded_clip(model)
    out.mkdir(parents=True, exist_ok=True)
    for video in _apart(videos):
        if not (out / f"{video.stem}.npy").exists():
            _keep(out / f"{video.stem}.npy", watch(video, clip, fps=fps).features)
            typer.echo(f"{video.stem}", err=True)


@moments.command(no_args_is_help=True)
def annotate(  # an option each
    videos: Videos,
    model: Model,
    writer: Annotated[
        str,
        typer.Option(help="Vision-language model: a folder or a name of the hub.", metavar="DIR"),
    ],
    out: Annotated[Path, typer.Option(help="Labels to write.", metavar="FILE.jsonl")],
    folder: Features,
    decoding: Annotated[str, typer.Option(help="greedy, saver or saked.")] = "saver",
    shortest: Annotated[float, typer.Option(help="Of an event, in seconds.")] = 2.0,
    fps: Annotated[float, typer.Option(help="Frames to look at for each second.")] = 2.0,
) -> None:
    """Write sentences and spans for videos that nobody described; a stopped run goes on."""
    from telltale.annotate import annotate as write
    from telltale.data.moments import read_qvhighlights, write_labels
    from telltale.describe import Describer
    from telltale.find import watch

    done = read_qvhighlights(out) if out.exists() else []
    known = {pair.video for pair in done}
    clip, say = loaded_clip(model), Describer(writer, decoding=decoding).answer
    folder.mkdir(parents=True, exist_ok=True)
    for video in _apart(videos):
        if video.stem in known:
            continue
        watched = watch(video, clip, fps=fps)
        _keep(folder / f"{video.stem}.npy", watched.features)
        found = write(watched, say, shortest=shortest)
        done += found
        write_labels(out, done)
        typer.echo(f"{video.stem}: {len(found)} events", err=True)
    typer.echo(f"{len(done)} sentences in {out}")


@moments.command(no_args_is_help=True)
def train(  # noqa: PLR0913  # an option each
    labels: Labels,
    folder: Features,
    model: Model,
    out: Annotated[Path, typer.Option(help="Weights to write.", metavar="FILE.safetensors")],
    machine: Annotated[
        bool, typer.Option("--machine", help="The labels are a machine's: correct them.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Weights to go on from.", metavar="FILE.safetensors"),
    ] = None,
    durations: Durations = None,
    clips: Annotated[int, typer.Option(help="Parts of a video, a power of two.")] = 128,
    epochs: Annotated[int, typer.Option(help="Of training.")] = 15,
    batch: Annotated[int, typer.Option(help="Sentences a step.")] = 256,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 8e-4,
    hold: Annotated[
        float, typer.Option(help="Share of the videos to choose the weight of evidence by.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of weights, order and what is held.")] = 0,
) -> None:
    """Train a moment network. Zero-shot: --machine on any videos, then evaluate elsewhere.

    Unsupervised: --machine --from those weights, on machine-made labels of the target's own
    videos. Supervised: without --machine, on people's labels, with or without --from.
    """
    import torch

    from telltale.data.moments import by_video
    from telltale.find import load_network
    from telltale.fit import save
    from telltale.language.vid_morp import VidMorp
    from telltale.moments import Course, gathered, learn, read_labels, weigh

    if not 0 <= hold <= 0.5:
        raise ValueError(f"want --hold in [0, 0.5], got {hold:g}")
    clip = loaded_clip(model)
    before = load_network(start) if start else None
    shares = {"learn": 1 - hold} | ({"hold": hold} if hold else {})
    parts = by_video(read_labels(labels, durations), shares, seed)
    count = before.clips if before else clips
    examples, held = (
        gathered(
            parts.get(name, []),
            folder,
            lambda texts: clip.sentences(texts, CONTEXT),
            clips=count,
            every_window=name == "learn",
        )
        if parts.get(name)
        else None
        for name in ("learn", "hold")
    )
    if examples is None:
        raise ValueError(f"{labels}: has too few videos to hold any back: --hold 0")
    torch.manual_seed(seed)
    wide, said = examples.clips.shape[2], examples.sentences.shape[1]
    network = before or VidMorp(width=wide, sentence_width=said, clips=clips)
    course = Course(epochs=epochs, batch=batch, lr=lr, seed=seed)
    _, kept = learn(network, examples, machine=machine, course=course, note=_note)
    chosen = f", evidence {weigh(network, held):g}" if held else ""
    save(network, out)
    typer.echo(f"{out}: learnt from {int(kept.sum())} of {len(kept)} spans{chosen}")


@moments.command(no_args_is_help=True)
def evaluate(  # an option each
    labels: Labels,
    folder: Features,
    model: Model,
    network: Annotated[
        Path, typer.Option(help="Weights of a moment network.", metavar="FILE.safetensors")
    ],
    durations: Durations = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Write the moments as QVHighlights' server wants.", metavar="FILE.jsonl"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Measure R@1 at IoU 0.3, 0.5, 0.7, mIoU (in both conventions) and mAP, in percent.

    Beside the network stand spans that look at nothing: a network below them has learnt nothing
    that is of use.
    """
    from telltale.data.moments import write_predictions
    from telltale.find import load_network
    from telltale.moments import gathered, judge, ranked, read_labels

    clip, trained = loaded_clip(model), load_network(network)
    pairs = read_labels(labels, durations)
    examples = gathered(
        pairs, folder, lambda texts: clip.sentences(texts, CONTEXT), clips=trained.clips
    )
    table = judge(trained, examples)
    if predictions is not None:
        write_predictions(predictions, pairs, ranked(trained, examples))
    if as_json:
        typer.echo(json.dumps(table, indent=1))
        return
    names = [*table["network"]]
    typer.echo("| |" + "".join(f" {name} |" for name in names))
    typer.echo("|---|" + "---|" * len(names))
    for way, row in table.items():
        cells = (f"{100 * row[name]:.1f}" if name in row else "–" for name in names)
        typer.echo(f"| {way} |" + "".join(f" {cell} |" for cell in cells))


def _apart(videos: list[Path]) -> list[Path]:
    """The videos, no two of one name, since their names are what labels call them by."""
    names = [video.stem for video in videos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]}: want videos of different names, got this one twice")
    return videos


def _keep(path: Path, rows: object) -> None:
    import numpy as np

    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.save(file, np.asarray(rows, np.float16))
    part.replace(path)


def _note(epoch: int, loss: float) -> None:
    typer.echo(f"epoch {epoch}: loss {loss:.4f}", err=True)
