"""A Siamese tracker: where in a search region is what a template shows?

    v = s · f(z) ⋆ f(x)            f a small network without padding, ⋆ cross-correlation

Windows are squares round a box with context: of side √((w + p)(h + p)), p = (w + h) / 2, for the
template, and larger in the same scale for the search region. Boxes are (x, y, w, h) in pixels from
the upper left corner. Beyond a frame's edge comes its mean colour.

Source: Bertinetto et al., "Fully-Convolutional Siamese Networks for Object Tracking", ECCV
Workshops 2016, arXiv:1606.09549. The "toy" of three convolutions is ours, for trials on a CPU.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses

RADIUS = 2  # cells round the target, in steps along rows and columns, that count as it
SHIFT = 0.15  # of the search window: how far from its middle the target is in training
WINDOW = 0.2  # share of a cosine window in the response when a target is followed


class TrackerShape(NamedTuple):
    """Sides of template and search region in pixels, the response's factor, a cell's pixels."""

    template: int
    search: int
    scale: float
    stride: int


class Tracker(nn.Module):
    """Frames (B, 3, H, W), float sRGB in [0, 1], to responses (B, R, R) in nats.

    Args:
        name: "siamfc", an AlexNet without padding, or "toy".
        size: Of the template; SiamFC's is a pixel smaller, as in the paper.

    Raises:
        ValueError: If the name is another or the template is too small.
    """

    def __init__(self, name: str = "siamfc", *, size: int = 128) -> None:
        super().__init__()
        if name == "siamfc" and size >= 88:
            self.shape = TrackerShape(size - 1, 2 * size - 1, 1e-3, 8)
            self.features = alexnet()
        elif name == "toy" and size >= 16:
            self.shape = TrackerShape(size, 2 * size, 0.02, 4)
            self.features = three()
        else:
            raise ValueError(
                f"want tracker siamfc of 88 pixels or more or toy of 16 or more, got {name!r} "
                f"of {size}"
            )

    def forward(self, templates: Tensor, searches: Tensor) -> Tensor:
        """Responses of templates (B, 3, t, t) and search regions (B, 3, s, s)."""
        kernels, maps = self.features(255 * templates), self.features(255 * searches)
        count = len(kernels)
        response = F.conv2d(maps.flatten(0, 1)[None], kernels, groups=count)
        return self.shape.scale * response[0]

    def loss(self, clips: Tensor, tracks: Tensor) -> Losses:
        """To train it on pairs of frames (B, 2, 3, H, W) with boxes (B, 2, 4)."""
        want_clips(clips, tracks)
        first, second = clips.unbind(1)
        return {"track": self.error(first, tracks[:, 0], second, tracks[:, 1])}

    def error(self, first: Tensor, boxes: Tensor, second: Tensor, others: Tensor) -> Tensor:
        """Balanced cross entropy of the response of one frame's target in another frame."""
        windows = search_windows(others, self.shape)
        reach = SHIFT * windows[:, 2:]
        moved = windows[:, :2] + reach * (2 * torch.rand_like(windows[:, :2]) - 1)
        response = self(
            crop(first, template_windows(boxes), self.shape.template),
            crop(second, torch.cat([moved, windows[:, 2:]], 1), self.shape.search),
        )
        cells = (windows[:, :2] - moved) / windows[:, 2:] * self.shape.search / self.shape.stride
        return balanced(response, cells)

    def embed(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """The mean feature of targets with their context (B, C)."""
        cut = crop(frames, template_windows(boxes), self.shape.template)
        found: Tensor = self.features(255 * cut).mean((2, 3))
        return found

    @torch.no_grad()
    def misses(self, first: Tensor, boxes: Tensor, second: Tensor, others: Tensor) -> Tensor:
        """Pixels (B,) between where one frame's target is found in another and where it is.

        Each search window is moved by up to a fifth of its side, the same each time.
        """
        windows = search_windows(others, self.shape)
        random = torch.Generator().manual_seed(0)
        drawn = 2 * torch.rand(len(others), 2, generator=random) - 1
        moved = windows[:, :2] + 0.2 * windows[:, 2:] * drawn
        response = self(
            crop(first, template_windows(boxes), self.shape.template),
            crop(second, torch.cat([moved, windows[:, 2:]], 1), self.shape.search),
        )
        side = response.shape[-1]
        best = response.flatten(1).argmax(1)
        cells = torch.stack([best % side, best // side], 1) - (side - 1) / 2
        found = moved + cells * self.shape.stride * windows[:, 2:] / self.shape.search
        apart: Tensor = (found - windows[:, :2]).norm(dim=1)
        return apart

    @torch.no_grad()
    def follow(self, clip: Tensor, box: Tensor) -> Tensor:
        """Boxes (T, 4) through a clip (T, 3, H, W), of the size of the first one, ``box`` (4,)."""
        found, box = [box], box[None]
        template = crop(clip[:1], template_windows(box), self.shape.template)
        for frame in clip[1:]:
            window = search_windows(box, self.shape)
            response = self(template, crop(frame[None], window, self.shape.search))[0]
            side = response.shape[-1]
            hann = torch.hann_window(side + 2, periodic=False)[1:-1]
            near = WINDOW * torch.outer(hann, hann)
            best = int(((1 - WINDOW) * response.sigmoid() + near).argmax())
            cells = torch.tensor([[best % side, best // side]]) - (side - 1) / 2
            moved = cells * self.shape.stride * window[:, 2:] / self.shape.search
            box = torch.cat([box[:, :2] + moved, box[:, 2:]], 1)
            found.append(box[0])
        return torch.stack(found)


def alexnet() -> nn.Sequential:
    """SiamFC's network: 127 pixels to 6 × 6 maps of 256, 255 to 22 × 22."""
    return nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 2), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, groups=2), nn.BatchNorm2d(256), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3), nn.BatchNorm2d(384), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, groups=2), nn.BatchNorm2d(384), nn.ReLU()),
        nn.Conv2d(384, 256, 3, groups=2),
    )


def three() -> nn.Sequential:
    """Three convolutions of 32 channels: 32 pixels to 4 × 4 maps, 64 to 12 × 12."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 5, 2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Conv2d(32, 32, 3),
    )


def template_windows(boxes: Tensor) -> Tensor:
    """Middle and side of the squares round boxes (B, 4) with their context, (B, 3)."""
    size = boxes[:, 2:]
    context = size.mean(1, keepdim=True)
    side = (size + context).prod(1, keepdim=True).sqrt()
    return torch.cat([boxes[:, :2] + size / 2, side], 1)


def search_windows(boxes: Tensor, shape: TrackerShape) -> Tensor:
    """The same, as much larger as the search region is than the template."""
    windows = template_windows(boxes)
    return torch.cat([windows[:, :2], windows[:, 2:] * shape.search / shape.template], 1)


def crop(frames: Tensor, windows: Tensor, side: int) -> Tensor:
    """Square windows (B, 3), middle and side in pixels, of frames: (B, 3, side, side), bilinear."""
    height, width = frames.shape[-2:]
    size = torch.tensor([width, height], dtype=frames.dtype, device=frames.device)
    unit = (torch.arange(side, device=frames.device, dtype=frames.dtype) + 0.5) / side - 0.5
    offsets = torch.stack(torch.meshgrid(unit, unit, indexing="xy"), -1)  # x, then y
    places = windows[:, None, None, :2] + windows[:, None, None, 2:] * offsets
    grid = 2 * places / size - 1
    mean = frames.mean((2, 3), keepdim=True)
    # Zeros come in from beyond the edge: they are to be the mean colour.
    return F.grid_sample(frames - mean, grid, align_corners=False) + mean


def balanced(response: Tensor, cells: Tensor) -> Tensor:
    """Cross entropy where cells near the target weigh half, and all others half.

    Args:
        response: (B, R, R).
        cells: (B, 2) x and y of the target from the middle of the response, in cells.
    """
    target, weight = wanted(response, cells)
    each = F.binary_cross_entropy_with_logits(response, target, reduction="none")
    return (weight * each).sum((1, 2)).mean()


def wanted(response: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (B, R, R) and weights that sum to 1 for each item; see :func:`balanced`."""
    side = response.shape[-1]
    line = torch.arange(side, dtype=response.dtype, device=response.device) - (side - 1) / 2
    x = (line - cells[:, :1]).abs()[:, None, :]
    y = (line - cells[:, 1:]).abs()[:, :, None]
    target = (x + y <= RADIUS).to(response.dtype)
    count = target.sum((1, 2), keepdim=True)
    positive = target / count.clamp(min=1)
    negative = (1 - target) / (side**2 - count).clamp(min=1)
    return target, (positive + negative) / 2


def want_clips(clips: Tensor, tracks: Tensor) -> None:
    """Raise ValueError if they are no pairs of frames (B, 2, 3, H, W) with boxes (B, 2, 4)."""
    shape = tuple(clips.shape)
    if len(shape) != 5 or shape[1:3] != (2, 3) or not clips.is_floating_point():
        raise ValueError(f"want float clips (B, 2, 3, H, W), got {clips.dtype} {shape}")
    for number, boxes in enumerate(tracks.unbind(1) if tracks.ndim == 3 else [tracks]):
        want_boxes(boxes, clips[:, number])
    if tracks.shape != (shape[0], 2, 4):
        raise ValueError(f"want tracks ({shape[0]}, 2, 4), got {tuple(tracks.shape)}")


def want_boxes(boxes: Tensor, frames: Tensor) -> None:
    """Raise ValueError unless boxes are float (B, 4) with sides above 0, and frames RGB."""
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise ValueError(
            f"want float frames (B, 3, H, W), got {frames.dtype} {tuple(frames.shape)}"
        )
    if boxes.shape != (len(frames), 4) or not boxes.is_floating_point():
        got = f"{boxes.dtype} {tuple(boxes.shape)}"
        raise ValueError(f"want float boxes ({len(frames)}, 4) of x, y, w, h, got {got}")
    if not bool((boxes[:, 2:] > 0).all()):
        raise ValueError("want boxes with sides above 0")
