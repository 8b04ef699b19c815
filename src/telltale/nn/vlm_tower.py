"""What a vision-language model's words are made of: its projected patches, with gradients.

    tower = load_vlm(Path("models/my-llava"))
    tower.likelihood(images, "Describe this picture.", "PURPLE LANTERN 42")

For models of LLaVA's kind, that take one square of pixels: Liu et al., "Visual Instruction Tuning",
NeurIPS 2023, arXiv:2304.08485.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from telltale.nn.contract import want_images


class VlmTower(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to the language model's picture tokens.

    Gives (B, 1 + N, C): the tokens' mean first, where others have a class token.

    Args:
        model: transformers' model; frozen.
        processor: Its processor.

    Raises:
        ValueError: If the model takes other things than one square.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, processor: Any) -> None:  # noqa: ANN401  # own types of theirs
        super().__init__()
        self.model, self.processor = model, processor
        self.requires_grad_(False).eval()
        side = getattr(getattr(model.config, "vision_config", None), "image_size", None)
        if not isinstance(side, int) or not hasattr(model, "get_image_features"):
            raise ValueError(
                f"want a model of LLaVA's kind, with one size of pictures, got "
                f"{type(model).__name__}"
            )
        self.size, self.width = side, int(model.config.get_text_config().hidden_size)
        pictures = processor.image_processor
        for name in ("mean", "std"):
            values = torch.tensor(getattr(pictures, f"image_{name}")).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        seen = self.model.get_image_features(pixel_values=(images - self.mean) / self.std)
        tokens = torch.stack([*seen.pooler_output])
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

    @torch.no_grad()
    def likelihood(self, images: Tensor, question: str, answer: str) -> Tensor:
        """Mean log-probability (B,) in nats of an answer's tokens after a question."""
        found = []
        for image in want_images(images):
            given = self._asked(image, question)
            start = given["input_ids"].shape[1]
            words = self.processor.tokenizer(answer, add_special_tokens=False, return_tensors="pt")
            ids = torch.cat([given["input_ids"], words["input_ids"]], 1)
            logits = self.model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=(image[None] - self.mean) / self.std,
            ).logits[0, start - 1 : -1]
            of_words = logits.float().log_softmax(1).gather(1, ids[0, start:, None])
            found.append(of_words.mean())
        return torch.stack(found)

    @torch.no_grad()
    def answer(self, images: Tensor, question: str, words: int = 16) -> list[str]:
        """What the model says, greedily, in so many tokens at most."""
        said = []
        for image in want_images(images):
            given = self._asked(image, question)
            pixels = (image[None] - self.mean) / self.std
            out = self.model.generate(
                **given | {"pixel_values": pixels}, max_new_tokens=words, do_sample=False
            )
            start = given["input_ids"].shape[1]
            said.append(self.processor.decode(out[0, start:], skip_special_tokens=True).strip())
        return said

    def _asked(self, image: Tensor, question: str) -> dict[str, Tensor]:
        pixels = (255 * image).round().byte().permute(1, 2, 0).numpy()
        text = prompt(self.processor, question)
        given = self.processor(text=text, images=np.asarray(pixels), return_tensors="pt")
        return {name: given[name] for name in ("input_ids", "attention_mask")}


def prompt(processor: Any, question: str) -> str:  # noqa: ANN401
    """The question with the picture's place, as the model's own chat has it."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(turns, add_generation_prompt=True))
    mark = getattr(processor, "image_token", "<image>")
    return f"USER: {mark}\n{question} ASSISTANT:"


def load_vlm(folder: Path) -> VlmTower:
    """A vision-language model out of a local folder.

    Raises:
        ValueError: If it is no folder, or holds no model of this kind.
    """
    import transformers

    if not folder.is_dir():
        raise ValueError(f"{folder}: want a local folder with a vision-language model")
    loaders: Any = transformers
    try:
        model = loaders.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
        processor = loaders.AutoProcessor.from_pretrained(folder, local_files_only=True)
        return VlmTower(model, processor)
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: no vision-language model can be loaded from there ({why[:200]})"
        ) from None
