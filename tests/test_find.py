"""Moments of a drawn video: its colours change, and a miniature CLIP is told what they are."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from telltale.data.moments import pooled
from telltale.find import Watched, find, load_network, watch
from telltale.fit import save
from telltale.language.vid_morp import VidMorp
from telltale.nn.clip import Clip, load_clip, with_context
from telltale.records import Subject

Run = Callable[..., tuple[int, str, str]]
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
WORDS = ["a", "photo", "of", "red", "green", "blue", "wall", "the", "is", "dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two blocks with random weights, and a tokenizer of some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip")
    vocabulary = {word: k for k, word in enumerate(["<unk>", *WORDS, "<start>", "<end>"])}
    start, end = vocabulary["<start>"], vocabulary["<end>"]
    tower = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    text = transformers.CLIPTextConfig(
        **tower, vocab_size=len(vocabulary), max_position_embeddings=16, bos_token_id=start,
        eos_token_id=end, pad_token_id=end, projection_dim=24,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(**tower, image_size=32, patch_size=16, projection_dim=24)
    config = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24
    )
    transformers.CLIPModel(config).save_pretrained(path)
    core = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        pad_token="<end>", model_max_length=16,
    ).save_pretrained(path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return load_clip(str(folder))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds: a red wall, from 4 to 7 s a green one."""
    path = tmp_path_factory.mktemp("video") / "walls.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(96):
            pixels = np.zeros((64, 96, 3), np.uint8)
            pixels[..., 1 if 32 <= number < 56 else 0] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def taught(watched: Watched, clip: Clip, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sentence mean what sets the green frames apart."""
    green = (watched.seconds >= 4) & (watched.seconds < 7)
    meant = torch.from_numpy(watched.features[green].mean(0) - watched.features[~green].mean(0))
    known = clip.sentences([text], "a photo of")
    rotate = torch.outer(meant / meant.norm(), known[0])
    plain = clip.read
    monkeypatch.setattr(clip, "read", lambda tokens: plain(tokens) @ rotate.T)


def test_15_what_follows_the_end_of_text_has_no_effect(clip: Clip) -> None:
    start, end = clip.tokenizer.bos_token_id, clip.tokenizer.eos_token_id
    tokens = with_context([[start, 5, 6, end]], [1, 2, 3])
    assert tokens.tolist() == [[start, 1, 2, 3, 5, 6, end]]  # the end moves by three
    longer = torch.cat([tokens, torch.tensor([[7, 8, 9]])], 1)
    other = torch.cat([tokens, torch.tensor([[4, 2, end]])], 1)
    torch.testing.assert_close(clip.read(longer), clip.read(other))
    torch.testing.assert_close(clip.read(longer), clip.read(tokens))
    assert not torch.allclose(clip.read(with_context([[start, 5, 6, end]], [])), clip.read(tokens))


def test_sentences_are_as_transformers_has_them(clip: Clip) -> None:
    given = clip.tokenizer(["a photo of red wall"], return_tensors="pt")
    states = clip.model.text_model(input_ids=given["input_ids"]).pooler_output
    wanted = torch.nn.functional.normalize(clip.model.text_projection(states), dim=1)
    one, two = clip.sentences(["red wall", "the dog is red " * 9], "a photo of")
    torch.testing.assert_close(one, wanted[0])
    assert two.isfinite().all()  # cut to what the tower can read
    assert not any(p.requires_grad for p in clip.parameters())
    with pytest.raises(ValueError, match="none of them empty"):
        clip.sentences([" "])
    with pytest.raises(ValueError, match="want images of 32 pixels"):
        clip.pictures(torch.rand(1, 3, 16, 16))


def test_the_moment_is_where_the_wall_is_green(
    video: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(video, clip)
    assert watched.features.shape == (24, 24)
    taught(watched, clip, "green wall", monkeypatch)
    found = find(watched, "green wall", clip)
    assert found[0].start == pytest.approx(4, abs=0.3)
    assert found[0].end == pytest.approx(7, abs=0.3)
    assert found[0].score > 0
    assert found[0].thumbnail[:2] == b"\xff\xd8"
    for one, two in pairwise(found):
        assert one.end <= two.start or two.end <= one.start


def test_what_was_seen_is_kept_and_checked(video: Path, clip: Clip, tmp_path: Path) -> None:
    kept = tmp_path / "seen.npz"
    one = watch(video, clip, kept=kept)
    clip.size += 1  # the tower is not asked again, else it would refuse
    two = watch(video, clip, kept=kept)
    clip.size -= 1
    assert np.array_equal(one.features, two.features)
    assert one.thumbnails == two.thumbnails
    assert (one.subject, one.duration) == (two.subject, two.duration)
    with pytest.raises(ValueError, match=r"seen\.npz: was made from another video, model or rate"):
        watch(video, clip, fps=3, kept=kept)
    kept.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"seen\.npz: not what"):
        watch(video, clip, kept=kept)


def test_a_trained_network_is_asked(video: Path, clip: Clip, tmp_path: Path) -> None:
    network = VidMorp(width=24, sentence_width=24, channels=4, clips=8)
    save(network, tmp_path / "network.safetensors")
    again = load_network(tmp_path / "network.safetensors")
    assert (again.clips, again.width) == (8, 24)
    watched = watch(video, clip)
    found = find(watched, "green wall", clip, network=again, top=2)
    assert 1 <= len(found) <= 2
    assert all(0 <= m.start < m.end <= watched.duration + 1e-3 for m in found)
    wide = VidMorp(width=16, sentence_width=24, channels=4, clips=8)
    with pytest.raises(ValueError, match="wants features of 16"):
        find(watched, "green wall", clip, network=wide)
    save(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: not the weights"):
        load_network(tmp_path / "other.safetensors")


def test_a_network_looks_at_a_long_video_in_windows(clip: Clip) -> None:
    """Ten minutes; what a window shows is found to its own, finer grid of clips."""
    torch.manual_seed(0)
    count, rng = 1200, np.random.default_rng(0)
    rows = rng.normal(size=(count, 24)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    subject = Subject("long.mp4", "0" * 64, 1, "video", "MP4", 64, 48, 600.0)
    watched = Watched(subject, clip.name, 2, np.arange(count) / 2, rows, (b"",) * count)
    network = VidMorp(width=24, sentence_width=24, channels=4, clips=8).eval()
    plain, asked = network.localise, []

    def localise(features: torch.Tensor, *args: torch.Tensor) -> list[torch.Tensor]:
        asked.append((features, args[1]))
        return plain(features, *args)

    network.localise = localise  # type: ignore[method-assign]
    found = find(watched, "dog", clip, network=network, top=50)
    features, lengths = asked[0]
    assert lengths.tolist() == [600] + [150] * 7  # the whole, then every 75 s to the end
    for number, begin in enumerate(range(0, 451, 75), 1):
        part = rows[2 * begin : 2 * begin + 300]
        torch.testing.assert_close(features[number], torch.from_numpy(pooled(part, 8)))
    assert all(0 <= m.start < m.end <= 600.001 for m in found)
    assert any(m.end > 450 for m in found)
    for one, two in pairwise(sorted(found)):
        assert one.end <= two.start + 1e-3
    one = find(watched, "dog", clip, network=network, top=50, window=600)
    assert asked[-1][1].tolist() == [600]
    assert one != found


def test_the_command_line(run: Run, video: Path, folder: Path, tmp_path: Path) -> None:
    page, frames = tmp_path / "page.html", tmp_path / "frames"
    words = (
        "find",
        video,
        "green wall",
        "the <dog>",
        "--model",
        folder,
        "--keep",
        tmp_path / "k.npz",
    )
    code, out, _ = run(*words, "--report", page, "--thumbnails", frames, "--json")
    assert code == 0
    table = json.loads(out)
    assert [row["text"] for row in table["found"]] == ["green wall", "the <dog>"]
    assert table["seconds"] == pytest.approx(12, abs=0.2)
    count = sum(len(row["moments"]) for row in table["found"])
    assert count == len([*frames.glob("*.jpg")]) >= 1
    text = page.read_text()
    assert text.count("data:image/jpeg") == count
    assert "the &lt;dog&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    code, out, _ = run(*words)
    assert code == 0
    assert "contrast" in out
    code, _, err = run("find", video, "dog", "--model", tmp_path)
    assert code == 2
    assert "no CLIP model" in err
    code, _, err = run("find", folder / "config.json", "dog", "--model", folder)
    assert code == 2
    assert "config.json" in err
