"""Export: ONNX Runtime says what torch says, and a smaller form must earn its place."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import telltale
from telltale.export import export_onnx, gate, halve, quantise
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.nn.backbones import backbone
from telltale.nn.contract import Evidence

pytestmark = pytest.mark.usefixtures("one_thread")


def answers(path: Path, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})


@pytest.fixture(scope="module")
def network() -> ViTLoRASCL:
    torch.manual_seed(0)
    trunk = backbone("vit_toy", size=16, depth=2, norm=True)
    made = ViTLoRASCL(trunk, rank=4, readout="patches").eval()
    for weight in made.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.2)
    return made


@pytest.fixture(scope="module")
def exported(network: ViTLoRASCL, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "new" / "network.onnx"
    assert export_onnx(network, path, size=16, grid=4) <= 1e-4
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_gives_the_logit_and_each_patchs_own(
    network: ViTLoRASCL, exported: Path, count: int
) -> None:
    images = torch.rand(count, 3, 16, 16)
    logit, heatmap = answers(exported, images.numpy())
    with torch.no_grad():
        expected = network(images)
    assert expected.mask is not None
    np.testing.assert_allclose(logit, expected.logit, atol=1e-4)
    np.testing.assert_allclose(heatmap, expected.mask[:, 0, ::4, ::4], atol=1e-4)
    np.testing.assert_allclose(heatmap.mean((1, 2)), logit, atol=1e-4)


def test_the_file_names_its_ends_and_nobodys_folders(exported: Path) -> None:
    graph = onnx.load(str(exported)).graph
    assert [given.name for given in graph.input] == ["images"]
    assert [given.name for given in graph.output] == ["logit", "heatmap"]
    assert not graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    folder = str(Path(telltale.__file__).parent).encode()
    assert folder not in exported.read_bytes()
    assert [path.name for path in exported.parent.iterdir()] == ["network.onnx"]


def test_without_a_grid_there_is_no_heatmap(network: ViTLoRASCL, tmp_path: Path) -> None:
    export_onnx(network, tmp_path / "plain.onnx", size=16)
    assert len(answers(tmp_path / "plain.onnx", np.zeros((1, 3, 16, 16), np.float32))) == 1


def test_merged_and_unmerged_agree(network: ViTLoRASCL, exported: Path, tmp_path: Path) -> None:
    merged = ViTLoRASCL(backbone("vit_toy", size=16, depth=2, norm=True), rank=4, readout="patches")
    merged.load_state_dict(network.state_dict())
    merged.eval().merge()
    export_onnx(merged, tmp_path / "merged.onnx", size=16, grid=4)
    images = np.random.default_rng(0).random((3, 3, 16, 16), np.float32)
    for one, other in zip(
        answers(tmp_path / "merged.onnx", images), answers(exported, images), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert (tmp_path / "merged.onnx").stat().st_size < exported.stat().st_size


@pytest.mark.parametrize("wrong", [3.001, math.nan])
def test_a_network_that_answers_otherwise_in_onnx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.full((), 3.0))

        def forward(self, images: Tensor) -> Evidence:
            return Evidence(self.gain * images.mean((1, 2, 3)))

    save = onnx.save

    def save_another(model: onnx.ModelProto, path: str) -> None:
        for tensor in model.graph.initializer:
            if numpy_helper.to_array(tensor).tolist() == 3.0:
                tensor.CopyFrom(numpy_helper.from_array(np.float32(wrong), tensor.name))
        save(model, path)

    export_onnx(Mean().eval(), tmp_path / "good.onnx", size=8)
    monkeypatch.setattr(onnx, "save", save_another)
    with pytest.raises(ValueError, match=r"bad\.onnx: ONNX Runtime differs from torch"):
        export_onnx(Mean().eval(), tmp_path / "bad.onnx", size=8)
    assert [path.name for path in tmp_path.iterdir()] == ["good.onnx"]


@pytest.mark.parametrize(("make", "smaller", "close"), [(quantise, 0.6, 0.5), (halve, 0.6, 5e-3)])
def test_smaller_forms_answer_nearly_the_same(
    exported: Path,
    tmp_path: Path,
    make: object,
    smaller: float,
    close: float,
) -> None:
    small = tmp_path / "small.onnx"
    make(exported, small)  # type: ignore[operator]
    assert small.stat().st_size < smaller * exported.stat().st_size
    images = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    full_logit, small_logit = answers(exported, images)[0], answers(small, images)[0]
    np.testing.assert_allclose(small_logit, full_logit, atol=close * np.abs(full_logit).max())
    assert not np.array_equal(small_logit, full_logit)


def repeated_matmul(path: Path, times: int, sign: float = 1.0) -> Path:
    """``logit`` = ± the images' first pixel, after so many products that take time."""
    eye = np.eye(256, dtype=np.float32)
    weights = [
        numpy_helper.from_array(eye, "eye"),
        numpy_helper.from_array(np.array([-1, 256], np.int64), "shape"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([-1], np.int64), "flat"),
        numpy_helper.from_array(np.float32(sign), "sign"),
    ]
    nodes = [helper.make_node("Reshape", ["images", "shape"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", "eye"], [f"x{n + 1}"]) for n in range(times)]
    nodes += [
        helper.make_node("Gather", [f"x{times}", "first"], ["pixel"], axis=1),
        helper.make_node("Reshape", ["pixel", "flat"], ["value"]),
        helper.make_node("Mul", ["value", "sign"], ["logit"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 1, 16, 16])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["B"])
    graph = helper.make_graph(nodes, "made up", [images], [logit], weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("full_times", "small_times", "sign", "kept"),
    [(400, 1, 1.0, True), (1, 400, 1.0, False), (400, 1, -1.0, False)],
    ids=["faster and as good", "slower", "faster and wrong"],
)
def test_the_gate_keeps_what_is_faster_and_as_good(
    tmp_path: Path, full_times: int, small_times: int, sign: float, kept: bool
) -> None:
    full = repeated_matmul(tmp_path / "full.onnx", full_times)
    small = repeated_matmul(tmp_path / "small.onnx", small_times, sign)
    images = np.random.default_rng(0).random((48, 1, 16, 16), np.float32)
    labels = images[:, 0, 0, 0] > 0.5

    def auc(logits: np.ndarray) -> float:
        return float(telltale_auc(logits, labels))

    from telltale.metrics import auc as telltale_auc

    found = gate(full, small, images, auc)
    assert found.kept == kept
    assert found.auc_full == 1.0
    assert found.auc_small == (1.0 if sign > 0 else 0.0)
    assert (found.speed > 1) == (full_times > small_times)
    assert found.bytes_full == full.stat().st_size
