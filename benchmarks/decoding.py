"""Time per new token of SAVER, SAKED and like VCD against greedy decoding; same model, same cache.

Run: ``python benchmarks/decoding.py``. LLaVAs with random weights: "small" has 12 layers of width
512 and 8,000 words, so that its language head is 9 % of the weights; "proportioned" has 16 of 768
and 3,000, 2 % as in LLaVA-1.5-7B. What SAKED reads out of early layers costs in that proportion.
"""

import os
import time
from typing import Any

import torch
import transformers

from telltale.language.references import NoisyContrast, noised
from telltale.language.saked import SakedDecoder
from telltale.language.saver import SaverDecoder
from telltale.nn.lvlm import revising

ROUNDS, WORDS = 7, 21
SEES = transformers.CLIPVisionConfig(
    hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    image_size=64, patch_size=8,
)  # fmt: skip
SIZES = {"small": (512, 1536, 12, 8000), "proportioned": (768, 2048, 16, 3000)}


def built(size: str) -> tuple[Any, dict[str, Any]]:
    """A model and what to generate from."""
    width, inner, layers, words = SIZES[size]
    torch.manual_seed(0)
    says = transformers.LlamaConfig(
        vocab_size=words, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=8, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    image = words - 1
    config = transformers.LlavaConfig(vision_config=SEES, text_config=says, image_token_index=image)
    config._attn_implementation = "eager"
    ids = torch.tensor([[1, *[image] * 64, 5, 6, 7]])
    given = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(1, 3, 64, 64),
        "suppress_tokens": [image],
        "do_sample": False,
    }
    return transformers.LlavaForConditionalGeneration(config).eval(), given


def seconds(model: Any, given: dict[str, Any], decoder: Any, words: int) -> float:
    """Processor time of ``words`` new tokens."""
    how: dict[str, Any] = {}
    if decoder == "noisy":
        noisy = {"attention_mask": given["attention_mask"]}
        noisy["pixel_values"] = noised(given["pixel_values"])
        how["logits_processor"] = [NoisyContrast(model, noisy)]
    elif decoder is not None:
        how["custom_generate"] = revising(decoder)
    began = time.process_time()
    model.generate(**given, **how, max_new_tokens=words)
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    ways = {"greedy": None, "SAVER": SaverDecoder(), "SAKED": SakedDecoder(), "VCD-like": "noisy"}
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for size in SIZES:
        model, given = built(size)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):  # in turn, so that a busy machine slows all alike
            for name, way in ways.items():
                whole, first = (seconds(model, given, way, n) for n in (WORDS, 1))
                found[name].append((whole - first) / (WORDS - 1))
        middle = {name: sorted(times)[ROUNDS // 2] for name, times in found.items()}
        for name, each in middle.items():
            ratio = each / middle["greedy"]
            print(f"{size:13}{name:9}{1000 * each:7.1f} ms a token {ratio:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
