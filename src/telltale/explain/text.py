"""Sentences of a transformers encoder as subjects of explanation; the library is not imported here.

Features are the words' embeddings; [CLS] before and [SEP] after them cannot be removed. Positions
are the encoder's own, so they close up when a word is cut out.

Source: Liu et al., arXiv:2201.12114, for what counts as a feature.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.explain.maps import Trace
from telltale.explain.subjects import removed


class Sentences(nn.Module):
    """A BERT-like encoder with a linear head on its first token.

    Args:
        encoder: A transformers model of the BERT family, with ``attn_implementation="eager"``.
        classes: K of the head.

    Raises:
        ValueError: If the encoder hides its attention or has no layers of BERT's form.
    """

    lead = 1
    trail = 1

    def __init__(self, encoder: nn.Module, *, classes: int = 2) -> None:
        super().__init__()
        config: Any = getattr(encoder, "config", None)
        if getattr(config, "_attn_implementation", None) != "eager":
            raise ValueError('want a transformers encoder with attn_implementation="eager"')
        self.encoder = encoder
        self.head = nn.Linear(int(config.hidden_size), classes)
        self.heads = int(config.num_attention_heads)
        self.ends: Tensor | None = None  # embeddings (B, 2, D) of [CLS] and [SEP]

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (B, K) of token numbers (B, L), padded where ``mask`` (B, L) is 0."""
        found: Tensor = self.head(
            self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0]
        )
        return found

    def loss(self, tokens: Tensor, mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross entropy, to train the head and whatever of the encoder learns."""
        return {"ce": F.cross_entropy(self(tokens, mask), labels)}

    def features(self, samples: Tensor) -> Tensor:
        """Embeddings (B, n, D) of the words of sentences (B, 1 + n + 1) of one length."""
        if samples.ndim != 2 or samples.shape[1] < 4:
            raise ValueError(
                f"want token numbers (B, L) of sentences of two words or more, got "
                f"{tuple(samples.shape)}"
            )
        words: Tensor = self.encoder.get_input_embeddings()(samples)  # type: ignore[operator]
        self.ends = words[:, [0, -1]]
        return words[:, 1:-1]

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        """See :class:`telltale.explain.maps.Subject`."""
        if self.ends is None or len(self.ends) != len(features):
            raise ValueError("want features of the batch that features() was given last")
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_(True)
        features, allowed = removed(features, keep, how)
        ends = self.ends.detach()
        whole = torch.cat([ends[:, :1], features, ends[:, 1:]], 1)
        mask = None if allowed is None else F.pad(allowed, (1, 1), value=1.0)
        last: Any = self.encoder.encoder.layer[-1].attention  # type: ignore[union-attr, index]
        kept: list[Tensor] = []
        hook = last.self.value.register_forward_hook(lambda module, given, made: kept.append(made))
        try:
            made = self.encoder(inputs_embeds=whole, attention_mask=mask, output_attentions=True)
        finally:
            hook.remove()
        v = kept[0].detach().unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, N, D/h)
        parts = last.output.dense.weight.detach().view(-1, self.heads, v.shape[-1])
        values = torch.einsum("bhnd,chd->bhnc", v, parts)
        return Trace(self.head(made.last_hidden_state[:, 0]), [*made.attentions], values)
