"""Miniature real vision-language models with random weights, and a prompt for each."""

from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")
IMAGE = 90
TEXT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
SEES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}


def llava(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**SEES),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
    )
    config._attn_implementation = "eager"
    model = transformers.LlavaForConditionalGeneration(config).eval()
    return model, {**prompt(4, rows), "pixel_values": torch.randn(rows, 3, 8, 8)}


def llava_next(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**SEES),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        image_grid_pinpoints=[[8, 8]],
    )
    config._attn_implementation = "eager"
    model = transformers.LlavaNextForConditionalGeneration(config).eval()
    # the whole picture's 4 tokens, the tile's 2 rows of 2 and a line break each
    pictures = {
        "pixel_values": torch.randn(rows, 2, 3, 8, 8),
        "image_sizes": torch.tensor([[8, 8]] * rows),
    }
    return model, {**prompt(10, rows), **pictures}


def qwen2_vl(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    return _qwen("Qwen2VL", rows, {"embed_dim": 16, "hidden_size": 32})


def qwen2_5_vl(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    windows = {"window_size": 16, "fullatt_block_indexes": [1], "out_hidden_size": 32}
    return _qwen("Qwen2_5_VL", rows, {"hidden_size": 16, "intermediate_size": 24, **windows})


def _qwen(kind: str, rows: int, tower: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    turns = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    common = {
        "depth": 2,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    config = getattr(transformers, f"{kind}Config")(
        text_config={**TEXT, "rope_parameters": turns},
        vision_config={**common, **tower},
        image_token_id=IMAGE,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    )
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval()
    given = prompt(4, rows)
    pictures = {
        "pixel_values": torch.randn(rows * 16, 96),
        "image_grid_thw": torch.tensor([[1, 4, 4]] * rows),
        "mm_token_type_ids": (given["input_ids"] == IMAGE).int(),
    }
    return model, {**given, **pictures}


def internvl(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = transformers.InternVLConfig(
        vision_config={**SEES, "image_size": [16, 16], "patch_size": [4, 4]},
        text_config={**TEXT, "model_type": "qwen2"},
        image_token_id=IMAGE,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
    )
    config._attn_implementation = "eager"
    model = transformers.InternVLForConditionalGeneration(config).eval()
    return model, {**prompt(4, rows), "pixel_values": torch.randn(rows, 3, 16, 16)}


def instructblip(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = transformers.InstructBlipConfig(
        vision_config=SEES,
        qformer_config={
            "vocab_size": 96,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "encoder_hidden_size": 16,
        },
        text_config={**TEXT, "model_type": "llama"},
        num_query_tokens=4,
        image_token_index=IMAGE,
    )
    config._attn_implementation = "eager"
    model = transformers.InstructBlipForConditionalGeneration(config).eval()
    given = prompt(4, rows)
    asked = torch.tensor([[2, 11, 12, 3]]).repeat(rows, 1)
    seen = {
        "pixel_values": torch.randn(rows, 3, 8, 8),
        "qformer_input_ids": asked,
        "qformer_attention_mask": torch.ones_like(asked),
    }
    return model, {**given, **seen}


def idefics3(rows: int = 2) -> tuple[Any, dict[str, Tensor]]:
    """Also the form of SmolVLM."""
    torch.manual_seed(0)
    config = transformers.Idefics3Config(
        vision_config={**SEES, "image_size": 16},
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_id=IMAGE,
        scale_factor=2,
    )
    config._attn_implementation = "eager"
    model = transformers.Idefics3ForConditionalGeneration(config).eval()
    return model, {**prompt(4, rows), "pixel_values": torch.randn(rows, 1, 3, 16, 16)}


def prompt(tokens: int, rows: int) -> dict[str, Tensor]:
    ids = torch.tensor([[1, 7, *[IMAGE] * tokens, 11, 12, 13]]).repeat(rows, 1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


MODELS = {
    "llava": llava,
    "llava_next": llava_next,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "internvl": internvl,
    "instructblip": instructblip,
    "idefics3": idefics3,
}
