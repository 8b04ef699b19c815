"""Hiding a picture in another: an invertible network that mixes their wavelet bands, after HiNet.

    u, v = haar(cover), haar(secret)                      sixteen times:
    u' = u + φ(v)        v' = v ⊙ exp(α(2s(ρ(u')) - 1)) + η(u')
    stego = unhaar(u),   z = v is dropped;   to recover, invert with z ~ N(0, 1)

s is the logistic function, so each factor stays within e^±α. φ, ρ and η start at zero, and so the
stego picture starts as the cover.

Source: Jing et al., "HiNet: Deep Image Hiding by Invertible Network", ICCV 2021.
Departures: terms of the loss are sums over a picture's values, averaged over the batch. The recipes
have one optimiser for all (AdamW, β 0.9 and 0.999, gradients of norm 1 at most); the authors train
with Adam at 10^-4.5, β 0.5 and 0.999, ε 1e-6, weight decay 1e-5, halved every 1,000 epochs.

:func:`mix` and :func:`mix_bands` hide without a network, for tests and small machines.

Whoever has the network can recover what it hid, and a steganalyser may see that something is
hidden: this keeps a face from a curious reader, it is no cipher.
"""

from typing import cast

import torch
from torch import Tensor, nn

from telltale.nn.contract import Losses
from telltale.nn.wavelet import haar, unhaar

CLAMP = 2.0  # α
BANDS = 12  # of an RGB picture
RECOVERY, LIKENESS, LOW_LIKENESS = 5.0, 1.0, 1.0  # weights of the loss


class HidingNetwork(nn.Module):
    """Hides RGB pictures (B, 3, H, W) in [0, 1] in covers of the same shape.

    Args:
        blocks: Invertible steps.
        growth: Channels that each convolution of a dense part adds.

    Raises:
        ValueError: If there is no block, or pictures and covers are not alike.
    """

    def __init__(self, *, blocks: int = 16, growth: int = 32) -> None:
        super().__init__()
        if blocks < 1 or growth < 1:
            raise ValueError(f"want blocks and growth of 1 or more, got {blocks} and {growth}")
        self.blocks = nn.ModuleList(InvertibleBlock(growth) for _ in range(blocks))

    def forward(self, secrets: Tensor, covers: Tensor) -> tuple[Tensor, Tensor]:
        """Stego pictures (B, 3, H, W), not yet rounded, and what was lost, z (B, 12, H/2, W/2)."""
        u, v = haar(covers), haar(secrets)
        for block in self.blocks:
            u, v = block(u, v)
        return unhaar(u), v

    def recover(self, stego: Tensor, lost: Tensor | None = None) -> Tensor:
        """The secrets again: exact with z and without rounding, else with random z."""
        u = haar(stego)
        v = torch.randn_like(u) if lost is None else lost
        for block in list(self.blocks)[::-1]:
            u, v = cast("InvertibleBlock", block).inverse(u, v)
        return unhaar(v)

    def loss(self, secrets: Tensor, covers: Tensor) -> Losses:
        """Terms to sum and minimise: a secret that comes back, a stego picture like its cover."""
        stego, _ = self(secrets, covers)
        low, cover_low = haar(stego)[:, :3], haar(covers)[:, :3]
        return {
            "recovery": RECOVERY * _squared(self.recover(stego), secrets),
            "likeness": LIKENESS * _squared(stego, covers),
            "low_likeness": LOW_LIKENESS * _squared(low, cover_low),
        }


class InvertibleBlock(nn.Module):
    """One step of bands (B, 12, h, w) of cover and secret."""

    def __init__(self, growth: int) -> None:
        super().__init__()
        self.phi, self.rho, self.eta = (DenseBlock(BANDS, growth) for _ in range(3))

    def forward(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        u = u + self.phi(v)
        return u, v * self.factor(u) + self.eta(u)

    def inverse(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = (v - self.eta(u)) / self.factor(u)
        return u - self.phi(v), v

    def factor(self, u: Tensor) -> Tensor:
        return torch.exp(CLAMP * (2 * torch.sigmoid(self.rho(u)) - 1))


class DenseBlock(nn.Module):
    """Convolutions that each see the input and all outputs before; the last starts at zero."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [channels + number * growth for number in range(5)]
        outs = [growth] * 4 + [channels]
        self.convs = nn.ModuleList(
            nn.Conv2d(wide, out, 3, padding=1) for wide, out in zip(widths, outs, strict=True)
        )
        self.act = nn.LeakyReLU(0.01)
        last = self.convs[-1]
        for weight in last.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.convs
        for conv in hidden:
            x = torch.cat([x, self.act(conv(x))], 1)
        y: Tensor = last(x)
        return y


def mix(secrets: Tensor, covers: Tensor, strength: float) -> Tensor:
    """The cover with a share of the secret, pixel by pixel."""
    return (1 - strength) * covers + strength * secrets


def mix_bands(secrets: Tensor, covers: Tensor, strength: float) -> Tensor:
    """The cover, whose high bands all take a share of the secret's low band."""
    low, high = haar(covers).split([3, 9], 1)
    secret = haar(secrets)[:, :3].repeat(1, 3, 1, 1) - 1  # in [-1, 1], grey is 0
    return unhaar(torch.cat([low, (1 - strength) * high + strength * secret], 1))


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of a picture, the mean over the batch."""
    return (a - b).square().sum() / len(a)
