"""Early read-outs of a vision-language model while transformers' own ``generate`` runs.

A logits processor sees tokens and scores only. :class:`EarlyReader` adds forward hooks on the
language model's layers, so that the processor also finds the hidden states, and on request the
attention weights, of the same forward pass. Nothing is computed twice and nothing is patched::

    model.generate(**inputs, custom_generate=revising(decoder))   # or, in parts:
    with EarlyReader(model, decoder) as reader:
        model.generate(**inputs, logits_processor=[reader])

Hidden states are counted as transformers counts them: 0 the embeddings, l the output of the l-th
layer. Greedy search, sampling and beams all work; so do batches padded on the left.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

FEW = 12  # rows up to which a processor core multiplies faster from the head's side


class Read(Protocol):
    """Reads states out as the vocabulary's logits."""

    def __call__(self, states: Tensor, norm: bool, words: Tensor | None = None, /) -> Tensor:
        """Logits of states (..., width); of ``words`` (rows, K) alone if given."""
        ...


@dataclass
class Pass:
    """What one forward pass left behind, and what the decoder remembers of earlier ones.

    Args:
        states: Hidden-state index to (rows, length, width), all positions of this pass.
        attention: Hidden-state index to (rows, heads, queries, keys).
        images: (rows, prompt) bool, true at image tokens.
        read: Vocabulary logits of states (..., width); its flag applies the final norm. Of states
            (rows, width) it may be asked for some ``words`` (rows, K) alone, which is cheap.
        first: Whether this pass read the prompt.
        memory: The decoder's tensors by name, rows first.
    """

    states: dict[int, Tensor]
    attention: dict[int, Tensor]
    images: Tensor
    read: Read
    first: bool = True
    memory: dict[str, Tensor] = field(default_factory=dict)

    def newest(self, layers: tuple[int, ...]) -> Tensor:
        """States of the newest position, (rows, layers, width)."""
        return torch.stack([self.states[index][:, -1] for index in layers], 1)


class Decoder(Protocol):
    """A rule that revises the next token's logits from one forward pass."""

    def needs(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Hidden states and attention maps that it reads in a model of ``depth`` layers."""
        ...

    def step(self, scores: Tensor, made: Pass) -> Tensor:
        """Revised scores (rows, vocabulary)."""
        ...


class EarlyReader:
    """The bridge between a transformers model and a decoder; a context and a logits processor.

    Args:
        model: A transformers model with image input; its text part is found by its layers.
        decoder: The rule.
        beams: ``num_beams`` of the ``generate`` call.
        image_token: Id at image positions; by default the one in the model's configuration.

    Raises:
        ValueError: If the model shows no decoder layers, head, norm or image token.
    """

    def __init__(
        self, model: nn.Module, decoder: Decoder, *, beams: int = 1, image_token: int | None = None
    ) -> None:
        if beams < 1:
            raise ValueError(f"want at least 1 beam, got {beams}")
        config: Any = model.config
        token = config_token(config) if image_token is None else image_token
        self.layers, self.norm, self.head = text_parts(model)
        self.decoder, self.beams, self.image_token = decoder, beams, token
        self._states, self._maps = decoder.needs(len(self.layers))
        self._hooks: list[Any] = []
        self.made = Pass({}, {}, torch.zeros(0, 0, dtype=torch.bool), self.read)
        self._seen: Tensor | None = None

    def __enter__(self) -> Self:
        if self._hooks:
            raise ValueError("want a reader that is not yet in use, got one within its context")
        self._seen = None
        for index in self._states:
            layer = self.layers[max(index, 1) - 1]
            if index == 0:
                hook = layer.register_forward_pre_hook(self._keep_input, with_kwargs=True)
            elif index == len(self.layers):  # transformers counts the normalised state as the last
                hook = self.norm.register_forward_hook(self._keep_output(index))
            else:
                hook = layer.register_forward_hook(self._keep_output(index))
            self._hooks.append(hook)
        for index in self._maps:
            attention: Any = self.layers[index - 1].self_attn
            self._hooks.append(attention.register_forward_hook(self._keep_map(index)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        self.made.states.clear()
        self.made.attention.clear()

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Revise the scores (rows, vocabulary) that follow ``input_ids`` (rows, length)."""
        if not self._hooks:
            raise ValueError("want the reader within its context (with EarlyReader(…) as reader:)")
        if self._seen is None or input_ids.shape[1] != self._seen.shape[1] + 1:
            images = input_ids == self.image_token
            if not images.any(1).all():
                raise ValueError(f"want image tokens ({self.image_token}) in every row, got none")
            self.made.images, self.made.first, self.made.memory = images, True, {}
        else:
            self.made.first = False
            if self.beams > 1:
                origin = beam_origin(self._seen, input_ids, self.beams)
                self.made.memory = {n: t[origin] for n, t in self.made.memory.items()}
        self._seen = input_ids.clone()
        return self.decoder.step(scores.float(), self.made).to(scores.dtype)

    def read(self, states: Tensor, norm: bool, words: Tensor | None = None, /) -> Tensor:
        """Logits of the head, float32; ``norm`` applies the final norm first.

        Args:
            states: (..., width), or (rows, width) if words are given.
            norm: Whether the final norm comes first.
            words: (rows, K), the only ones to read; None for the whole vocabulary.
        """
        weight = next(self.head.parameters())
        states = states.to(weight.device, weight.dtype)
        if norm:
            states = self.norm.forward(states)
        head = self.head
        # Anything but a bare matrix (a quantised or adapted head, one with hooks) is run as it is.
        bare = type(head) is nn.Linear and not head._forward_hooks
        bare = bare and getattr(head, "bias", None) is None
        result: Tensor
        if words is not None:
            if bare:
                result = torch.einsum("rkc,rc->rk", weight[words.to(weight.device)], states)
            else:
                result = head(states).gather(1, words.to(weight.device))
        elif bare and weight.device.type == "cpu" and states[..., 0].numel() <= FEW:
            result = (weight @ states.flatten(0, -2).T).T.unflatten(0, states.shape[:-1])
        else:
            result = head(states)
        return result.float()

    def _keep_input(self, _: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.made.states[0] = args[0] if args else named["hidden_states"]

    def _keep_output(self, index: int) -> Callable[[nn.Module, object, object], None]:
        def keep(_: nn.Module, args: object, output: object) -> None:
            found: Any = output[0] if isinstance(output, tuple) else output
            self.made.states[index] = found

        return keep

    def _keep_map(self, index: int) -> Callable[[nn.Module, object, object], None]:
        def keep(_: nn.Module, args: object, output: object) -> None:
            if not isinstance(output, tuple) or output[1] is None:
                raise ValueError(
                    f"want attention weights of layer {index}, got none: "
                    "load the model with attn_implementation='eager'"
                )
            self.made.attention[index] = output[1]

        return keep


def revising(decoder: Decoder, *, image_token: int | None = None) -> Callable[..., Any]:
    """What ``generate(custom_generate=…)`` takes: its own search, each step revised by a decoder.

    Greedy search, sampling and beams, whose number is read from the call. The decoder comes after
    what excludes words and before temperature, top-k and top-p.

    Args:
        decoder: The rule.
        image_token: As of :class:`EarlyReader`; to be given for InstructBLIP, which hands the
            search to its language model.
    """

    def run(model: Any, input_ids: Tensor, **given: Any) -> Any:  # noqa: ANN401
        beams = given["generation_config"].num_beams or 1
        processors = given["logits_processor"]
        warps = [type(part).__name__.endswith("LogitsWarper") for part in processors]
        place = warps.index(True) if any(warps) else len(processors)
        search = model._beam_search if beams > 1 else model._sample
        with EarlyReader(model, decoder, beams=beams, image_token=image_token) as reader:
            processors.insert(place, reader)
            return search(input_ids, **given)

    return run


def config_token(config: object) -> int:
    """The image placeholder's id, by either of the names that configurations use."""
    for name in ("image_token_id", "image_token_index"):
        if (token := getattr(config, name, None)) is not None:
            return int(token)
    raise ValueError(
        "want a model whose configuration names its image token, got none: give image_token"
    )


def text_parts(model: nn.Module) -> tuple[nn.ModuleList, nn.Module, nn.Module]:
    """Decoder layers, final norm and head of a transformers language or vision-language model."""
    found: Any = getattr(model, "get_output_embeddings", lambda: None)()
    if found is None:
        raise ValueError(f"want a model with a language head, got {type(model).__name__}")
    for module in model.modules():
        layers = getattr(module, "layers", getattr(module, "h", None))
        words = getattr(module, "embed_tokens", getattr(module, "wte", None))
        if not isinstance(layers, nn.ModuleList) or words is None:
            continue
        for name in ("norm", "ln_f", "final_layernorm", "final_layer_norm"):
            norm = getattr(module, name, None)
            if isinstance(norm, nn.Module):
                return layers, norm, found
    raise ValueError(f"want decoder layers with a final norm, got none in {type(model).__name__}")


def beam_origin(before: Tensor, after: Tensor, beams: int) -> Tensor:
    """For each row of ``after`` a row of ``before`` that it continues, within its own input.

    Args:
        before: (rows, length) token ids; rows of one input follow each other.
        after: (rows, length + 1).
        beams: Rows per input.
    """
    same = (after[:, None, :-1] == before[None]).all(-1)
    group = torch.arange(len(before), device=before.device) // beams
    same &= group[:, None] == group[None]
    if not same.any(1).all():
        raise ValueError(f"want rows that continue earlier ones of {beams} beams, got others")
    return same.int().argmax(1)
