"""SAKED: add the contrast between the layers whose knowledge is most and least stable.

For each candidate layer l, from the attention of the newest token to the image and the early
next-word distributions p_l,

    KSS_l = λ_a (1 − JSD(p_l, p_{l−1})) + λ_b CHSS_l + λ_c (1 − JSD(a_l^t, a_l^{t−1})),

CHSS_l the mean soft IoU between the heads that look at the image most sharply. With l⁺ and l⁻ the
most and least stable layers, z = z_L + α ((1 + m) z_{l⁺} − m z_{l⁻}) on plausible words.

Source: Li, Kong, Bao, Xia, Tu, Yu, Jiang, Jiang, "SAKED: Mitigating Hallucination in Large
Vision-Language Models via Stability-Aware Knowledge Enhanced Decoding", arXiv:2602.09825.
Assumed: candidate layers at 5/8 to 7/8 of the depth, which is 20 to 28 of 32.
Departures: layers are chosen per row of a batch; only candidates and the layers below them are
read out; the whole image span counts; at the prompt, queries are averaged from the first image
token on (earlier ones see no image), image tokens excluded.
"""

from math import log

import torch
from torch import Tensor, nn

from telltale.nn.candidates import candidate_layers, check_candidates, likeliest, only
from telltale.nn.lvlm import Pass


class SakedDecoder(nn.Module):
    """Stability-aware contrast of layers; used through ``EarlyReader`` on an eager model.

    Args:
        layers: Hidden-state indices; empty for 5/8 to 7/8 of the depth.
        alpha: Strength of the contrast.
        margin: m, how far the contrast goes beyond the stable layer.
        weights: λ of cross-layer, cross-head and cross-token stability.
        heads: Heads compared in a layer.
        top_p: Probability that the plausible words reach.
        top_k: Most plausible words.
        apply_norm: Whether the final norm comes before the head; never for the last state.

    Raises:
        ValueError: For a setting out of its range.
    """

    def __init__(
        self,
        *,
        layers: tuple[int, ...] = (),
        alpha: float = 0.6,
        margin: float = 0.3,
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
        heads: int = 10,
        top_p: float = 0.9,
        top_k: int = 20,
        apply_norm: bool = True,
    ) -> None:
        super().__init__()
        check_candidates(alpha, top_p, top_k)
        if margin < 0 or len(weights) != 3 or heads < 1:
            raise ValueError(
                f"want margin >= 0, three weights, heads >= 1, got {margin}, {weights}, {heads}"
            )
        self.layers, self.alpha, self.margin = tuple(layers), alpha, margin
        self.weights, self.heads = tuple(weights), heads
        self.top_p, self.top_k, self.apply_norm = top_p, top_k, apply_norm
        self.candidates: tuple[int, ...] = ()
        self.depth = 0

    def forward(self, logits: Tensor, early: Tensor, stability: Tensor) -> Tensor:
        """Revised logits (rows, vocabulary); others than plausible words are -inf.

        Args:
            logits: Final logits (rows, vocabulary).
            early: Read-outs at the newest position (rows, layers, vocabulary).
            stability: KSS (rows, layers).
        """
        rows = torch.arange(len(early), device=early.device)
        most, least = stability.argmax(1), stability.argmin(1)
        words, keep = likeliest(logits, self.top_p, self.top_k)
        stable, other = (early[rows[:, None], at[:, None], words] for at in (most, least))
        apart = contrast(stable, other, self.margin)
        added = torch.where((most == least)[:, None], stable, apart)
        return only(logits, words, keep, self.alpha * added)

    def needs(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Candidates with the layers below them; attention of the candidates."""
        self.candidates, self.depth = candidate_layers(self.layers, depth), depth
        below = {index - 1 for index in self.candidates}
        return tuple(sorted({*self.candidates} | below)), self.candidates

    def step(self, scores: Tensor, made: Pass) -> Tensor:
        """Revise the scores from one forward pass; attention is remembered for the next."""
        early = self._read(made)
        weights = [made.attention[index] for index in self.candidates]
        if not made.first:  # only the newest query counts
            weights = [each[:, :, -1:] for each in weights]
        maps = image_attention(torch.cat(weights, 1), made.images, made.first)
        maps = maps.unflatten(1, (len(weights), -1))
        place = {index: number for number, index in enumerate(self._indices())}
        upper = [place[index] for index in self.candidates]
        change = cross_layer(early, upper, [place[index - 1] for index in self.candidates])
        stability = self.stability(change, maps, made.memory.get("maps"), made.images.sum(1))
        made.memory = {"maps": maps, "stability": stability}
        return self.forward(scores, early[:, upper], stability)

    def stability(
        self, change: Tensor, maps: Tensor, before: Tensor | None, count: Tensor
    ) -> Tensor:
        """KSS (rows, layers) of divergences from the layer below (rows, layers) and of maps.

        Args:
            change: See :func:`cross_layer`.
            maps: Attention to the image (rows, layers, heads, keys).
            before: The same of the last step; None at the first.
            count: Image tokens (rows,).
        """
        layer, head, token = self.weights
        score = layer * (1 - change)
        score = score + head * head_stability(maps, self.heads, count[:, None])
        if before is not None:
            now, then = (m.flatten(2) / m.flatten(2).sum(-1, keepdim=True) for m in (maps, before))
            score = score + token * (1 - divergence(now, then))
        return score

    def _indices(self) -> list[int]:
        return sorted({*self.candidates} | {index - 1 for index in self.candidates})

    def _read(self, made: Pass) -> Tensor:
        """Read-outs (rows, indices, vocabulary) of the candidates and the layers below them."""
        indices = self._indices()
        inner = tuple(index for index in indices if index < self.depth)
        early = made.read(made.newest(inner), self.apply_norm)
        if self.depth in indices:  # already normalised
            early = torch.cat([early, made.read(made.newest((self.depth,)), False)], 1)
        return early


def contrast(stable: Tensor, other: Tensor, margin: float) -> Tensor:
    """``(1 + m) z⁺ − m z⁻``."""
    return (1 + margin) * stable - margin * other


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last dimension, natural logarithm, in [0, ln 2]."""
    middle = (first + second) / 2
    terms = torch.xlogy(first, first) + torch.xlogy(second, second)
    return (terms / 2 - torch.xlogy(middle, middle)).sum(-1)


def cross_layer(early: Tensor, upper: list[int], lower: list[int]) -> Tensor:
    """Divergence (rows, pairs) of read-outs (rows, layers, vocabulary), each entropy once.

    Args:
        early: Logits of layers.
        upper: Place of the one layer of each pair.
        lower: Place of the other.
    """
    share = early.softmax(-1)
    spread = torch.special.entr(share).sum(-1)
    apart = [
        torch.special.entr((share[:, one] + share[:, two]) / 2).sum(-1)
        - (spread[:, one] + spread[:, two]) / 2
        for one, two in zip(upper, lower, strict=True)
    ]
    return torch.stack(apart, 1)


def image_attention(weights: Tensor, images: Tensor, prompt: bool) -> Tensor:
    """Each head's attention to the image (rows, heads, keys), 0 elsewhere, summing to 1.

    Args:
        weights: (rows, heads, queries, keys).
        images: (rows, keys of the prompt) bool.
        prompt: Whether to average the prompt's text queries from the first image token on;
            otherwise the newest query counts.
    """
    keys = weights[..., : images.shape[1]].float()
    if prompt:
        text = (images.cumsum(1) > 0) & ~images
        text[:, -1] |= ~text.any(1)  # nothing after the image: the last query speaks
        share = text.float() / text.sum(1, keepdim=True)
        row = torch.einsum("rhqk,rq->rhk", keys, share)
    else:
        row = keys[:, :, -1]
    row = row.clamp(min=1e-8) * images[:, None]
    return row / row.sum(-1, keepdim=True)


def head_stability(maps: Tensor, heads: int, count: Tensor) -> Tensor:
    """CHSS: mean soft IoU of the sharpest heads, in [0, 1]; 0 of a single head.

    Args:
        maps: (…, heads, keys), each head summing to 1.
        heads: How many are compared.
        count: Image tokens, of a shape that broadcasts to (…).
    """
    chosen = min(heads, maps.shape[-2])
    if chosen <= 1:
        return maps.new_zeros(maps.shape[:-2])
    spread = -torch.xlogy(maps, maps).sum(-1)
    largest = count.float().clamp(min=2).log()[..., None] if count.ndim else log(max(int(count), 2))
    sharp = maps.amax(-1) + 1 - spread / largest
    place = sharp.topk(chosen, -1).indices
    best = maps.gather(-2, place[..., None].expand(*place.shape, maps.shape[-1]))
    one, two = best[..., :, None, :], best[..., None, :, :]
    overlap = torch.minimum(one, two).sum(-1) / torch.maximum(one, two).sum(-1)
    pairs = overlap.sum((-1, -2)) - overlap.diagonal(dim1=-2, dim2=-1).sum(-1)
    return pairs / (chosen * (chosen - 1))
