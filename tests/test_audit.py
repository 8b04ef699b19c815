"""``telltale audit-injection``: what it measures, what it refuses, and that it writes nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from telltale.audit import DEFENCES, Audit, Defended, Moved, detected, judged, totals
from telltale.audit.defences import bits, five, padded, smaller
from telltale.audit.judging import fitted
from telltale.audit.run import CROPPED, QUESTION, SMOOTHED, contains
from telltale.degrade.pixels import blur, resize
from telltale.nn.clip_tower import ClipTower, load_tower, sentence
from telltale.nn.vlm_tower import VlmTower, load_vlm
from telltale.robustness.prompt_injection import features

Run = Callable[..., tuple[int, str, str]]
SHORT = ("--set", "surrogate.depth=1")
TOY = {"surrogate.name": "vit_toy", "surrogate.depth": 2}


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"photo{number}.png" for number in range(2)]
    for path in paths:
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC).save(path)
    return paths


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights with both towers, and its image tower alone."""
    transformers = pytest.importorskip("transformers")
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    words += [f"{letter}</w>" for letter in words[2:]]
    folder = tmp_path_factory.mktemp("towers")
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    text = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=small | text | {"num_attention_heads": 2, "max_position_embeddings": 40},
        vision_config=small | {"num_attention_heads": 2, "image_size": 48, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config)
    model.save_pretrained(folder / "both")
    tokenizer.save_pretrained(folder / "both")
    alone = transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**(config.vision_config.to_dict() | {"projection_dim": 16}))
    )
    alone.vision_model.load_state_dict(model.vision_model.state_dict())
    alone.visual_projection.load_state_dict(model.visual_projection.state_dict())
    alone.save_pretrained(folder / "alone")
    return folder


def test_13_it_refuses_addresses_and_what_is_not_ones_own(photos: list[Path], run: Run) -> None:
    code, _, err = run("audit-injection", photos[0], "--recipe", "toy")
    assert code == 2
    assert "models of your own: say so with --own" in err
    for words in (
        ("--clip", "https://example.org/v1"),
        ("--recipe", "https://example.org/a.toml"),
        ("--set", "surrogate.name=https://example.org/v1"),
        ("--set", "surrogate.name=vit_toy", "--set", "surrogate.weights=http://example.org/w"),
    ):
        code, _, err = run("audit-injection", photos[0], "--own", *words)
        assert code == 2
        assert "local models only" in err
    code, _, err = run("audit-injection", photos[0], "--own", "--clip", photos[0].parent / "none")
    assert code == 2
    assert "want a local folder" in err
    code, _, err = run("audit-injection", photos[0], "--own")
    assert code == 2
    assert "want an encoder" in err


def test_the_table_and_no_picture(photos: list[Path], run: Run) -> None:
    words = ("--own", "--recipe", "toy", "--set", "method.steps=3", *SHORT)
    code, out, err = run("audit-injection", *photos, *words)
    assert code == 0, err
    for wanted in ("JPEG 30", "half size and back", SMOOTHED, CROPPED, " of 2", "AUC"):
        assert wanted in out
    assert out.count("of 255 at most") == 2
    assert sorted(photos[0].parent.iterdir()) == photos
    code, out, err = run("audit-injection", photos[0].parent / "none.png", photos[0], *words)
    assert code == 2
    assert "no such file" in err
    assert "of 1 " in out  # the other one was still looked at


def test_json_has_a_line_a_picture(photos: list[Path], run: Run) -> None:
    words = (
        "--own",
        "--set",
        "surrogate.name=vit_toy",
        "--set",
        "method.steps=2",
        "--json",
        *SHORT,
    )
    code, out, _ = run("audit-injection", *photos, *words)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["path"] for line in lines] == [str(path) for path in photos]
    assert set(lines[0]["defences"]) == {*DEFENCES, CROPPED, SMOOTHED}
    assert 0 < lines[0]["largest"] <= 16
    code, out, _ = run("audit-injection", photos[0], *words, "--set", "method.eps=0.0")
    assert json.loads(out)["psnr"] is None


def test_the_figures_are_what_they_say(photos: list[Path]) -> None:
    audit = Audit.of(own=True, settings=TOY | {"method.steps": 20, "method.fine": "none"})
    found = audit.picture(photos[0])
    plain = found.defences["none"]
    assert plain.after > plain.before + 0.05
    assert plain.kept == pytest.approx(1, abs=1e-5)
    assert found.largest <= 16
    assert 24 < found.psnr < 40
    assert 0.3 < found.ssim < 1
    with Image.open(photos[0]) as photo:
        middle = photo.crop((10, 0, 70, 60)).resize((40, 40), Image.Resampling.BICUBIC)
    images = torch.from_numpy(np.array(middle)).permute(2, 0, 1)[None].float() / 255
    seen = features(audit.attack.surrogates[0], images).whole[0]
    assert plain.before == pytest.approx(float(seen @ audit.names[0]), abs=1e-5)
    assert plain.won_before == bool((audit.names @ seen).argmax() == 0)
    jpeg = features(
        audit.attack.surrogates[0],
        torch.from_numpy(DEFENCES["JPEG 30"](np.array(middle))).permute(2, 0, 1)[None] / 255,
    ).whole[0]
    assert found.defences["JPEG 30"].kept == pytest.approx(float(jpeg @ seen), abs=1e-5)
    # Twice the same
    again = audit.picture(photos[0])
    assert again.unrest == found.unrest
    assert again.defences[SMOOTHED].after == found.defences[SMOOTHED].after


def test_14_identity_strength_leaves_pictures_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for same in (bits(pixels, 8), smaller(pixels, 1), padded(pixels, 1), blur(pixels, 0)):
        assert np.array_equal(same, pixels)
    assert all(np.array_equal(part, pixels) for part in five(pixels, 1))
    assert np.array_equal(DEFENCES["none"](pixels), pixels)


def test_defences_do_what_their_names_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert len(np.unique(bits(pixels))) == 16
    assert np.abs(bits(pixels).astype(int) - pixels).max() <= 9
    framed = padded(pixels)
    assert framed.shape == pixels.shape
    assert not framed[:2].any()
    assert np.array_equal(framed[2:38, 2:38], resize(pixels, 0.9))
    parts = five(pixels)
    assert len({part.tobytes() for part in parts}) == 5
    assert all(part.shape == pixels.shape for part in parts)
    assert np.abs(np.diff(smaller(pixels).astype(int), axis=0)).mean() < 40  # noise was 85


def test_14_without_an_attack_nothing_is_left_to_defend(photos: list[Path]) -> None:
    settings = TOY | {"method.steps": 0, "method.parts": ["noise", "picture"]}
    found = Audit.of(own=True, settings=settings).picture(photos[0])
    for row in found.defences.values():
        assert row.before == row.after
        assert row.won == row.won_before
    assert found.unrest == found.unrest_before
    assert found.largest == 0
    assert math.isinf(found.psnr)
    assert detected([found]) == 0.5


def test_totals_are_means_and_rates(photos: list[Path]) -> None:
    audit = Audit.of(own=True, settings=TOY | {"method.steps": 2})
    found: list[Moved] = [audit.picture(path) for path in photos]
    table = totals(found)
    for name, row in table.items():
        both = [one.defences[name] for one in found]
        assert row.after == pytest.approx(sum(r.after for r in both) / 2)
        assert row.rate == sum(r.won for r in both) / 2
        assert row.interval[0] <= row.rate <= row.interval[1]
    with pytest.raises(ValueError, match="one picture or more"):
        totals([])


def test_towers_see_what_clip_sees(towers: Path) -> None:
    tower, both = load_tower(towers / "both")
    alone, none = load_tower(towers / "alone")
    assert both is not None
    assert none is None
    assert isinstance(alone, ClipTower)
    images = torch.rand(2, 3, 48, 48)
    seen = features(tower, images)
    torch.testing.assert_close(seen.whole, both.pictures(images))
    torch.testing.assert_close(alone(images), tower(images))
    assert seen.tokens is not None
    assert seen.tokens.shape == (2, 36, 16)
    x = images.requires_grad_(True)
    assert torch.autograd.grad(tower(x).sum(), x)[0].abs().sum() > 0
    assert not any(p.requires_grad for p in tower.parameters())
    whole, words = sentence(both, "abc 42")
    torch.testing.assert_close(whole, both.sentences(["abc 42"]))
    assert words.shape == (1, 5, 16)  # a letter a token, without start and end
    torch.testing.assert_close(words.norm(dim=2), torch.ones(1, 5))
    with pytest.raises(ValueError, match="want images of 48 pixels"):
        tower(torch.rand(1, 3, 40, 40))


def test_a_clip_is_moved_toward_the_sentence(
    towers: Path, photos: list[Path], run: Run, tmp_path: Path
) -> None:
    settings = {"method.steps": 25}
    for folder, is_sentence in (("both", True), ("alone", False)):
        audit = Audit.of(own=True, clip=str(towers / folder), settings=settings)
        assert (audit.texts is not None) == is_sentence
        assert audit.names.shape == (9, 16)
        plain = audit.picture(photos[0]).defences["none"]
        assert plain.after > plain.before + 0.005
    (tmp_path / "empty").mkdir()
    code, _, err = run("audit-injection", photos[0], "--own", "--clip", tmp_path / "empty")
    assert code == 2
    assert "no CLIP can be loaded from there" in err


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature LLaVA of random weights that reads letters."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llava")
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 :.\n"]
    vocabulary = {
        w: n for n, w in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<image>", *letters])
    }
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    side = 40
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer, patch_size=8, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
    ).save_pretrained(path)  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            image_size=side, patch_size=8,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
            pad_token_id=0, initializer_range=0.3,
        ),
        image_token_index=4,
    )  # fmt: skip
    transformers.LlavaForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_a_vision_language_model_sees_and_answers(llava: Path, photos: list[Path]) -> None:
    tower = load_vlm(llava)
    assert isinstance(tower, VlmTower)
    images = torch.rand(2, 3, 40, 40)
    seen = tower(images)
    assert seen.shape == (2, 26, 32)
    torch.testing.assert_close(seen[:, 0], seen[:, 1:].mean(1))
    x = images.clone().requires_grad_(True)
    assert torch.autograd.grad(tower(x).sum(), x)[0].abs().sum() > 0
    # What it says greedily is likelier than any other letter
    own = tower.answer(images, QUESTION, words=1)[0]
    assert len(own) == 1
    found = {c: float(tower.likelihood(images[:1], QUESTION, c)) for c in {*"abcXYZ019", own}}
    assert max(found, key=lambda letter: found[letter]) == own
    assert found[own] < 0
    with pytest.raises(ValueError, match="want images of 40 pixels"):
        tower(torch.rand(1, 3, 32, 32))
    audit = Audit.of(own=True, vlm=str(llava), settings={"method.steps": 15})
    one = audit.picture(photos[0])
    assert one.defences["none"].after > one.defences["none"].before
    assert one.answers is not None
    assert one.answers.before < 0
    assert one.answers.before != one.answers.after
    assert not one.answers.said


@pytest.mark.filterwarnings("ignore")
def test_the_verb_on_a_vision_language_model(llava: Path, photos: list[Path], run: Run) -> None:
    words = ("audit-injection", photos[0], "--own", "--vlm", llava, "--set", "method.steps=2")
    code, out, err = run(*words)
    assert code == 0, err
    assert "nats a token, not said" in out
    code, out, _ = run(*words, "--json")
    line = json.loads(out)
    assert line["answers"]["before"] < 0
    assert len(line["signs"]) == len(DEFENCES) - 1
    for wrong, says in ((photos[0].parent, "no vision-language model"), ("none", "local folder")):
        code, _, err = run("audit-injection", photos[0], "--own", "--vlm", wrong)
        assert code == 2
        assert says in err
    code, _, err = run("audit-injection", photos[0], "--own", "--vlm", "https://a.example/model")
    assert code == 2
    assert "local models only" in err


def test_12_an_answer_has_the_target_in_it_or_not() -> None:
    assert contains("It says: purple  LANTERN\n42.", "PURPLE LANTERN 42")
    assert not contains("PURPLE LANTERN", "PURPLE LANTERN 42")
    assert not contains(QUESTION, "PURPLE LANTERN 42")


def moved(signs_before: tuple[float, ...], signs: tuple[float, ...], *, won: bool) -> Moved:
    row = Defended(0.1, 0.5, won_before=False, won=won, kept=1.0, seconds=0.1)
    means = float(np.mean(signs_before)), float(np.mean(signs))
    return Moved("a", {"none": row}, 16, 30.0, 0.9, *means, signs_before, signs)


def test_the_detector_learns_from_the_other_pictures() -> None:
    random = np.random.default_rng(0)
    found = [
        moved(tuple(random.uniform(0.01, 0.02, 3)), tuple(random.uniform(0.1, 0.2, 3)), won=True)
        for _ in range(8)
    ]
    apart = judged(found)
    assert apart is not None
    assert (apart.pictures, apart.flagged, apart.taken) == (8, 8, 0)
    assert apart.auc > 0.99
    assert apart.false <= 3  # the threshold is the highest of seven others
    assert apart.interval[0] == 0
    same = [
        moved(tuple(random.uniform(0.01, 0.02, 3)), tuple(random.uniform(0.01, 0.02, 3)), won=True)
        for _ in range(30)
    ]
    blind = judged(same)
    assert blind is not None
    assert blind.flagged < 15
    assert 0.25 < blind.auc < 0.75
    assert blind.taken == 30 - blind.flagged
    assert judged(found[:3]) is None


def test_a_ridge_regression_by_its_own_equation() -> None:
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(40, 2)), random.integers(0, 2, 40).astype(float)
    weights = fitted(rows, labels)
    x = np.concatenate([rows, np.ones((40, 1))], 1)
    slope = x.T @ (1 / (1 + np.exp(-x @ weights)) - labels) + weights * [1, 1, 1e-6]
    assert np.abs(slope).max() < 1e-9


def test_a_table_with_the_detector(photos: list[Path], run: Run) -> None:
    words = ("--own", "--recipe", "toy", "--set", "method.steps=2", *SHORT)
    code, out, err = run("audit-injection", *photos, *photos, *words)
    assert code == 0, err
    assert "refused if flagged" in out
    assert "A detector that learnt from the other pictures flags" in out
