"""N:M weights as values and places: a file format, and products that skip the zeros.

A block of M keeps N values and N places of ⌈log2 M⌉ bits; a file holds the places as bytes. On
hardware with sparse tensor cores :func:`semi_structured` gives torch's own 2:4 tensor; on a CPU the
product runs over scipy's compressed rows.
"""

import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.spiking.blocks import in_blocks, inner_layers, out_of_blocks, violations

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Packed(NamedTuple):
    """A weight's blocks: values and places (O, blocks, N), and the shape that it had."""

    values: Tensor
    places: Tensor  # uint8, below M, rising; a block with fewer values is filled by zeros
    shape: tuple[int, ...]
    m: int

    @property
    def bits(self) -> int:
        """Bits of values and places, the latter ⌈log2 M⌉ each."""
        each = 8 * self.values.element_size() + max(1, math.ceil(math.log2(self.m)))
        return self.values.numel() * each


def pack(weight: Tensor, n: int, m: int) -> Packed:
    """Values and places of a weight (O, C, …) with at most N of every M.

    Raises:
        ValueError: If a block has more, or M is above 256.
    """
    if m > 256 or (wrong := violations(weight, n, m)):
        raise ValueError(f"want {n}:{m} weights and m ≤ 256; {wrong if m <= 256 else 'm'} is not")
    blocks = in_blocks(weight.detach(), m)
    # Non-zero places first, in order; ties among the rest do not matter.
    places = (blocks != 0).to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices
    places = places[..., :n].sort(dim=-1).values
    return Packed(blocks.gather(-1, places), places.to(torch.uint8), tuple(weight.shape), m)


def unpack(packed: Packed) -> Tensor:
    """The weight, exactly as it was."""
    rows, count, _ = packed.values.shape
    blocks = packed.values.new_zeros(rows, count, packed.m)
    blocks.scatter_(-1, packed.places.long(), packed.values)
    return out_of_blocks(blocks, packed.values.new_empty(packed.shape))


def pack_network(
    network: nn.Module, n: int, m: int, skip: Collection[str] | None = None
) -> dict[str, Tensor]:
    """A network's state with every N:M weight packed; ``skip`` as in ``inner_layers``."""
    names = {f"{name}.weight" for name in inner_layers(network, skip)}
    state: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if name in names:
            made = pack(value, n, m)
            state[f"{name}:values"], state[f"{name}:places"] = made.values, made.places
            state[f"{name}:shape"] = torch.tensor([*made.shape, m])
        else:
            state[name] = value
    return state


def unpack_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`pack_network` packed, as a network's state.

    Raises:
        ValueError: If a part of a packed weight is missing.
    """
    found = {name: value for name, value in state.items() if ":" not in name}
    for name in sorted({name.partition(":")[0] for name in state if ":" in name}):
        try:
            *shape, m = state[f"{name}:shape"].tolist()
            found[name] = unpack(
                Packed(state[f"{name}:values"], state[f"{name}:places"], tuple(shape), m)
            )
        except KeyError as error:
            raise ValueError(f"{name}: not whole, {error} is missing") from None
    return found


def write_packed(
    network: nn.Module, path: Path, n: int, m: int, skip: Collection[str] | None = None
) -> None:
    """Write :func:`pack_network`'s state as safetensors, by a rename."""
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    state = {name: value.contiguous() for name, value in pack_network(network, n, m, skip).items()}
    save_file(state, part, {"pattern": f"{n}:{m}"})
    os.replace(part, path)


def sparse_linear(packed: Packed) -> "csr_array":
    """The weight as scipy's compressed rows (O, C · …), input channels fastest."""
    from scipy.sparse import csr_array

    rows, count, _ = packed.values.shape
    width = math.prod(packed.shape[1:])
    columns = packed.places.long() + packed.m * torch.arange(count)[:, None]
    inside = (columns < width) & (packed.values != 0)
    starts = F.pad(inside.flatten(1).sum(1).cumsum(0), (1, 0))
    parts = (packed.values[inside].numpy(), columns[inside].numpy(), starts.numpy())
    return csr_array(parts, shape=(rows, width))


def sparse_product(rows: "csr_array", inputs: Tensor) -> Tensor:
    """Inputs (B, C) times :func:`sparse_linear`'s weight: (B, O)."""
    return torch.from_numpy(rows @ inputs.numpy().T).T


def sparse_convolution(rows: "csr_array", inputs: Tensor, kernel: int, padding: int) -> Tensor:
    """A convolution of stride 1 by :func:`sparse_linear`'s weight: (B, C, H, W) to (B, O, H, W)."""
    count, channels, height, width = inputs.shape
    patches = F.unfold(inputs, kernel, padding=padding)  # (B, C k k, places), channels slowest
    places = patches.shape[-1]
    ordered = patches.unflatten(1, (channels, -1)).movedim(1, 2).flatten(1, 2)
    flat = ordered.movedim(1, 0).flatten(1).contiguous()
    found = torch.from_numpy(rows @ flat.numpy()).unflatten(1, (count, places)).movedim(0, 1)
    wide = width + 2 * padding - kernel + 1
    made: Tensor = found.unflatten(2, (height + 2 * padding - kernel + 1, wide))
    return made


def semi_structured(weight: Tensor) -> Tensor:
    """Torch's own 2:4 tensor of a matrix (O, C), for GPUs with sparse tensor cores.

    Raises:
        ValueError: If the machine has none or the matrix is not 2:4.
    """
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        raise ValueError("2:4 kernels want an NVIDIA GPU of compute capability 8.0 or more")
    if weight.ndim != 2 or violations(weight, 2, 4):
        raise ValueError(f"want a 2:4 matrix (O, C), got {tuple(weight.shape)}")
    from torch.sparse import to_sparse_semi_structured

    found: Tensor = to_sparse_semi_structured(weight.half().cuda())
    return found
