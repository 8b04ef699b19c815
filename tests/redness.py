"""A detector that tests can predict: how much redder than blue a face is, in a tiny network."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from telltale.detector import Detector
from telltale.loading import load

SIZE, GRID = 32, 4
CARD = """\
title   = "How red a face is"
source  = "made for tests"
network = "telltale.faces.redness:Redness"
verb    = "detect"
claim   = "the face is redder than blue"

[[weights]]
file        = "redness.onnx"
sha256      = "{sha256}"
license     = "Apache-2.0"
trained_on  = "nothing"
input       = {{ size = 32, margin = 1.3 }}
calibration = {{ slope = 1.0, intercept = 0.0, covariance = [0.01, 0.0, 0.01], limit = 3.0 }}
"""


def write_redness(folder: Path, name: str = "redness") -> Path:
    """The network and its card; returns the path of the ``.onnx`` file."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, SIZE, SIZE])
    outputs = [
        helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["B"]),
        helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["B", GRID, GRID]),
    ]
    red_minus_blue = np.array([8, 0, -8], np.float32)
    constants = [
        helper.make_tensor("kernel", TensorProto.FLOAT, [1, 3, 1, 1], red_minus_blue),
        helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
        helper.make_tensor("all", TensorProto.INT64, [3], [1, 2, 3]),
    ]
    cell = [SIZE // GRID] * 2
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["redness"]),
        helper.make_node("AveragePool", ["redness"], ["cells"], kernel_shape=cell, strides=cell),
        helper.make_node("Squeeze", ["cells", "channel"], ["heatmap"]),
        helper.make_node("ReduceMean", ["cells", "all"], ["logit"], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "redness", [images], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / f"{name}.onnx"
    onnx.save(model, str(path))
    text = CARD.format(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.with_suffix(".toml").write_text(text.replace("redness.onnx", path.name))
    return path


def redness(folder: Path) -> Detector:
    return load(write_redness(folder), threads=1)


def save_face(path: Path, *, blue: bool = False, side: int = 480) -> Path:
    """A picture of a drawn face: skin, so redder than blue, or with red and blue swapped."""
    from telltale.doctor import draw_face

    pixels = draw_face(side)
    Image.fromarray(pixels[..., ::-1] if blue else pixels).save(path)
    return path


def save_empty(path: Path) -> Path:
    Image.new("RGB", (64, 48), (10, 120, 60)).save(path)
    return path
