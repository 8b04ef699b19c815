"""A miniature LLaVA in a folder, asked about a picture from the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]
Run = Callable[..., tuple[int, str, str]]
WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<image>",
    "USER:",
    "ASSISTANT:",
    "is",
    "it",
    "red",
    "blue",
    "a",
    "dog",
    "cat",
    "no",
    "yes",
    "the",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llava")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    pictures = transformers.CLIPImageProcessor(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
    )
    transformers.LlavaProcessor(
        pictures, tokenizer, patch_size=4, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(path)  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            image_size=8, patch_size=4,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=6,
            num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, initializer_range=0.3,
        ),
        image_token_index=WORDS.index("<image>"),
    )  # fmt: skip
    transformers.LlavaForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (20, 16), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_each_decoding_answers_and_repeats_itself(folder: Path, picture: Path, run: Run) -> None:
    asked = ("describe", picture, "--model", folder, "--question", "is it red", "--words", 6)
    said = {}
    for decoding in ("greedy", "saver", "saked"):
        code, out, err = run(*asked, "--decoding", decoding)
        assert code == 0, err
        said[decoding] = out.strip()
        assert run(*asked, "--decoding", decoding)[1].strip() == said[decoding]
    code, out, _ = run(*asked, "--decoding", "saver", "--set", "alpha=0.0")
    assert out.strip() == said["greedy"]  # no revision: the model's own words


def test_what_is_wrong_is_named(folder: Path, picture: Path, run: Run) -> None:
    code, _, err = run("describe", picture, "--model", folder, "--decoding", "beam")
    assert code == 2
    assert "greedy, saver, saked" in err
    code, _, err = run("describe", picture, "--model", picture.parent)
    assert code == 2
    assert str(picture.parent) in err
    code, _, err = run("describe", picture.parent / "none.png", "--model", folder)
    assert code == 2
    assert "none.png" in err
    code, _, err = run("describe", picture, "--model", folder, "--set", "alpah=1")
    assert code == 2
    assert "alpha" in err
