"""Time per new token of SAVER, SAKED and like VCD against greedy decoding; same model, same cache.

Run: ``python benchmarks/decoding.py``. A LLaVA of 12 layers and width 512 with random weights.
"""

import time

import torch
import transformers

from telltale.language.references import NoisyContrast, noised
from telltale.language.saked import SakedDecoder
from telltale.language.saver import SaverDecoder
from telltale.nn.lvlm import EarlyReader

torch.manual_seed(0)
SEES = transformers.CLIPVisionConfig(
    hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    image_size=64, patch_size=8,
)  # fmt: skip
SAYS = transformers.LlamaConfig(
    vocab_size=8000, hidden_size=512, intermediate_size=1536, num_hidden_layers=12,
    num_attention_heads=8, eos_token_id=None, pad_token_id=0,
)  # fmt: skip
CONFIG = transformers.LlavaConfig(vision_config=SEES, text_config=SAYS, image_token_index=7999)
CONFIG._attn_implementation = "eager"
MODEL = transformers.LlavaForConditionalGeneration(CONFIG).eval()
IDS = torch.tensor([[1, *[7999] * 64, 5, 6, 7]])
MASK, PIXELS = torch.ones_like(IDS), torch.randn(1, 3, 64, 64)
GIVEN = {
    "input_ids": IDS,
    "attention_mask": MASK,
    "pixel_values": PIXELS,
    "suppress_tokens": [7999],
    "do_sample": False,
}


def seconds(decoder: SaverDecoder | SakedDecoder | str | None, words: int) -> float:
    """Processor time of ``words`` new tokens."""
    began = time.process_time()
    if decoder is None:
        MODEL.generate(**GIVEN, max_new_tokens=words)
    elif isinstance(decoder, str):
        noisy = {"attention_mask": MASK, "pixel_values": noised(PIXELS)}
        contrast = NoisyContrast(MODEL, noisy)
        MODEL.generate(**GIVEN, max_new_tokens=words, logits_processor=[contrast])
    else:
        with EarlyReader(MODEL, decoder) as reader:
            MODEL.generate(**GIVEN, max_new_tokens=words, logits_processor=[reader])
    return time.process_time() - began


if __name__ == "__main__":
    ways = {"greedy": None, "SAVER": SaverDecoder(), "SAKED": SakedDecoder(), "VCD": "noisy"}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):  # in turn, so that a busy machine slows all alike
        for name, way in ways.items():
            found[name].append((seconds(way, 21) - seconds(way, 1)) / 20)
    best = {name: sorted(times)[2] for name, times in found.items()}
    for name, each in best.items():
        print(f"{name:7}{1000 * each:7.1f} ms a token {each / best['greedy']:6.2f} x")
