"""Decoding rules that SAVER and SAKED are compared with: like DoLa and like VCD, decoded greedily.

    with EarlyReader(model, DolaDecoder()) as reader: model.generate(…, logits_processor=[reader])
    model.generate(…, logits_processor=[NoisyContrast(model, noisy_inputs)])

DoLa: z = log p − log p_l, where l is the early layer furthest from the last (Jensen-Shannon);
words below a tenth of the likeliest one's probability are excluded. VCD: z = (1 + α) z − α z',
where z' is what the same model says of the noised picture, in a second pass; words with
z < max z + ln β are excluded. DeCo is ``SaverDecoder(selector="next")``.

Source: Chuang et al., "DoLa", arXiv:2309.03883; Leng et al., "Visual Contrastive Decoding",
arXiv:2311.16922.
Departures: the likeliest word is taken where VCD samples; DoLa's penalty of repetitions is left to
``generate(repetition_penalty=…)``.
"""

import inspect
from collections.abc import Mapping
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from telltale.language.saked import divergence
from telltale.nn.lvlm import Pass


class DolaDecoder:
    """Contrast of the last layer with the early one that differs most from it.

    Args:
        bucket: "high" for every second layer of the upper half, "low" of the lower one.
        share: Words below this share of the likeliest one's probability are excluded.

    Raises:
        ValueError: For a setting out of its range.
    """

    def __init__(self, *, bucket: str = "high", share: float = 0.1) -> None:
        if bucket not in ("high", "low") or not 0 < share <= 1:
            raise ValueError(f"want a bucket 'high' or 'low', share in (0, 1], got {bucket, share}")
        self.bucket, self.share = bucket, share
        self.candidates: tuple[int, ...] = ()

    def needs(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Every second hidden state of a half; no attention."""
        half = max(1, depth // 2)
        span = range(half, depth, 2) if self.bucket == "high" else range(0, half, 2)
        self.candidates = (*span,) or (half,)
        return self.candidates, ()

    def step(self, scores: Tensor, made: Pass) -> Tensor:
        """Revised scores (rows, vocabulary) from one forward pass."""
        early = made.read(made.newest(self.candidates), True)
        return self.contrast(scores, early)

    def contrast(self, scores: Tensor, early: Tensor) -> Tensor:
        """``log p − log p_l`` of final scores (rows, words), read-outs (rows, layers, words)."""
        final = scores.log_softmax(-1)
        apart = divergence(final.exp()[:, None], early.softmax(-1))
        rows = torch.arange(len(early), device=early.device)
        made = final - early[rows, apart.argmax(1)].log_softmax(-1)
        return made.masked_fill(final < final.amax(-1, keepdim=True) + log(self.share), -torch.inf)


class NoisyContrast:
    """A logits processor that asks the model about a noised picture as well; a cache of its own.

    Args:
        model: A LLaVA-like model of transformers, whose positions count its tokens.
        noisy: The ``generate`` call's inputs but for ``input_ids``: ``attention_mask``, and
            ``pixel_values`` of the noised pictures (see :func:`noised`).
        alpha: Strength of the contrast.
        beta: Words below this share of the likeliest one's probability are excluded.

    Raises:
        ValueError: For a setting out of its range.
    """

    def __init__(
        self, model: nn.Module, noisy: Mapping[str, Tensor], *, alpha: float = 1.0,
        beta: float = 0.1,
    ) -> None:  # fmt: skip
        if alpha < 0 or not 0 < beta <= 1:
            raise ValueError(f"want alpha >= 0, beta in (0, 1], got {alpha}, {beta}")
        self.model, self.noisy, self.alpha, self.beta = model, dict(noisy), alpha, beta
        forward: Any = model.forward
        new = "cache" in inspect.signature(forward).parameters  # transformers' newer name
        self._kept = "cache" if new else "past_key_values"
        self._cache: Any = None
        self._seen: Tensor | None = None

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Contrasted scores (rows, vocabulary) that follow ``input_ids`` (rows, length)."""
        going = self._seen is not None and input_ids.shape[1] == self._seen.shape[1] + 1
        if going and self._seen is not None and not torch.equal(input_ids[:, :-1], self._seen):
            raise ValueError("want rows that continue the last ones: greedy or sampled, no beams")
        self._seen = input_ids.clone()
        mask = self.noisy.get("attention_mask", torch.ones_like(input_ids))
        more = input_ids.shape[1] - mask.shape[1]
        mask = torch.cat([mask, mask.new_ones(len(mask), more)], 1)
        places = (mask.cumsum(1) - 1).clamp(min=0)
        if going:
            given = {"input_ids": input_ids[:, -1:], self._kept: self._cache}
            places = places[:, -1:]
        else:
            given = {**self.noisy, "input_ids": input_ids}
        given |= {"attention_mask": mask, "position_ids": places}
        out = self.model(**given, use_cache=True)
        self._cache = out[self._kept]
        return contrasted(scores, out.logits[:, -1].to(scores), self.alpha, self.beta)


def contrasted(scores: Tensor, noisy: Tensor, alpha: float, beta: float) -> Tensor:
    """``(1 + α) z − α z'``; words with ``z < max z + ln β`` are -inf."""
    made = (1 + alpha) * scores - alpha * noisy
    return made.masked_fill(scores < scores.amax(-1, keepdim=True) + log(beta), -torch.inf)


def noised(images: Tensor, step: int = 500) -> Tensor:
    """Pictures after ``step`` of 1000 steps of a diffusion; torch's generator draws the noise.

    Raises:
        ValueError: If the step is not in 0..999.
    """
    if not 0 <= step < 1000:
        raise ValueError(f"want a step in 0..999, got {step}")
    betas = torch.linspace(-6, 6, 1000).sigmoid() * (0.005 - 1e-5) + 1e-5
    kept = (1 - betas).cumprod(0)[step]
    noise: Tensor = (1 - kept).sqrt() * torch.randn_like(images)
    return kept.sqrt() * images + noise
