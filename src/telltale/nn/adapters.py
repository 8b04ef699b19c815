"""Blocks of a frozen transformer with something small and trainable beside their MLP.

    x ← x + attention(LN₁ x)        y = LN₂ x
    beside:  x ← x + MLP(y) + A(y)          after:  x ← x + MLP(y) + A(MLP(y))
    beside both:  also  x ← x + attention(LN₁ x) + A₁(LN₁ x)

An A whose last layer starts at zero leaves the pretrained network as it was.

Source: Chen et al., "AdaptFormer", NeurIPS 2022, arXiv:2205.13535 (beside); Houlsby et al.,
"Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv:1902.00751 (after).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from telltale.nn.vit import Block, ViT


class AdaptedBlock(nn.Module):
    """A pretrained block and a trainable module from tokens (B, N, C) to tokens (B, N, C).

    Args:
        base: The block; what of it is frozen stays as the caller left it.
        adapter: A of the equations above.
        after: Read the MLP's output in place of its input.
        first: A₁, beside the attention; None for none.
    """

    def __init__(
        self,
        base: Block,
        adapter: nn.Module,
        *,
        after: bool = False,
        first: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self.first = first
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[0]

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's tokens, and the pretrained MLP's own answer among them."""
        base = self.base
        y = base.norm1(x)
        x = x + base.ls1(base.attn(y))
        if self.first is not None:
            x = x + self.first(y)
        y = base.norm2(x)
        known: Tensor = base.ls2(base.mlp(y))
        tokens: Tensor = x + known + self.adapter(known if self.after else y)
        return tokens, known


def beside_mlp(vit: nn.Module, make: Callable[[int], nn.Module], *, after: bool = False) -> None:
    """Give each block of ``vit`` an adapter of its own, in place.

    Freeze first: this leaves every weight as trainable as it was.

    Args:
        vit: One of ours.
        make: Width C to a fresh adapter; called once a block, in order.
        after: As for :class:`AdaptedBlock`.

    Raises:
        ValueError: If it is no ViT of ours.
    """
    if not isinstance(vit, ViT):
        raise ValueError(f"want a ViT of telltale.nn.vit, got {type(vit).__name__}")
    for number, block in enumerate(vit.blocks):
        vit.blocks[number] = AdaptedBlock(block, make(vit.width), after=after)  # type: ignore[arg-type]


def beside_both(vit: nn.Module, make: Callable[[int], nn.Module]) -> None:
    """As :func:`beside_mlp`, with a second adapter beside each attention."""
    if not isinstance(vit, ViT):
        raise ValueError(f"want a ViT of telltale.nn.vit, got {type(vit).__name__}")
    for number, block in enumerate(vit.blocks):
        first = make(vit.width)
        vit.blocks[number] = AdaptedBlock(block, make(vit.width), first=first)  # type: ignore[arg-type]


def quick_gelu(x: Tensor) -> Tensor:
    """u·s(1.702u), s the logistic function."""
    return x * torch.sigmoid(1.702 * x)
