"""Models that can be explained: networks on a vision transformer, and whatever answers pictures.

:class:`Traced` looks into a network on one of our ViTs: features are patch tokens, and the maps
of attention are the ones that multiply the values. :class:`Blocks` looks at nothing but answers:
features are blocks of pixels, so it takes convolutional networks and exported files, too.

Both follow :class:`telltale.explain.maps.Subject`.

Source: Liu et al., "Rethinking Attention-Model Explainability through Faithfulness Violation
Test", ICML 2022, arXiv:2201.12114, for the removals of tokens.
Departures: blocks of pixels cannot be cut out of a picture, nor can attention to them be forbidden;
they are set to black, to the picture's mean colour, or to their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.explain.maps import Subject, Trace
from telltale.nn.vit import Attention, ViT

REMOVALS = ("zero", "slice", "attention")
BLOCK_REMOVALS = ("zero", "mean", "flat")  # black, the picture's mean colour, the block's own


class Traced(nn.Module):
    """A network on a ViT, seen from its patch tokens on.

    Args:
        network: From images to class logits (B, K) or to an answer with a ``logit`` (B,); in eval
            mode.

    Raises:
        ValueError: If there is no ViT of ours in it, or it does not begin with the ViT.
    """

    lead = 1

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        trunks = [it for it in network.modules() if isinstance(it, ViT)]
        if len(trunks) != 1:
            raise ValueError(
                f"want a network on one ViT of ours, got {type(network).__name__} with "
                f"{len(trunks)}; telltale.explain.subjects.Blocks takes any network"
            )
        self.network = network
        self.trunk = trunks[0]
        self.images: Tensor | None = None  # of the batch at hand: other branches look at them
        self.removals = self._removals()

    @property
    def side(self) -> int:
        """Side of the pictures in pixels."""
        return self.trunk.shape.size

    def features(self, samples: Tensor) -> Tensor:
        """Patch tokens with their positions, (B, n, C)."""
        self.images = samples
        found: Tensor = self.trunk.start(samples)[:, 1:]
        return found

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        """See :class:`telltale.explain.maps.Subject`."""
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_(True)
        return traced(self.network, self.trunk, self._given(len(features)), features, keep, how)

    def answer(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Tensor:
        """The logits alone, by fused attention."""
        images = self._given(len(features))
        return traced(self.network, self.trunk, images, features, keep, how, fused=True).logits

    def _given(self, count: int) -> Tensor:
        if self.images is None or len(self.images) != count:
            raise ValueError("want features of the batch that features() was given last")
        return self.images

    def _removals(self) -> tuple[str, ...]:
        """The removals that the network bears: some want their grid of patches whole."""
        images = torch.zeros(1, 3, self.side, self.side)
        with torch.no_grad():
            features = self.features(images)
            self.answer(features)
            keep = torch.ones(features.shape[:2]).index_fill(1, torch.tensor([0]), 0.0)
            try:
                self.answer(features, keep, "slice")
            except (RuntimeError, ValueError):
                return tuple(how for how in REMOVALS if how != "slice")
            finally:
                self.images = None
        return REMOVALS


class Blocks(nn.Module):
    """Anything that answers pictures, seen as a grid of blocks of pixels.

    Args:
        answers: From images (B, 3, S, S) to class logits (B, K), or to log-odds (B,), or to an
            answer with a ``logit``.
        side: S in pixels.
        grid: Blocks a side.

    Raises:
        ValueError: If the grid does not divide the side.
    """

    lead = 0
    removals = BLOCK_REMOVALS

    def __init__(self, answers: Callable[[Tensor], Any], *, side: int, grid: int = 8) -> None:
        super().__init__()
        if grid < 2 or side % grid:
            raise ValueError(f"want 2 blocks a side or more that divide {side} pixels, got {grid}")
        self.answers = answers
        self.side = side
        self.grid = grid

    def features(self, samples: Tensor) -> Tensor:
        """Pixels of blocks, (B, n, 3·p²)."""
        return F.unfold(samples, self.side // self.grid, stride=self.side // self.grid).mT

    def images(self, features: Tensor) -> Tensor:
        """The pictures (B, 3, S, S) that features are of."""
        step = self.side // self.grid
        return F.fold(features.mT, (self.side, self.side), step, stride=step)

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        """See :class:`telltale.explain.maps.Subject`; there is no attention to see."""
        return Trace(self.answer(features, keep, how), [], features)

    def answer(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Tensor:
        """The logits (B, K)."""
        if how not in self.removals:
            raise ValueError(f"want a removal of {', '.join(self.removals)}, got {how!r}")
        if keep is not None:
            features = torch.where(keep[..., None] > 0, features, self._filling(features, how))
        return as_logits(self.answers(self.images(features)))

    def _filling(self, features: Tensor, how: str) -> Tensor:
        if how == "zero":
            return torch.zeros_like(features)
        colours = features.unflatten(-1, (3, -1))  # (B, n, 3, p²)
        flat = colours.mean(-1, keepdim=True)
        if how == "mean":
            flat = flat.mean(1, keepdim=True)
        filling: Tensor = flat.expand_as(colours).flatten(2)
        return filling


def as_logits(answer: Any) -> Tensor:  # noqa: ANN401  # Evidence or a tensor
    """Class logits (B, K) of an answer; log-odds (B,) become those of two classes."""
    found: Tensor = answer if isinstance(answer, Tensor) else answer.logit
    return torch.stack([-found / 2, found / 2], 1) if found.ndim == 1 else found


def traced(  # what a run is made of
    network: nn.Module,
    trunk: ViT,
    images: Tensor,
    features: Tensor,
    keep: Tensor | None,
    how: str,
    *,
    fused: bool = False,
) -> Trace:
    """Run a network whose trunk begins with ``features``, and see its attention.

    Args:
        network: Calls ``trunk.start`` on images.
        trunk: Its ViT, adapted or not.
        images: (B, 3, S, S), for branches beside the trunk.
        features: Patch tokens (B, n, C).
        keep: (B, n), 0 where a patch is removed.
        how: The removal.
        fused: Only the logits are wanted: no map is kept.
    """
    features, allowed = removed(features, keep, how)
    first = (trunk.cls_token + trunk.pos_embed[:, :1]).expand(len(features), -1, -1)
    tokens = torch.cat([first, features], 1)
    if allowed is not None:
        allowed = F.pad(allowed, (1, 0), value=1.0)
    maps: list[Tensor] = []
    last: list[tuple[Attention, Tensor]] = []
    calls: list[int] = []

    def start(_: Tensor) -> Tensor:
        calls.append(1)
        return tokens

    def attend(attention: Attention) -> Callable[[Tensor], Tensor]:
        def mixed(qkv: Tensor) -> Tensor:
            if fused:
                return fast(attention, qkv, allowed)
            found, together, v = attended(attention, qkv, allowed)
            maps.append(found)
            last[:] = [(attention, v)]
            return together

        return mixed

    layers = [it for it in trunk.modules() if isinstance(it, Attention)]
    with instead([(trunk, "start", start), *((it, "attend", attend(it)) for it in layers)]):
        logits = as_logits(network(images))
    if not calls or not (maps or fused):
        raise ValueError(f"want a network that begins with its ViT, got {type(network).__name__}")
    values = features if fused else transformed(*last[0])
    return Trace(logits, maps, values)


@contextmanager
def instead(methods: list[tuple[nn.Module, str, Callable[..., Any]]]) -> Iterator[None]:
    """Lets modules do something else in a method's place for the time being."""
    for module, name, function in methods:
        module.__dict__[name] = function
    try:
        yield
    finally:
        for module, name, _ in methods:
            del module.__dict__[name]


def attended(
    attention: Attention, qkv: Tensor, allowed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of projections (B, N, 3C): map (B, h, N, N), tokens (B, N, C) and values (B, h, N, C/h)."""
    q, k, v = _heads(attention, qkv)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(allowed[:, None, None] == 0, -torch.inf)
    found = scores.softmax(-1)
    mixed: Tensor = attention.proj((found @ v).transpose(1, 2).flatten(2))
    return found, mixed, v


def fast(attention: Attention, qkv: Tensor, allowed: Tensor | None) -> Tensor:
    """The same tokens (B, N, C) by fused attention."""
    q, k, v = _heads(attention, qkv)
    mask = None if allowed is None else allowed[:, None, None] > 0
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    tokens: Tensor = attention.proj(mixed.transpose(1, 2).flatten(2))
    return tokens


def transformed(attention: Attention, v: Tensor) -> Tensor:
    """What each head's values (B, h, N, C/h) add to the output, (B, h, N, C)."""
    parts = attention.proj.weight.view(-1, attention.heads, v.shape[-1])  # (C, h, C/h)
    return torch.einsum("bhnd,chd->bhnc", v, parts)


def eager(attention: Attention, x: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Attention map (B, h, N, N), tokens (B, N, C) and each head's values after the projection."""
    found, mixed, v = attended(attention, attention.qkv(x), allowed)
    return found, mixed, transformed(attention, v)


def _heads(attention: Attention, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    split = qkv.view(*qkv.shape[:2], 3, attention.heads, -1)
    q, k, v = split.permute(2, 0, 3, 1, 4)
    return q, k, v


def removed(features: Tensor, keep: Tensor | None, how: str) -> tuple[Tensor, Tensor | None]:
    """Features (B, n, D) without those that ``keep`` (B, n) drops, and which may be attended to.

    "slice" wants the same number dropped in every sample.
    """
    if how not in REMOVALS:
        raise ValueError(f"want a removal of {', '.join(REMOVALS)}, got {how!r}")
    if keep is None:
        return features, None
    if how == "zero":
        return features * keep[..., None], None
    if how == "attention":
        return features, keep
    count = int(keep[0].sum())
    if not bool((keep.sum(1) == count).all()):
        raise ValueError("want the same number of features cut out of every sample")
    rows = keep.bool().nonzero()[:, 1].view(len(keep), count)
    return features.gather(1, rows[..., None].expand(-1, -1, features.shape[-1])), None


def removals_of(subject: Subject) -> tuple[str, ...]:
    """The removals that a subject bears; those of tokens unless it says otherwise."""
    found: tuple[str, ...] = getattr(subject, "removals", REMOVALS)
    return found
