"""CLIP's image tower with gradients: a class token and patch tokens in the space of sentences.

    tower, words = load_tower(Path("models/my-clip"))      # words is None without a text tower

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, arXiv:2103.00020.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.clip import MEAN, STD, Clip, load_clip
from telltale.nn.contract import want_images


class ClipTower(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to tokens (B, 1 + N, C), not normalised.

    Args:
        model: transformers' ``CLIPModel`` or ``CLIPVisionModelWithProjection``; frozen.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:  # noqa: ANN401  # its own types leave much open
        super().__init__()
        self.vision, self.projection = model.vision_model, model.visual_projection
        self.requires_grad_(False).eval()
        config = getattr(model.config, "vision_config", model.config)
        self.size, self.width = int(config.image_size), int(self.projection.out_features)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        states = self.vision((images - self.mean) / self.std).last_hidden_state
        tokens: Tensor = self.projection(self.vision.post_layernorm(states))
        return tokens


def load_tower(folder: Path) -> tuple[ClipTower, Clip | None]:
    """An image tower out of a local folder, and the whole CLIP if its text tower is there, too.

    Args:
        folder: With transformers' files of a ``CLIPModel`` and its tokenizer, or of a
            ``CLIPVisionModelWithProjection``.

    Raises:
        ValueError: If it is no folder, or holds another kind of model.
    """
    from transformers import AutoConfig, CLIPVisionModelWithProjection

    if not folder.is_dir():
        raise ValueError(f"{folder}: want a local folder with a CLIP")
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind == "clip":
            both = load_clip(str(folder))
            return ClipTower(both.model), both
        if kind != "clip_vision_model":
            raise ValueError(f"want a model of type clip or clip_vision_model, got {kind}")
        loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{folder}: no CLIP can be loaded from there ({why[:200]})") from None
    model, found = loaded
    if found["missing_keys"]:
        raise ValueError(f"{folder}: weights are missing, such as {min(found['missing_keys'])}")
    return ClipTower(model), None


@torch.no_grad()
def sentence(clip: Clip, text: str) -> tuple[Tensor, Tensor]:
    """A sentence's vector (1, C) and those of its words without start and end (1, M, C), length 1.

    Raises:
        ValueError: If it is empty.
    """
    whole = clip.sentences([text])
    most = int(clip.model.config.text_config.max_position_embeddings)
    tokens = clip.tokenizer([text], truncation=True, max_length=most)["input_ids"]
    states = clip.model.text_model(input_ids=torch.tensor(tokens)).last_hidden_state
    words = clip.model.text_projection(states[:, 1 : len(tokens[0]) - 1])
    return whole, F.normalize(words, dim=2)
