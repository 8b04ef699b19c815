"""The plain residual block of two convolutions, for small trunks that a method makes itself.

    x ← relu(short(x) + norm(conv(relu(norm(conv(x))))))

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Maps (B, C, h, w) to (B, D, h, w); where the width changes, to half the size, rounded up."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        stride = 1 if into == out else 2
        self.first = conv_norm(into, out, stride=stride)
        self.second = conv_norm(out, out)
        self.short = nn.Identity() if into == out else conv_norm(into, out, stride=2, size=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.short(x) + self.second(F.relu(self.first(x))))


def conv_norm(into: int, out: int, *, stride: int = 1, size: int = 3) -> nn.Sequential:
    """A convolution and its batch norm."""
    conv = nn.Conv2d(into, out, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))
