"""CLIP's two towers, of transformers: pictures and sentences as vectors that can be compared.

    clip = load_clip("openai/clip-vit-large-patch14")     # the hub, or a folder with the same files
    clip.pictures(images) @ clip.sentences(["a dog"]).T   # cosines

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, arXiv:2103.00020.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import want_images

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip(nn.Module):
    """Frozen towers; both give vectors of length 1, (B, C).

    Args:
        model: transformers' ``CLIPModel``.
        tokenizer: The tokenizer that belongs to it.
        name: What it was loaded from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model.eval().requires_grad_(False)  # its own types leave much open
        self.tokenizer, self.name = tokenizer, name
        self.size = int(self.model.config.vision_config.image_size)
        self.width = int(self.model.config.projection_dim)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def pictures(self, images: Tensor) -> Tensor:
        """Vectors of images (B, 3, S, S), float sRGB in [0, 1], S = ``size``.

        Raises:
            ValueError: If images have another form.
        """
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        seen = self.model.vision_model((images - self.mean) / self.std).pooler_output
        return F.normalize(self.model.visual_projection(seen), dim=1)

    @torch.no_grad()
    def sentences(self, texts: Sequence[str], context: str = "") -> Tensor:
        """Vectors of sentences, each with the words ``context`` before it.

        Raises:
            ValueError: If there are none, or one is empty.
        """
        if not texts or not all(text.strip() for text in texts):
            raise ValueError("want one sentence or more, none of them empty")
        most = int(self.model.config.text_config.max_position_embeddings)
        words = self.tokenizer(context, add_special_tokens=False)["input_ids"] if context else []
        rows = self.tokenizer([*texts], truncation=True, max_length=most - len(words))["input_ids"]
        device = next(self.model.parameters()).device
        return self.read(with_context(rows, words).to(device))

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """Vectors of tokens (B, N) int64: the state at the first end-of-text, projected."""
        states = self.model.text_model(input_ids=tokens)
        return F.normalize(self.model.text_projection(states.pooler_output), dim=1)


def load_clip(name: str) -> Clip:
    """CLIP out of a folder or from the hub.

    Args:
        name: A folder with transformers' files (configuration, safetensors, tokenizer), or a
            name of the hub, such as ``openai/clip-vit-large-patch14``.

    Raises:
        ValueError: If it cannot be had, or is another kind of model.
    """
    from transformers import AutoConfig, AutoTokenizer, CLIPModel

    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type != "clip":
            raise ValueError(f"want a model of type clip, got {config.model_type}")
        model = CLIPModel.from_pretrained(name, use_safetensors=True)
        return Clip(model, AutoTokenizer.from_pretrained(name), name)
    except (OSError, ValueError) as error:  # the latter for a configuration without a type
        why = " ".join(str(error).split())
        raise ValueError(f"{name}: no CLIP model can be loaded from there ({why[:200]})") from None


def with_context(rows: Sequence[Sequence[int]], context: Sequence[int]) -> Tensor:
    """Token rows with ``context`` after the first token, filled up with their last one, (B, N).

    What comes after the first end-of-text has no effect: the tower looks back only.
    """
    made = [[row[0], *context, *row[1:]] for row in rows]
    longest = max(map(len, made))
    return torch.tensor([row + [row[-1]] * (longest - len(row)) for row in made])
