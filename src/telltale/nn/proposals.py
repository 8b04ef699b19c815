"""Suspected regions in a language model's words: the question, the answer's form, LoRA, a parser.

    <analysis> … </analysis> <verdict>real|fake</verdict> <box>x1,y1,x2,y2</box> …

Coordinates are thousandths of width and height, 0 to 999. Any vision-language model that
transformers loads as ``AutoModelForImageTextToText`` can answer; LLaVA is what the paper has.

Source: Zhang et al., "Propose and Rectify", arXiv 2025; Liu et al., "Visual Instruction Tuning",
NeurIPS 2023, arXiv:2304.08485; Hu et al., "LoRA", arXiv:2106.09685.
Assumed: the form of the answer, rank 16 and α = 32 on q, k, v and o.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUESTION = (
    "Was a part of this picture changed? Look for what does not fit in meaning, light, edges and "
    "noise. Answer in this form: <analysis>why</analysis> <verdict>real or fake</verdict> and for "
    "each changed region <box>x1,y1,x2,y2</box>, coordinates from 0 to 999."
)
MOST = 5  # boxes of an answer
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
_NUMBER = r"\s*(\d{1,3})\s*"
_BOX = re.compile(rf"<box>{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}</box>")
_FORM = re.compile(
    r"\s*<analysis>(?P<analysis>.*?)</analysis>\s*<verdict>\s*(?P<verdict>real|fake)\s*</verdict>"
    r"(?P<boxes>(?:\s*<box>[^<>]*</box>)*)\s*",
    re.DOTALL,
)


class Answer(NamedTuple):
    """What a model said."""

    analysis: str
    is_fake: bool
    boxes: tuple[tuple[float, float, float, float], ...]  # left, top, right, bottom in [0, 1]
    fault: str = ""  # why it could not be read; then there are no boxes


def parse(text: str) -> Answer:
    """Read an answer strictly: one that is not of the form gives no box, and says why."""
    found = _FORM.fullmatch(text)
    if found is None:
        return Answer("", False, (), "the answer is not of the form that was asked for")
    analysis, is_fake = found["analysis"].strip(), found["verdict"] == "fake"
    given = re.findall(r"<box>.*?</box>", found["boxes"])
    boxes = []
    for text_of in given:
        numbers = _BOX.fullmatch(text_of)
        if numbers is None:
            return Answer(analysis, is_fake, (), f"not four numbers from 0 to 999: {text_of}")
        left, top, right, bottom = (int(number) / 999 for number in numbers.groups())
        if not (left < right and top < bottom):
            return Answer(analysis, is_fake, (), f"corners are swapped: {text_of}")
        boxes.append((left, top, right, bottom))
    if len(boxes) > MOST:
        return Answer(analysis, is_fake, (), f"want at most {MOST} boxes, got {len(boxes)}")
    if boxes and not is_fake:
        return Answer(analysis, is_fake, (), "the verdict is real, yet there are boxes")
    return Answer(analysis, is_fake, tuple(boxes))


def written(boxes: Sequence[Sequence[float]], artefact: str = "") -> str:
    """The answer that a model is to learn for boxes in [0, 1]; none for a pristine picture."""
    if not boxes:
        return "<analysis>nothing does not fit</analysis> <verdict>real</verdict>"
    places = ", ".join(_place(box) for box in boxes)
    why = f"{artefact} " if artefact else ""
    marks = " ".join(
        "<box>" + ",".join(str(round(999 * float(side))) for side in box) + "</box>"
        for box in boxes[:MOST]
    )
    return f"<analysis>{why}at the {places}</analysis> <verdict>fake</verdict> {marks}"


def _place(box: Sequence[float]) -> str:
    across = ("left", "middle", "right")[min(int(1.5 * (box[0] + box[2])), 2)]
    down = ("top", "centre", "bottom")[min(int(1.5 * (box[1] + box[3])), 2)]
    return f"{down} {across}"


class Adapted(nn.Module):
    """A frozen linear layer with a trainable update of rank r, scaled by α/r; zero at first."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        update = F.linear(F.linear(x, self.down), self.up)
        out: Tensor = self.base(x) + self.scale * update
        return out


class Proposer(nn.Module):
    """A vision-language model that names suspicious regions.

    Args:
        model: Of transformers, with ``generate`` and a ``language_model``; frozen but for the
            updates and the projector from picture to words.
        rank: r of the updates of the language model's attention.
        alpha: α; the update is scaled by α/r.

    Raises:
        ValueError: If the model has no attention projections to adapt, or no projector.
    """

    def __init__(self, model: nn.Module, *, rank: int = 16, alpha: float = 32.0) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        language = next((m for n, m in model.named_modules() if n.endswith("language_model")), None)
        wrapped = 0
        for parent in [*language.modules()] if language is not None else []:
            for name, child in [*parent.named_children()]:
                if name in TARGETS and isinstance(child, nn.Linear):
                    setattr(parent, name, Adapted(child, rank, alpha))
                    wrapped += 1
        projectors = [m for n, m in model.named_modules() if n.endswith("multi_modal_projector")]
        if not wrapped or not projectors:
            raise ValueError(
                f"want a model with a language_model's {', '.join(TARGETS)} and a "
                f"multi_modal_projector, got {type(model).__name__}"
            )
        projectors[0].requires_grad_(True)

    def loss(self, tokens: Tensor, answers: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Cross entropy of the answers' tokens.

        Args:
            tokens: (B, N) int64, question and answer, with the picture's place holders.
            answers: (B, N) bool, where the answer stands.
            images: What the model's own processor made of the pictures.
        """
        labels = tokens.masked_fill(~answers, -100)
        model: Any = self.model
        out = model(input_ids=tokens, pixel_values=images, labels=labels)
        return {"answer": out.loss}

    @torch.no_grad()
    def propose(
        self, tokens: Tensor, images: Tensor, decode: Callable[[Tensor], str], *, words: int = 200
    ) -> list[Answer]:
        """Greedy answers to a question (B, N), read by :func:`parse`.

        ``decode`` turns a row of tokens into text, as a processor's ``decode`` does.
        """
        model: Any = self.model
        asked = {"input_ids": tokens, "pixel_values": images}
        out = model.generate(**asked, do_sample=False, max_new_tokens=words)
        return [parse(decode(row)) for row in out[:, tokens.shape[1] :]]
