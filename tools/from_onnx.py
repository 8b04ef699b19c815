"""Weights of a network out of the ONNX file that :mod:`telltale.export` made of it.

The exporter keeps the names of most weights. It transposes the matrices of linear layers and drops
their names, folds batch norms into the convolutions before them, and lays out the biases of window
attention a pair of tokens each. This undoes all three; what the file does not hold, such as a head
that was not exported, keeps the values that the network came with.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from telltale.nn.windows import WindowAttention


def restore(net: nn.Module, path: Path, images: torch.Tensor, prefix: str = "network.net.") -> int:
    """Fill ``net`` from a file; returns how many tensors were found.

    Args:
        net: Built as the one that was exported, or with more parts.
        path: The ONNX file.
        images: (B, 3, S, S), what the folded batch norms take their statistics from: in training
            they go on from there.
        prefix: Of the names in the file.
    """
    graph = onnx.load(str(path)).graph
    stored = {
        it.name: torch.from_numpy(numpy_helper.to_array(it).copy()) for it in graph.initializer
    }
    found = {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    found |= _matrices(graph, stored, prefix)
    state = net.state_dict()
    taken = {k: v for k, v in found.items() if k in state and v.shape == state[k].shape}
    folded = {k.removesuffix("_bias"): v for k, v in found.items() if k.endswith(".weight_bias")}
    net.load_state_dict(taken, strict=False)
    _window_biases(net, graph, stored)
    _unfold(net, folded, images)
    return len(taken)


def _matrices(graph: Any, stored: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Linear weights, named after the bias that is added to their product, or the norm before."""
    makers = {out: node for node in graph.node for out in node.output}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found = {}
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in stored:
            continue
        near = [*(user for user in users.get(node.output[0], []) if user.op_type == "Add")]
        names = [n for it in near for n in it.input if n.startswith(prefix) and n.endswith(".bias")]
        if names:
            name = names[0].removesuffix(".bias") + ".weight"
        else:  # a merge of 2 × 2 tokens has no bias: its norm stands right before
            before = makers[node.input[0]]
            norms = [n for n in before.input if n.endswith("downsample.norm.weight")]
            if not norms:
                continue
            name = norms[0].replace("norm.weight", "reduction.weight")
        found[name.removeprefix(prefix)] = stored[node.input[1]].T.contiguous()
    return found


def _window_biases(net: nn.Module, graph: Any, stored: dict[str, torch.Tensor]) -> None:
    """Tables of relative positions, in the order in which the layers come."""
    order = {name: k for k, node in enumerate(graph.node) for name in node.input if name in stored}
    layers = {n: m for n, m in net.named_modules() if isinstance(m, WindowAttention)}
    tokens = {m.window**2 for m in layers.values()}.pop()
    tables = []
    for name, value in stored.items():
        if not name.startswith(("permute", "index")) or name not in order:
            continue
        if value.ndim == 3 and value.shape[1:] == (tokens, tokens):
            value = value.permute(1, 2, 0).reshape(tokens**2, -1)
        if value.ndim == 2 and len(value) == tokens**2:
            tables.append((order[name], value))
    # A network's first stream to run is the one whose attention comes first in the graph.
    first = [n for n in layers if n.startswith("causal.")]
    rest = [n for n in layers if not n.startswith("causal.")]
    ordered = [*first, *rest]
    if len(tables) != len(ordered):
        raise ValueError(f"want {len(ordered)} tables of window biases, found {len(tables)}")
    with torch.no_grad():
        for name, (_, value) in zip(ordered, sorted(tables, key=lambda t: t[0]), strict=True):
            layer = layers[name]
            layer.relative_position_bias_table[layer.offsets.flatten()] = value


def _unfold(net: nn.Module, folded: dict[str, torch.Tensor], images: torch.Tensor) -> None:
    """Batch norms that give what the folded convolutions gave, with statistics of ``images``."""
    modules, pairs = dict(net.named_modules()), {}
    for name in folded:
        owner = name.removesuffix(".weight")
        norm = {"conv": "norm", "pointwise": "last_norm", "0": "1"}[owner.rpartition(".")[2]]
        pairs[owner] = owner.rpartition(".")[0] + "." + norm
    hooks = []

    def keep(norm: nn.BatchNorm2d, bias: torch.Tensor) -> Any:
        def hook(_: nn.Module, __: Any, out: torch.Tensor) -> None:
            mean, var = out.mean((0, 2, 3)), out.var((0, 2, 3))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
            norm.weight.data.copy_((var + norm.eps).sqrt())
            norm.bias.data.copy_(bias + mean)

        return hook

    for owner, name in pairs.items():
        norm = modules[name]
        assert isinstance(norm, nn.BatchNorm2d)
        hooks.append(modules[owner].register_forward_hook(keep(norm, folded[owner + ".weight"])))
    net.eval()
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()


def difference(net: nn.Module, path: Path, size: int = 256) -> float:
    """The largest difference of the two heat maps, in nats, up to a constant."""
    import onnxruntime
    from torch.nn.functional import adaptive_avg_pool2d

    given = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        mask = net.eval()(given).mask
    theirs = onnxruntime.InferenceSession(str(path)).run(["heatmap"], {"images": given.numpy()})[0]
    apart = adaptive_avg_pool2d(mask, theirs.shape[-1])[:, 0].numpy() - theirs
    return float(np.abs(apart - apart.mean()).max())
