"""SAVER: image tokens of earlier layers say which layer should revise the next word.

Once per prompt, every image position i of every candidate layer l is read out by the language
head; its 50 likeliest words are renormalised to P_{l,i}, and S_l = Σ_i P_{l,i} is the expected
number of patches that say a word. At each step, with z_L the final logits and V_t the plausible
words,

    (l*, v*) = argmax_{l, v ∈ V_t} S_l[v],   γ = S_{l*}[v*],   z = z_L + α γ z_{l*},

and words outside V_t are excluded. γ is a count, not a probability. With ``selector="next"`` layer
and weight come from the early next-token probability instead, which is DeCo.

Source: Li, Kong, Yu, Wu et al., "SAVER: Mitigating Hallucinations in Large Vision-Language Models
via Style-Aware Visual Early Revision", arXiv:2508.03177.
Assumed: candidate layers at 5/8 to 7/8 of the depth, which is 20 to 28 of 32.
Departures: only the chosen layer is read out at each step; only S is kept, built in chunks; the
image span is where the prompt has image tokens.
"""

import torch
from torch import Tensor, nn

from telltale.nn.candidates import candidate_layers, check_candidates, likeliest, only
from telltale.nn.lvlm import Pass, Read

CHUNK = 64  # image positions read out at a time
MODES = ("sum", "mean", "max", "clip")
SELECTORS = ("support", "next", "attention")


class SaverDecoder(nn.Module):
    """Early revision weighted by visual support; used through ``EarlyReader``.

    Args:
        layers: Hidden-state indices; empty for 5/8 to 7/8 of the depth.
        alpha: Strength of the early logits.
        top_p: Probability that the plausible words reach.
        top_k: Most plausible words.
        patch_top_k: Words that one image position may support.
        apply_norm: Whether the final norm comes before the head.
        gamma_mode: "sum" over patches as published, their "mean" or "max", or the sum
            "clip"ped to 1.
        selector: "support" of the image; "next" for DeCo's rule; or, for comparison, "attention":
            the layer whose newest position looks at the image most, γ that share in [0, 1].

    Raises:
        ValueError: For a setting out of its range.
    """

    def __init__(
        self,
        *,
        layers: tuple[int, ...] = (),
        alpha: float = 0.6,
        top_p: float = 0.9,
        top_k: int = 20,
        patch_top_k: int = 50,
        apply_norm: bool = False,
        gamma_mode: str = "sum",
        selector: str = "support",
    ) -> None:
        super().__init__()
        check_candidates(alpha, top_p, top_k)
        if gamma_mode not in MODES or selector not in SELECTORS or patch_top_k < 1:
            raise ValueError(
                f"want gamma_mode of {MODES}, selector of {SELECTORS}, patch_top_k >= 1, "
                f"got {gamma_mode!r}, {selector!r}, {patch_top_k}"
            )
        self.layers, self.alpha, self.top_p, self.top_k = tuple(layers), alpha, top_p, top_k
        self.patch_top_k, self.apply_norm = patch_top_k, apply_norm
        self.gamma_mode, self.selector = gamma_mode, selector
        self.candidates: tuple[int, ...] = ()

    def forward(self, logits: Tensor, early: Tensor, support: Tensor) -> Tensor:
        """Revised logits (rows, vocabulary); others than plausible words are -inf.

        Args:
            logits: Final logits (rows, vocabulary).
            early: Read-outs at the newest position (rows, layers, vocabulary).
            support: (rows, layers, vocabulary).
        """
        layer, _, gamma = self.choose(logits, support)
        return self.fuse(logits, early[torch.arange(len(early)), layer], gamma)

    def choose(self, logits: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Place of the layer, word and γ, each (rows,)."""
        return self._among(*likeliest(logits, self.top_p, self.top_k), support)

    def _among(self, words: Tensor, keep: Tensor, support: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        each = support.gather(2, words[:, None].expand(-1, support.shape[1], -1))
        gamma, place = each.masked_fill(~keep[:, None], -1).flatten(1).max(1)
        if self.gamma_mode == "clip":
            gamma = gamma.clamp(max=1)
        layer, number = place // words.shape[1], place % words.shape[1]
        return layer, words.gather(1, number[:, None])[:, 0], gamma

    def fuse(self, logits: Tensor, early: Tensor, gamma: Tensor) -> Tensor:
        """``logits + alpha * gamma * early`` on plausible words, -inf elsewhere."""
        words, keep = likeliest(logits, self.top_p, self.top_k)
        return only(logits, words, keep, self.alpha * gamma[:, None] * early.gather(1, words))

    def prepare(self, states: Tensor, images: Tensor, read: Read) -> Tensor:
        """Support (layers, vocabulary) of one row, chunk by chunk.

        Args:
            states: (layers, length, width).
            images: (length,) bool.
            read: The head, as in ``Pass``.
        """
        patches = states[:, : len(images)][:, images]
        total: Tensor | None = None
        for part in patches.split(CHUNK, 1):
            logits = read(part, self.apply_norm)
            best, order = logits.topk(min(self.patch_top_k, logits.shape[-1]), -1)
            share = torch.zeros_like(logits).scatter(-1, order, best.softmax(-1))
            if self.gamma_mode == "max":
                peak = share.amax(1)
                total = peak if total is None else torch.maximum(total, peak)
            else:
                total = share.sum(1) if total is None else total + share.sum(1)
        if total is None:
            raise ValueError("want image positions, got none")
        return total / patches.shape[1] if self.gamma_mode == "mean" else total

    def needs(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The candidate layers; their attention if it selects."""
        self.candidates = candidate_layers(self.layers, depth)
        if self.apply_norm and depth in self.candidates:
            raise ValueError(f"want layers below {depth} with apply_norm, got the normalised last")
        return self.candidates, self.candidates if self.selector == "attention" else ()

    def step(self, scores: Tensor, made: Pass) -> Tensor:
        """Revise the scores from one forward pass; support is built in the first only."""
        newest = made.newest(self.candidates)
        if self.selector == "next":
            early = made.read(newest, self.apply_norm)
            return self.forward(scores, early, early.softmax(-1))
        if made.first and self.selector == "support":
            made.memory["support"] = self._support(made, len(scores))
        words, keep = likeliest(scores, self.top_p, self.top_k)
        if self.selector == "attention":
            looks = [image_share(made.attention[index], made.images) for index in self.candidates]
            gamma, layer = torch.stack(looks, 1).max(1)
        else:
            layer, _, gamma = self._among(words, keep, made.memory["support"])
        chosen = newest[torch.arange(len(newest), device=newest.device), layer]
        early = made.read(chosen, self.apply_norm, words)
        return only(scores, words, keep, self.alpha * gamma[:, None] * early)

    def _support(self, made: Pass, rows: int) -> Tensor:
        return torch.stack(
            [
                self.prepare(
                    torch.stack([made.states[index][row] for index in self.candidates]),
                    made.images[row],
                    made.read,
                )
                for row in range(rows)
            ]
        )


def image_share(weights: Tensor, images: Tensor) -> Tensor:
    """Share (rows,) of the newest query's attention that images get, mean of heads.

    Args:
        weights: (rows, heads, queries, keys).
        images: (rows, keys of the prompt) bool.
    """
    newest = weights[:, :, -1, : images.shape[1]].float()
    return (newest * images[:, None]).sum(-1).mean(1)
