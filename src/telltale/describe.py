"""The verb: a vision-language model's words on a picture, decoded with SAVER, SAKED or greedily."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.media import read_picture
from telltale.media.files import one_line

DECODINGS = ("greedy", "saver", "saked")
QUESTION = "Describe this picture."


def describe(
    path: Path,
    model: str | os.PathLike[str],
    *,
    question: str = QUESTION,
    decoding: str = "saver",
    words: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """A model's answer to a question about a picture.

    Args:
        path: The picture.
        model: What transformers' ``AutoModelForImageTextToText.from_pretrained`` takes: a folder,
            from which nothing is fetched, or a name of the hub.
        question: In words; the processor's chat template is used where it has one.
        decoding: "greedy", "saver" or "saked".
        words: Tokens of the answer, at most.
        settings: Of the decoder, such as ``{"alpha": 0.4}``.

    Raises:
        ValueError: If a setting is not known, a library is missing, or the model or the picture
            cannot be read; the text says which.
    """
    pixels = read_picture(path).pixels
    return Describer(model, decoding=decoding, settings=settings).answer(pixels, question, words)


class Describer:
    """A loaded vision-language model that is asked about one picture after another.

    Args:
        model: As of :func:`describe`.
        decoding: "greedy", "saver" or "saked".
        settings: Of the decoder.

    Raises:
        ValueError: As of :func:`describe`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        decoding: str = "saver",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if decoding not in DECODINGS:
            raise ValueError(f"no decoding {decoding!r}; there is {', '.join(DECODINGS)}")
        try:
            import transformers

            from telltale.nn.lvlm import config_token, revising
        except ModuleNotFoundError as error:
            raise ValueError(
                f"describing needs {error.name}: pip install 'telltale-vision[train,language]'"
            ) from None
        self.network, self.processor = _loaded(transformers, model)
        self.how: dict[str, Any] = {"do_sample": False}
        if decoding != "greedy":
            rule = _decoder(decoding, settings or {})
            token = config_token(self.network.config)
            self.how["custom_generate"] = revising(rule, image_token=token)

    def answer(self, pixels: NDArray[np.uint8], question: str = QUESTION, words: int = 64) -> str:
        """The model's answer about a picture (H, W, 3), sRGB, of ``words`` tokens at most."""
        import torch

        from telltale.nn.vlm_tower import prompt

        if words < 1:
            raise ValueError(f"want words of 1 or more, got {words}")
        given = self.processor(
            text=prompt(self.processor, question), images=np.asarray(pixels), return_tensors="pt"
        )
        with torch.no_grad():
            out = self.network.generate(**given, **self.how, max_new_tokens=words)
        text = self.processor.decode(
            out[0, given["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return str(text).strip()


def _decoder(name: str, settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  # a Decoder
    from telltale.catalog import build

    return build(name, **settings)


def _loaded(transformers: Any, model: str | os.PathLike[str]) -> tuple[Any, Any]:  # noqa: ANN401
    """Model and processor; eager attention, since SAKED reads its weights."""
    name = os.fspath(model)
    here = {"local_files_only": True} if Path(name).is_dir() else {}
    try:
        network = transformers.AutoModelForImageTextToText.from_pretrained(
            name, attn_implementation="eager", **here
        )
        return network.eval(), transformers.AutoProcessor.from_pretrained(name, **here)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name}: no vision-language model that can be loaded ({one_line(error)})"
        ) from error
