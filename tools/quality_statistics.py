"""What a crop's pixels say of its quality, as numbers: the fixed part of the shipped rater.

Statistics of local contrast (the mean subtracted, divided by the deviation, as Mittal et al., IEEE
TIP 2012, have it), of differences of neighbours, of tones, of JPEG's 8 × 8 grid and of where in the
crop little or much happens, at three scales. Nothing here is trained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = 3
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
PIXELS = (1, 2, 3)  # axes


class Statistics(nn.Module):
    """Crops (N, 3, S, S), S a multiple of 8, to numbers (N, F)."""

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, -2.0, 1.0])
        self.register_buffer("ycc", torch.tensor(YCC)[:, :, None, None], persistent=False)
        self.register_buffer("tones_at", torch.linspace(0, 1, 12).view(1, -1, 1, 1), False)
        self.register_buffer("spreads_at", torch.linspace(-7.5, -1.5, 9).view(1, -1, 1, 1), False)
        cross = torch.outer(line, line).expand(3, 1, 3, 3).contiguous()
        self.register_buffer("cross", cross, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        x = F.conv2d(images, self.ycc)
        found = [self.tones(x), grid(x[:, :1]), places(x[:, :1]), odd(images)]
        for scale in range(SCALES):
            x = F.avg_pool2d(x, 2) if scale else x
            found += [self.structure(x[:, :1]), self.changes(x), together(x)]
        return torch.cat(found, 1)

    def tones(self, x: Tensor) -> Tensor:
        """Means, deviations, a soft histogram of luma, how much colour, how much is clipped."""
        y, mean = x[:, :1], x.mean((2, 3))
        spread = (x - mean[..., None, None]).square().mean((2, 3)).sqrt()
        histogram = (-((y - self.tones_at) / 0.05).square()).exp().mean((2, 3))
        colour = (x[:, 1:].square().sum(1, keepdim=True) + 1e-8).sqrt()
        parts = [mean, log(spread), histogram, log(colour.mean((2, 3))), colour.amax((2, 3))]
        parts += [(y < 0.01).float().mean((2, 3)), (y > 0.985).float().mean((2, 3))]
        return torch.cat(parts, 1)

    def structure(self, y: Tensor) -> Tensor:
        """Moments of locally normalised luma, products of neighbours, how the deviation spreads."""
        apart = y - local(y)
        spread = (local(apart.square()) + 1e-8).sqrt()
        n = apart / (spread + 0.01)
        square = n.square()
        found = [n.abs().mean(PIXELS), log(square.mean(PIXELS)), log(square.square().mean(PIXELS))]
        found.append((n * square).mean(PIXELS))
        for down, right in NEIGHBOURS:
            one, other = shifted(n, down, right)
            both = one * other
            found += [both.mean(PIXELS), log(both.abs().mean(PIXELS))]
            if (down, right) in ((0, 1), (1, 0), (1, 1), (1, -1)):
                found += [both.relu().mean(PIXELS), log(both.square().mean(PIXELS))]
        logs = log(spread)
        mean = logs.mean((2, 3), keepdim=True)
        deviation = (logs - mean).square().mean(PIXELS).sqrt()
        skew = (logs - mean).pow(3).mean(PIXELS) / (deviation.pow(3) + 1e-3)
        found += [mean[:, 0, 0, 0], deviation, skew]
        levels = ((logs - self.spreads_at) * 3).sigmoid().mean((2, 3))
        return torch.cat([torch.stack(found, 1), levels], 1)

    def changes(self, x: Tensor) -> Tensor:
        """First and second differences of luma and chroma: how large, how uneven, how many none."""
        across, down = x[..., 1:] - x[..., :-1], x[:, :, 1:] - x[:, :, :-1]
        seconds = across[..., 1:] - across[..., :-1], down[:, :, 1:] - down[:, :, :-1]
        found = []
        for d in (across, down, *seconds):
            size, square = d.abs(), d.square()
            mean = log(size.mean((2, 3)))
            none = (-square / 0.003**2).exp().mean((2, 3))
            found += [mean, log(square.mean((2, 3)).sqrt()) - mean, none, size.amax((2, 3))]
        fine = F.conv2d(x, self.cross, groups=3).abs()
        blocks = F.avg_pool2d(fine, 8)
        found += [log(fine.mean((2, 3))), log(blocks.amin((2, 3))), log(blocks.amax((2, 3)))]
        return torch.cat(found, 1)


def together(x: Tensor) -> Tensor:
    """Whether luma and chroma change at the same places, or at places some pixels apart."""
    change = (x[..., 1:] - x[..., :-1]).abs()
    y, c = change[:, :1], change[:, 1:]
    scale = (y.square().mean((2, 3)) * c.square().mean((2, 3)) + 1e-10).sqrt()
    here = (y * c).mean((2, 3)) / scale
    found = [here]
    for far in (2, 5):
        found.append((y[..., far:] * c[..., :-far]).mean((2, 3)) / scale - here)
        found.append((y[..., :-far] * c[..., far:]).mean((2, 3)) / scale - here)
    return torch.cat(found, 1)


def grid(y: Tensor) -> Tensor:
    """How uneven differences of neighbours are over the eight places of a period of 8 pixels."""
    found = []
    for d in (y[..., 1:] - y[..., :-1], (y[:, :, 1:] - y[:, :, :-1]).transpose(2, 3)):
        height, width = (int(n) for n in d.shape[2:])
        periods = F.pad(d.abs(), (0, 1)).reshape(-1, height, (width + 1) // 8, 8)
        each = periods.mean((1, 2)) + 1e-4
        share = each / each.mean(1, keepdim=True)
        found += [share.amax(1), share.amin(1), (share - 1).square().mean(1).sqrt()]
    return torch.stack(found, 1)


def places(y: Tensor) -> Tensor:
    """Quantiles over blocks of 8 × 8 of how much happens along both diagonals."""
    one, other = y[..., 1:, 1:] - y[..., :-1, :-1], y[..., 1:, :-1] - y[..., :-1, 1:]
    ordered = log(F.avg_pool2d(one.abs() + other.abs(), 8)).flatten(1).sort(1)[0]
    last = int(ordered.shape[1]) - 1
    return ordered[:, [round(share * last) for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]]


def odd(images: Tensor) -> Tensor:
    """Logarithms of how many pixels are black, white, or unlike their eight neighbours."""
    apart = (images[..., 1:-1, 1:-1] - F.avg_pool2d(images, 3, 1)).abs()
    found = [images < 0.004, images > 0.996, *(apart > least for least in (0.05, 0.15, 0.3))]
    return torch.cat([(it.float().mean((2, 3)) + 1e-3).log() for it in found], 1)


def local(x: Tensor) -> Tensor:
    """Mean over 5 × 5 pixels, the picture mirrored at its edges."""
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 5, 1)


def shifted(x: Tensor, down: int, right: int) -> tuple[Tensor, Tensor]:
    """Each pixel and the one so far from it, where both are there."""
    height, width = (int(n) for n in x.shape[2:])
    left, back = max(0, right), max(0, -right)
    return x[:, :, : height - down, back : width - left], x[:, :, down:, left : width - back]


def log(x: Tensor) -> Tensor:
    return (x + 1e-5).log()
