"""A trained network as one ONNX file that the scan runs without torch, and its smaller forms.

The file takes ``images`` (B, 3, S, S), float sRGB in [0, 1], and, of a method that can be told
where to look, ``hints`` (B, K, 4): left, top, right, bottom in pixels of S, none without an area.
It gives ``logit`` (B,) and, from a network that locates, ``heatmap`` (B, h, w), both log-odds of
the claim in nats.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-4  # largest difference to torch, in nats


class Gate(NamedTuple):
    """What a smaller form of a network costs and gains."""

    kept: bool
    auc_full: float
    auc_small: float
    speed: float  # images a second, small over full
    bytes_full: int
    bytes_small: int


def export_run(run: Path, out: Path | None = None) -> Path:
    """Export a trained run for the scan: an ONNX file with its card, calibrated, beside it.

    The calibration is fitted on the answers that the exported file itself gives to the run's
    validation data. What the range of such weights is, nobody has measured: the card says so.

    Args:
        run: Folder of :func:`telltale.train.train`.
        out: The ONNX file; ``<slug>.onnx`` in the run's folder by default.

    Raises:
        ValueError: If the run or its data are not there, the method does not detect, or ONNX
            Runtime's answers differ from torch's.
    """
    from telltale import calibrate, catalog
    from telltale.engine import session, sha256
    from telltale.judging import shown
    from telltale.runs import read_run, write_export_card
    from telltale.train import data_of, network_of

    slug = read_run(run).slug
    if catalog.card(slug).verb != "detect":
        raise ValueError(f"{run}: {slug} does not detect; only detectors are exported for the scan")
    if not (run / "card.toml").exists():
        raise ValueError(
            f"{run}: its training is not over; telltale train {slug} --run {run} --resume"
        )
    network = network_of(run)
    merge = getattr(network, "merge", None)
    if callable(merge):
        merge()
    path = out or run / f"{slug}.onnx"
    batches = [*data_of(run).validation()]
    pictures = [shown(network, batch) for batch in batches]
    size = int(pictures[0].shape[-1])
    slots = int(getattr(network, "slots", 0))
    grid = _grid(network, pictures[0][:1])
    export_onnx(network, path, size=size, grid=grid, slots=slots)
    runner, logits = session(path), []
    for images in pictures:
        given = {"images": images}
        if slots:
            given["hints"] = np.zeros((len(images), slots, 4), np.float32)
        logits.append(runner.run(["logit"], given)[0])
    line = calibrate.fit(np.concatenate(logits), np.concatenate([b["labels"] for b in batches]))
    write_export_card(run, path, sha256(path), size, line.to_table())
    return path


def _grid(network: "nn.Module", images: NDArray[np.float32]) -> int | None:
    """Side of the heat map: the backbone's grid, or the mask's own size; None without a mask."""
    import torch

    with torch.no_grad():
        mask = network(torch.from_numpy(images)).mask
    if mask is None:
        return None
    return int(getattr(getattr(network, "backbone", None), "grid", mask.shape[-1]))


def export_onnx(
    network: "nn.Module", path: Path, *, size: int, grid: int | None = None, slots: int = 0
) -> float:
    """Write a detector as ONNX and check it against torch; returns the largest difference.

    Args:
        network: In eval mode; merge what can be merged before.
        path: Written to a temporary file first, then renamed.
        size: S in pixels.
        grid: Side of the heat map; None leaves the mask out.
        slots: How many ``hints`` its method ``hinted`` takes beside the images; 0: it has none.

    Raises:
        ValueError: If ONNX Runtime's answers differ by more than ``TOLERANCE``.
    """
    import onnx
    import onnxruntime
    import torch
    from torch import nn
    from torch.nn import functional

    class Exported(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(
            self, images: torch.Tensor, hints: torch.Tensor | None = None
        ) -> tuple[torch.Tensor, ...]:
            told: Any = self.network
            evidence = told(images) if hints is None else told.hinted(images, hints)
            if grid is None or evidence.mask is None:
                return (evidence.logit,)
            return evidence.logit, functional.adaptive_avg_pool2d(evidence.mask, grid)[:, 0]

    names = ["logit"] if grid is None else ["logit", "heatmap"]
    images = torch.rand(2, 3, size, size, generator=_draw(0))
    some = torch.zeros(3, slots, 4)  # hints: none, one, as many as can be
    some[1, :1] = some[2] = torch.tensor([0.2, 0.3, 0.6, 0.8]) * size
    inputs = {"images": images} | ({"hints": some[1:]} if slots else {})
    shapes: dict[str, Any] = {"images": {0: torch.export.Dim("B", min=1, max=4096)}}
    shapes |= {"hints": {0: torch.export.Dim.DYNAMIC}} if slots else {}
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    module = Exported().eval()
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        dynamo=True,
        input_names=[*inputs],
        output_names=names,
        dynamic_shapes=shapes,
        opset_version=18,
        verbose=False,
    )
    if program is None:
        raise ValueError(f"{path}: torch could not export the network")
    model = program.model_proto
    for name in ("doc_string", "producer_version"):
        model.ClearField(name)
    for node in model.graph.node:  # the exporter writes source paths of this machine into nodes
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(part))
    session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, 3):
        given = {"images": torch.rand(count, 3, size, size, generator=_draw(count))}
        given |= {"hints": some[:count]} if slots else {}
        with torch.no_grad():
            wanted = module(**given)
        got = session.run(None, {name: it.numpy() for name, it in given.items()})
        for theirs, ours in zip(got, wanted, strict=True):
            worst = float(np.maximum(worst, np.abs(theirs - ours.numpy()).max()))  # keeps a NaN
    if not worst <= TOLERANCE:
        part.unlink()
        raise ValueError(f"{path}: ONNX Runtime differs from torch by {worst:.1e} nats")
    part.replace(path)
    return worst


def _draw(seed: int) -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(seed)


def quantise(full: Path, small: Path) -> None:
    """Write an int8 form: weights per channel, activations scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    part = small.with_name(small.name + ".part")
    quantize_dynamic(
        str(full),
        str(part),
        per_channel=True,
        reduce_range=True,  # 7 bits: without VNNI, 8 × 8 bit products overflow 16 bits
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],  # convolutions get slower
    )
    part.replace(small)


def halve(full: Path, small: Path, *, least: int = 1024) -> None:
    """Write a form whose large weights are stored as float16 and used as float32.

    It is half the size, computes like the full one, and loads on any ONNX Runtime.

    Args:
        full: The file to read.
        small: The file to write.
        least: Values of a tensor from which on it counts as large.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(full))
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < least:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values, name + "_half"))
        casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model)
    part = small.with_name(small.name + ".part")
    onnx.save(model, str(part))
    part.replace(small)


def gate(
    full: Path,
    small: Path,
    images: NDArray[np.float32],
    auc: Callable[[NDArray[np.float64]], float],
    *,
    points: float = 0.005,
) -> Gate:
    """Keep a smaller form only if it is faster and its AUC within ``points`` of the full one.

    Args:
        full: The ONNX file to compare with.
        small: Its smaller form.
        images: (N, 3, S, S) validation crops.
        auc: From the N logits to the AUC.
        points: Largest loss of AUC.
    """
    import onnxruntime

    logits, seconds = [], []
    for path in (full, small):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        session.run(None, {"images": images[:1]})
        began = time.perf_counter()
        parts = [
            session.run(None, {"images": images[place : place + 1]})[0]
            for place in range(len(images))  # one a call, as the detector does
        ]
        seconds.append(time.perf_counter() - began)
        logits.append(np.concatenate(parts).astype(np.float64))
    before, after = auc(logits[0]), auc(logits[1])
    speed = seconds[0] / seconds[1]
    return Gate(
        after >= before - points and speed > 1,
        before,
        after,
        speed,
        full.stat().st_size,
        small.stat().st_size,
    )
