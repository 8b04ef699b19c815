"""Where batches come from: domains in blocks, covers, kinds left out, frames chosen."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from telltale.data import WORDS
from telltale.data.covers import Covered
from telltale.data.manifest import split_of
from telltale.data.sources import Data, Source, ToySource, absolute, open_source
from telltale.data.synth.textures import textures
from telltale.data.synth.toyfaces import KINDS
from telltale.nn.residuals import noise_map

MEDIA = Path(__file__).parents[2] / "examples/media"
ALL = ("images", "labels", "masks", "domains", "partners")


def source(tmp_path: Path, fields: tuple[str, ...] = ALL, size: int = 40, **table: Any) -> Source:
    table = {"scenes": 20, "validation": 8, "batch": 20} | table
    return open_source(Data(**table), fields=fields, size=size, seed=3, cache=tmp_path / "cache")


def toys(tmp_path: Path, fields: tuple[str, ...] = ALL, **table: Any) -> Source:
    return source(tmp_path, fields, manifest="synth:toyfaces", **table)


def pictures(folder: Path, kinds: dict[str, int], clips: int = 30, frames: int = 2) -> Path:
    """A folder for each class with numbered frames, each of one grey level that is its own."""
    for kind, base in kinds.items():
        for clip in range(clips):
            for frame in range(frames):
                path = folder / kind / f"{clip:02}" / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (base + clip, frame, 0)).save(path)
    return folder


def test_toy_domains_come_in_equal_blocks_the_genuine_first(tmp_path: Path) -> None:
    batch = toys(tmp_path, balance="domains")[5]
    assert batch["domains"].tolist() == sorted([0, 1, 2, 3, 4] * 4)
    assert batch["labels"].tolist() == [0] * 4 + [1] * 16
    real = batch["labels"] == 0
    assert np.array_equal(batch["images"][real], batch["partners"][real])
    assert not batch["masks"][real].any()
    assert all(batch["masks"][k].any() for k in np.flatnonzero(~real))
    with pytest.raises(ValueError, match="want a multiple of 5, genuine and 4 kinds, got 18"):
        toys(tmp_path, balance="domains", batch=18)
    with pytest.raises(ValueError, match="labels, domains, pairs, datasets, families, got 'kinds'"):
        Data(manifest="x", balance="kinds")


def test_toy_domains_keep_their_numbers_when_one_is_left_out(tmp_path: Path) -> None:
    made = toys(tmp_path, balance="domains", leave_out=["FS"])
    assert made.about["kinds"] == [kind for kind in KINDS if kind != "FS"]
    assert set(made[0]["domains"].tolist()) == {0, 1, 3, 4}
    with pytest.raises(ValueError, match=r"data\.leave_out: want some of DF, .* got 'XY'"):
        toys(tmp_path, leave_out=["XY"])


def test_manifest_domains_come_in_equal_blocks(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "faces", {"real": 0, "blend": 80, "swap": 160})
    table = {"manifest": str(folder), "batch": 12, "balance": "domains"}
    made = source(tmp_path, ("images", "labels", "domains"), size=8, **table)
    seen = set()
    for number in range(30):
        batch = made[number]
        assert batch["domains"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert batch["labels"].tolist() == [0] * 4 + [1] * 8
        red = np.rint(batch["images"][:, 0, 0, 0] * 255)
        assert ((red // 80) == batch["domains"]).all()
        seen |= set(red[:4].tolist())
    assert len(seen) >= 20  # every genuine clip of the training split comes round
    assert np.array_equal(made[7]["images"], made[7]["images"])
    left = source(tmp_path, ("images", "domains"), size=8, **table, leave_out=["blend"])
    assert left.about["kinds"] == ["swap"]
    assert (left[0]["images"][:, 0, 0, 0] * 255 < 240).all()
    assert set(left[0]["domains"].tolist()) == {0, 1}
    with pytest.raises(ValueError, match=r"to balance want genuine and \('blend', 'swap'\)"):
        source(tmp_path, ("domains",), size=8, **table | {"batch": 10})[0]


def test_frames_of_a_video_can_be_fewer(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "faces", {"real": 0, "swap": 160})
    all_of_them = source(tmp_path, ("images", "labels"), size=8, manifest=str(folder))
    one = source(tmp_path, ("images", "labels"), size=8, manifest=str(folder), frames=1)
    assert all_of_them.about["train"] == 2 * one.about["train"]
    assert (one[0]["images"][:, 1] == 0).all()  # frame 0 of 2


def test_videos_are_not_pictures(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        for n in range(30):
            path = tmp_path / label / f"{n}.mp4"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    with pytest.raises(ValueError, match=r"\.mp4 is a video; cut its faces first: telltale prep"):
        source(tmp_path, ("images", "labels"), manifest=str(tmp_path))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of the examples, with names that split_of puts two and two apart."""
    folder = tmp_path_factory.mktemp("people")
    names = split_names()
    files = ("astronaut", "commodore", "photographer", "astronaut")
    for file, name in zip(files, [*names["train"], *names["val"]], strict=True):
        (folder / name).mkdir()
        shutil.copy(MEDIA / f"{file}.jpg", folder / name / "1.jpg")
    return folder


def split_names() -> dict[str, list[str]]:
    names = [f"p{n}" for n in range(100)]
    return {split: [it for it in names if split_of(it) == split][:2] for split in ("train", "val")}


def test_forged_faces_have_domains_and_partners(tmp_path: Path, people: Path) -> None:
    table = {"manifest": str(people), "forge": ["self_blend", "swap_alpha"], "validation": 6}
    made = source(tmp_path, size=56, batch=6, **table)
    batch = made[0]
    assert batch["domains"][:3].tolist() == [0] * 3
    assert set(batch["domains"][3:].tolist()) <= {1, 2}
    assert np.array_equal(batch["partners"][:3], batch["images"][:3])
    assert np.array_equal(batch["partners"][3:], batch["images"][:3])
    blocks = source(tmp_path, size=56, batch=6, balance="domains", **table)[0]
    assert blocks["domains"].tolist() == [0, 0, 1, 1, 2, 2]
    assert blocks["labels"].tolist() == [0, 0, 1, 1, 1, 1]
    outside = (blocks["masks"][2:] == 0).repeat(3, axis=1)
    gap = np.abs(blocks["images"] - blocks["partners"])[2:]
    assert gap[outside].mean() < gap[~outside].mean()
    assert sorted(next(iter(made.validation()))["labels"].tolist()) == [0] * 3 + [1] * 3


def test_noise_maps_are_given_where_they_are_asked_for(tmp_path: Path, people: Path) -> None:
    fields = ("images", "labels", "noise")
    batch = toys(tmp_path, fields)[0]
    own = noise_map(torch.from_numpy(batch["images"])).numpy()  # toys are never scaled
    assert np.abs(batch["noise"] - own).max() < 1e-6
    table = {"manifest": str(people), "forge": ["self_blend"], "size": 56, "batch": 6}
    for balance in ("labels", "domains"):
        forged = source(tmp_path, fields, balance=balance, **table)[0]
        assert forged["noise"].shape == forged["images"][:, :1].shape
        assert forged["noise"].std() > 0.001
    assert "noise" in WORDS


def test_covers_are_drawn_afresh_and_know_no_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = ("images", "labels", "covers")
    made = toys(tmp_path, fields)
    batch, other = made[0], made[1]
    assert batch["covers"].shape == batch["images"].shape
    assert batch["covers"].dtype == np.float32
    assert not np.array_equal(batch["covers"], other["covers"])
    assert np.array_equal(batch["covers"], made[0]["covers"])
    assert len(np.unique(batch["covers"].reshape(20, -1), axis=0)) == 20
    plain = toys(tmp_path, ("images", "labels"))
    given = plain[0]
    monkeypatch.setattr(
        ToySource, "__getitem__", lambda *_: given | {"labels": 1 - given["labels"]}
    )
    turned = Covered(plain, "", 40, seed=3)[0]  # as it is, but for the labels
    assert np.array_equal(turned["labels"], 1 - batch["labels"])
    assert np.array_equal(turned["covers"], batch["covers"])
    monkeypatch.undo()
    natural = toys(tmp_path, fields, covers=str(MEDIA))
    assert "pictures" in natural.about["covers"]
    covers = natural[0]["covers"]
    assert covers.shape == batch["images"].shape
    assert 0 <= covers.min() < covers.max() <= 1
    first = [batch["covers"] for batch in natural.validation()]
    again = [batch["covers"] for batch in natural.validation()]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data\.covers: no pictures in .*empty"):
        toys(tmp_path, fields, covers=str(tmp_path / "empty"))
    assert "covers" in WORDS


def test_textures_are_smooth_with_edges_and_the_same_for_a_seed() -> None:
    made = textures(3, 40, np.random.default_rng(1))
    assert made.shape == (3, 3, 40, 40)
    assert np.array_equal(made, textures(3, 40, np.random.default_rng(1)))
    near = np.abs(np.diff(made, axis=-1)).mean()
    far = np.abs(made[..., 20:] - made[..., :20]).mean()
    assert near < 0.5 * far  # natural pictures are alike nearby
    with pytest.raises(ValueError, match="8 pixels or more, got 4"):
        textures(1, 4, np.random.default_rng(0))


def test_a_manifest_means_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("data") == str(tmp_path / "data")
    assert absolute("ffpp-c40:data") == f"ffpp-c40:{tmp_path / 'data'}"
    assert absolute("synth:toyfaces") == "synth:toyfaces"
    assert absolute("gone.csv") == "gone.csv"
