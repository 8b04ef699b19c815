"""Convert MediaPipe's face mesh from TFLite to ONNX: `python tools/face_mesh_to_onnx.py IN OUT`.

Ours because the network needs six operators and the general converters need TensorFlow. NHWC
becomes NCHW; TensorFlow's "same" padding is uneven at stride 2 and is written out. The result
takes `images` (B, 3, 192, 192) in [0, 1] and gives `points` (B, 468, 3) in input pixels and
`presence` (B,) as log-odds. Needs: `pip install tflite onnx`.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper


def convert(source: Path, target: Path) -> None:
    model = tflite.Model.GetRootAsModel(source.read_bytes(), 0)
    graph = model.Subgraphs(0)
    kinds = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}

    def shape(index: int) -> list[int]:
        return [int(n) for n in graph.Tensors(index).ShapeAsNumpy()]

    def constant(index: int) -> np.ndarray:
        tensor = graph.Tensors(index)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        dtype = np.float32 if tensor.Type() == tflite.TensorType.FLOAT32 else np.int32
        return raw.view(dtype).reshape(shape(index))

    def weight(name: str, value: np.ndarray) -> str:
        weights[name] = np.ascontiguousarray(value)
        return name

    def same_pads(size: list[int], kernel: list[int], stride: list[int]) -> list[int]:
        need = [
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, kernel, stride, strict=True)
        ]
        return [need[0] // 2, need[1] // 2, need[0] - need[0] // 2, need[1] - need[1] // 2]

    for number in range(graph.OperatorsLength()):
        op = graph.Operators(number)
        kind = kinds[model.OperatorCodes(op.OpcodeIndex()).DeprecatedBuiltinCode()]
        ins = [int(i) for i in op.InputsAsNumpy()]
        out = int(op.OutputsAsNumpy()[0])
        x, y = f"t{ins[0]}", f"t{out}"
        options = op.BuiltinOptions()
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            depthwise = kind == "DEPTHWISE_CONV_2D"
            o = (tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)()
            o.Init(options.Bytes, options.Pos)
            w = constant(ins[1])  # OHWI, or 1HWO for depthwise
            w = w.transpose(3, 0, 1, 2) if depthwise else w.transpose(0, 3, 1, 2)
            stride = [o.StrideH(), o.StrideW()]
            same = o.Padding() == tflite.Padding.SAME
            pads = same_pads(shape(ins[0])[1:3], list(w.shape[2:]), stride) if same else [0] * 4
            names = [x, weight(f"w{number}", w), weight(f"b{number}", constant(ins[2]))]
            groups = w.shape[0] if depthwise else 1
            active = o.FusedActivationFunction()
            if active not in (0, 1):
                raise ValueError(f"activation {active} of operator {number} is not known")
            z = y + "_" if active == 1 else y
            nodes.append(
                helper.make_node("Conv", names, [z], strides=stride, pads=pads, group=groups)
            )
            if active == 1:
                nodes.append(helper.make_node("Relu", [z], [y]))
        elif kind == "PRELU":
            slope = constant(ins[1]).reshape(-1, 1, 1)
            nodes.append(helper.make_node("PRelu", [x, weight(f"a{number}", slope)], [y]))
        elif kind == "ADD":
            nodes.append(helper.make_node("Add", [x, f"t{ins[1]}"], [y]))
        elif kind == "MAX_POOL_2D":
            o = tflite.Pool2DOptions()
            o.Init(options.Bytes, options.Pos)
            kernel, stride = [o.FilterHeight(), o.FilterWidth()], [o.StrideH(), o.StrideW()]
            pads = same_pads(shape(ins[0])[1:3], kernel, stride)
            nodes.append(
                helper.make_node(
                    "MaxPool", [x], [y], kernel_shape=kernel, strides=stride, pads=pads
                )
            )
        elif kind == "PAD":
            n, h, w_, c = constant(ins[1]).tolist()
            pads = np.array([n[0], c[0], h[0], w_[0], n[1], c[1], h[1], w_[1]], np.int64)
            nodes.append(helper.make_node("Pad", [x, weight(f"p{number}", pads)], [y]))
        else:
            raise ValueError(f"operator {kind} is not known")

    points, presence = (f"t{int(i)}" for i in graph.OutputsAsNumpy())
    weight("points_shape", np.array([-1, 468, 3], np.int64))
    weight("presence_shape", np.array([-1], np.int64))
    nodes.append(helper.make_node("Reshape", [points, "points_shape"], ["points"]))
    nodes.append(helper.make_node("Reshape", [presence, "presence_shape"], ["presence"]))
    first = f"t{int(graph.InputsAsNumpy()[0])}"
    for node in nodes:
        node.input[:] = ["images" if name == first else name for name in node.input]
    result = helper.make_model(
        helper.make_graph(
            nodes,
            "face_mesh",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, 192, 192])],
            [
                helper.make_tensor_value_info("points", TensorProto.FLOAT, ["B", 468, 3]),
                helper.make_tensor_value_info("presence", TensorProto.FLOAT, ["B"]),
            ],
            [numpy_helper.from_array(v, k) for k, v in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(result)
    onnx.save(result, target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
