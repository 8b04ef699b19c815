"""The field's datasets come in by their true layouts, with their traps."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import trees

from telltale.data.forgery import located, remarks
from telltale.data.forgery.frame_paths import places
from telltale.data.manifest import Manifest, Row, read_manifest, split_of


def of(manifest: Manifest) -> dict[str, Row]:
    return {row.video: row for row in manifest.rows}


def test_ffpp_has_originals_and_four_methods_by_the_official_pairs(tmp_path: Path) -> None:
    found = read_manifest(trees.ffpp(tmp_path / "FaceForensics++"))
    assert found.name == "ffpp:FaceForensics++"
    assert len(found) == 8 * 5
    assert found.kinds == ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    rows = of(found)
    fake, real = rows["ffpp/Deepfakes/953_974"], rows["ffpp/original/953"]
    assert (fake.label, fake.kind, fake.split) == (1, "Deepfakes", "test")
    assert (real.label, real.kind, real.split) == (0, "", "test")
    assert fake.source == real.source == rows["ffpp/FaceSwap/974_953"].source == "ff:953+974"
    assert fake.partner == real.path  # the target, whose background and frame numbers it has
    assert fake.mask == tmp_path / (
        "FaceForensics++/manipulated_sequences/Deepfakes/masks/videos/953_974.mp4"
    )
    assert all(row.mask for row in found.rows if row.label)
    assert Counter(row.split for row in found.rows) == {"train": 20, "val": 10, "test": 10}
    assert not found.divided()


def test_faceshifter_lies_in_the_same_root_and_has_no_masks(tmp_path: Path) -> None:
    found = read_manifest(f"faceshifter:{trees.ffpp(tmp_path)}")
    rows = of(found)
    assert len(found) == 8 * 2
    assert found.kinds == ("FaceShifter",)
    fake = rows["faceshifter/FaceShifter/953_974"]
    assert (fake.mask, fake.split, fake.source) == (None, "test", "ff:953+974")
    assert fake.partner == rows["faceshifter/original/953"].path
    with pytest.raises(ValueError, match="manipulated_sequences/FaceShifter/c40"):
        read_manifest(f"faceshifter-c40:{tmp_path}")


def test_a_missing_official_split_is_remarked(tmp_path: Path) -> None:
    assert remarks(trees.ffpp(tmp_path / "whole")) == []
    assert remarks(trees.celebdf(tmp_path / "celeb")) == []
    assert remarks(trees.deeperforensics(tmp_path / "deeper")) == []
    assert remarks(trees.dfdcp(tmp_path / "preview")) == []
    root = trees.ffpp(tmp_path / "ffpp", "c40", splits=False)
    for name in (str(root), f"ffpp-c40:{root}", f"faceshifter-c40:{root}"):
        (remark,) = remarks(name)
        assert "ffpp: without train.json, val.json and test.json a hash of each pair" in remark
    (tmp_path / "celeb/List_of_testing_videos.txt").unlink()
    (remark,) = remarks(tmp_path / "celeb")
    assert "celeb: without List_of_testing_videos.txt a hash of each person" in remark
    shutil.rmtree(tmp_path / "deeper/lists")
    (remark,) = remarks(tmp_path / "deeper")
    assert "deeper: without lists/splits a hash of each target" in remark


def test_ffpp_without_split_files_keeps_pairs_together(tmp_path: Path) -> None:
    found = read_manifest(trees.ffpp(tmp_path, splits=False))
    assert not found.divided()
    assert {row.split for row in found.rows} == {split_of(row.source) for row in found.rows}
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(ValueError, match=r"val\.json: want pairs such as"):
        read_manifest(tmp_path)


def test_ffpp_levels_are_named_and_a_missing_one_is_said(tmp_path: Path) -> None:
    trees.ffpp(tmp_path, "c40")
    assert len(read_manifest(f"ffpp-c40:{tmp_path}")) == 40
    with pytest.raises(ValueError, match="want original_sequences/youtube/raw or"):
        read_manifest(f"ffpp-raw:{tmp_path}")
    with pytest.raises(ValueError, match="c23"):
        read_manifest(tmp_path)


def test_ffpp_refuses_what_the_splits_do_not_name(tmp_path: Path) -> None:
    trees.ffpp(tmp_path)
    stray = tmp_path / "original_sequences/youtube/c23/videos/999.mp4"
    stray.touch()
    with pytest.raises(ValueError, match=r"video 999 is in none of train\.json"):
        read_manifest(tmp_path)
    stray.unlink()
    videos = tmp_path / "manipulated_sequences/FaceSwap/c23/videos"
    trees.touch([videos / "071_953.mp4"])
    with pytest.raises(ValueError, match="071 and 953 are in different splits"):
        read_manifest(tmp_path)
    (videos / "071_953.mp4").rename(videos / "071_054 (1).mp4")
    with pytest.raises(ValueError, match=r"071_054 \(1\)\.mp4: want a fake's name such as"):
        read_manifest(tmp_path)


def test_ffpp_frames_have_the_partner_and_mask_of_their_number(tmp_path: Path) -> None:
    c23 = tmp_path / "manipulated_sequences/Deepfakes/c23"
    trees.touch(c23 / f"frames/071_054/{k:03}.png" for k in (2, 10))
    trees.touch(
        [
            c23 / "masks/071_054/002.png",
            tmp_path / "original_sequences/youtube/c23/frames/071/002.png",
        ]
    )
    rows = [row for row in read_manifest(tmp_path).rows if row.label]
    assert [row.path.name for row in rows] == ["002.png", "010.png"]
    assert [row.mask and row.mask.name for row in rows] == ["002.png", None]
    assert rows[0].partner == tmp_path / "original_sequences/youtube/c23/frames/071/002.png"
    assert rows[1].partner is None


def test_dfd_lies_in_the_same_root_and_is_for_testing(tmp_path: Path) -> None:
    rows = of(read_manifest(f"dfd:{trees.ffpp(tmp_path)}"))
    fake = rows["dfd/DeepFakeDetection/01_02__talking_outside__YVGY8LOK"]
    assert len(rows) == 3
    assert {row.split for row in rows.values()} == {"test"}
    assert fake.source == rows["dfd/actors/01__talking_outside"].source == "dfd:01"
    assert fake.partner == rows["dfd/actors/01__talking_outside"].path


def test_celebdf_flag_one_means_real(tmp_path: Path) -> None:
    found = read_manifest(trees.celebdf(tmp_path))
    rows = of(found)
    assert len(found) == 8
    assert found.kinds == ("Celeb-synthesis",)
    testing = {name: row.label for name, row in rows.items() if row.split == "test"}
    assert testing == {
        "celebdf-v2/YouTube-real/00170": 0,
        "celebdf-v2/Celeb-real/id1_0000": 0,
        "celebdf-v2/Celeb-synthesis/id1_id0_0000": 1,
    }
    fake = rows["celebdf-v2/Celeb-synthesis/id0_id1_0000"]
    assert fake.source == "celebdf-v2:id0"
    assert fake.partner == rows["celebdf-v2/Celeb-real/id0_0000"].path
    assert of(read_manifest(f"celebdf-v1:{tmp_path}")).keys() == {
        name.replace("v2", "v1") for name in rows
    }
    path = tmp_path / "List_of_testing_videos.txt"
    listed = path.read_text()
    path.write_text(listed.replace("0 Celeb-s", "1 Celeb-s"))
    with pytest.raises(ValueError, match=r"line 3: flag 1 on Celeb-synthesis; 1 means real"):
        read_manifest(tmp_path)
    path.write_text(listed + "1 Celeb-real/id9_0009.mp4\n")
    with pytest.raises(ValueError, match=r"1 videos are not there, e\.g\. Celeb-real/id9_0009"):
        read_manifest(tmp_path)


def test_dfdc_fakes_belong_to_their_original(tmp_path: Path) -> None:
    rows = of(read_manifest(trees.dfdc(tmp_path)))
    assert len(rows) == 5
    assert {row.source for name, row in rows.items() if "test" not in name} == {"dfdc:aaa"}
    assert rows["dfdc/dfdc/ccc"].partner == rows["dfdc/original/aaa"].path  # in another part
    assert rows["dfdc/dfdc/test/yyy"].split == "test"
    assert rows["dfdc/original/test/xxx"].label == 0
    assert rows["dfdc/dfdc/bbb"].split in ("train", "val")
    (tmp_path / "dfdc_train_part_0/bbb.mp4").unlink()
    with pytest.raises(ValueError, match=r"metadata\.json: there is no bbb\.mp4"):
        read_manifest(tmp_path)


def test_dfdc_is_known_with_its_parts_below_train_and_with_its_test_set_alone(
    tmp_path: Path,
) -> None:
    """DeepfakeBench wants the parts in a folder of their own, with frames in place of videos."""
    plain = read_manifest(trees.dfdc(tmp_path / "plain"))
    root = trees.dfdc(tmp_path / "DFDC")
    (root / "train").mkdir()
    for part in root.glob("dfdc_train_part_*"):
        part.rename(root / "train" / part.name)
    for video in [*root.rglob("*.mp4")]:
        video.unlink()
        trees.touch([video.parent / "frames" / video.stem / "000.png"])
    found = read_manifest(root)
    assert found.kinds == ("dfdc",)
    assert {name: row.label for name, row in of(found).items()} == {
        name: row.label for name, row in of(plain).items()
    }
    shutil.rmtree(root / "train")
    assert {row.video: row.label for row in read_manifest(root).rows} == {
        "dfdc/original/test/xxx": 0,
        "dfdc/dfdc/test/yyy": 1,
    }


def test_dfdc_preview_names_its_methods(tmp_path: Path) -> None:
    found = read_manifest(trees.dfdcp(tmp_path))
    assert found.kinds == ("method_A",)
    assert sorted((row.label, row.split, row.source) for row in found.rows) == [
        (0, "test", "dfdcp:1224068"),
        (0, split_of("dfdcp:643772").replace("test", "train"), "dfdcp:643772"),
        (1, "test", "dfdcp:1224068"),
    ]


def test_deeperforensics_takes_the_targets_as_real_never_the_studio(tmp_path: Path) -> None:
    found = read_manifest(trees.deeperforensics(tmp_path))
    rows = of(found)
    real = sorted(row.path.stem for row in found.rows if not row.label)
    assert real == ["000", "001", "002"]  # 003 is the target of no fake; W120 is studio footage
    assert rows["deeperforensics/end_to_end/001_M004"].split == "val"
    assert rows["deeperforensics/original/001"].split == "val"
    assert rows["deeperforensics/end_to_end/001_M004"].source == "ff:001"
    hard = read_manifest(f"deeperforensics-end_to_end_level_3:{tmp_path}")
    assert hard.kinds == ("end_to_end_level_3",)
    with pytest.raises(ValueError, match="want manipulated_videos/reenact_postprocess"):
        read_manifest(f"deeperforensics-reenact_postprocess:{tmp_path}")


def test_wilddeepfake_archives_are_sources(tmp_path: Path) -> None:
    found = read_manifest(trees.wilddeepfake(tmp_path))
    first = [row for row in found.rows if row.video == "wilddeepfake/fake/test/0/fake/3"]
    assert [row.path.name for row in first] == ["9.png", "10.png"]  # by number, not by letter
    assert first[0].source == "wilddeepfake:fake_test/0"
    assert {row.split for row in found.rows} == {"train", "val", "test"}
    assert not found.divided()
    (tmp_path / "real_train/77.tar.gz").touch()
    with pytest.raises(ValueError, match=r"77\.tar\.gz: unpack the archives first"):
        read_manifest(tmp_path)


def test_df40_finds_methods_domains_and_real_faces(tmp_path: Path) -> None:
    found = read_manifest(trees.df40(tmp_path))
    rows = of(found)
    assert found.name.startswith("df40:")
    assert found.kinds == ("ddim", "e4e", "heygen", "simswap")
    assert rows["df40/simswap/DF40/ff/953_974"].source == "ff:953+974"
    assert rows["df40/ff-real/c23/953"].source == "ff:953+974"
    assert rows["df40/ddim/DF40/ff/953"].source == "ff:953+974"
    assert rows["df40/ff-real/c23/953"].split == "test"
    assert rows["df40/ff-real/c23/071"].split == rows["df40/simswap/DF40_train/ff/071_054"].split
    assert rows["df40/ff-real/c23/071"].split in ("train", "val")
    assert rows["df40/heygen-real/DF40/real/a"].label == 0
    assert rows["df40/heygen/DF40/fake/b"].label == 1
    assert rows["df40/cdf-real/Celeb-real/id1_0000"].source == "celebdf-v2:id1"


def test_df40s_pictures_of_no_video_are_each_their_own(tmp_path: Path) -> None:
    found = [row for row in read_manifest(trees.df40(tmp_path)).rows if row.kind == "e4e"]
    head = "df40/e4e/DF40"
    assert {row.video: row.source for row in found} == {
        f"{head}/cdf/Celeb-real/inversions/id1_0000_3": "celebdf-v2:id1",
        f"{head}/cdf/Celeb-real/inversions/id1_0000_4": "celebdf-v2:id1",
        f"{head}/cdf/YouTube-real/inversions/00170_3": "celebdf-v2:YouTube-real/00170",
        f"{head}/ff/inversions/953_021": "ff:953+974",  # 021 is a frame's number, no person's
        f"{head}/ff/inversions/953_974": "ff:953+974",
    }


def test_folders_by_split_class_and_video(tmp_path: Path) -> None:
    root = tmp_path / "c23"
    for split, clip in (("train", "071"), ("valid", "720"), ("test", "953")):
        trees.touch(root / split / "original" / clip / f"{k}.png" for k in (2, 10))
    trees.touch([root / "train/FaceSwap/071_054/0.png"])
    found = read_manifest(root)
    assert {row.split for row in found.rows} == {"train", "val", "test"}
    assert of(found)["c23/FaceSwap/071_054"].source == of(found)["c23/original/071"].source
    assert [row.path.name for row in found.rows if row.video.endswith("071")] == ["2.png", "10.png"]


def bench(root: Path) -> dict[str, dict[str, object]]:
    """FaceForensics++ of one pair a split, at two levels."""

    def clip(label: str, folder: str, name: str) -> dict[str, object]:
        return {
            level: {name: trees.entry(root, label, f"{folder}/{level}/frames/{name}", (10, 9))}
            for level in ("c23", "c40")
        }

    real, fake = "FF/original_sequences/youtube", "FF/manipulated_sequences/NeuralTextures"
    splits = {"train": ("071", "071_054"), "val": ("720", "720_672"), "test": ("953", "953_974")}
    return {
        "FF-real": {split: clip("FF-real", real, one) for split, (one, _) in splits.items()},
        "FF-NT": {split: clip("FF-NT", fake, two) for split, (_, two) in splits.items()},
    }


def test_deepfakebench_has_backslashes_unsorted_frames_and_levels(tmp_path: Path) -> None:
    path = trees.benchmark(tmp_path, "FaceForensics++", bench(tmp_path))
    masks = tmp_path / "datasets/rgb/FF/manipulated_sequences/NeuralTextures/c23/masks"
    trees.touch([masks / "953_974/9.png"])
    found = read_manifest(path)
    assert len(found) == 12
    assert found.kinds == ("NeuralTextures",)
    fakes = [row for row in found.rows if row.video == "FaceForensics++/FF-NT/953_974"]
    assert [row.path.name for row in fakes] == ["9.png", "10.png"]
    assert fakes[0].path.parts[-4:] == ("c23", "frames", "953_974", "9.png")
    assert (fakes[0].label, fakes[0].split, fakes[0].source) == (1, "test", "ff:953+974")
    assert [row.mask and row.mask.name for row in fakes] == ["9.png", None]
    assert fakes[1].partner is not None
    assert fakes[1].partner.parts[-2:] == ("953", "10.png")
    other = read_manifest(f"deepfakebench-c40:{path}")
    assert {row.path.parts[-4] for row in other.rows} == {"c40"}
    with pytest.raises(ValueError, match="no videos of level raw"):
        read_manifest(f"deepfakebench-raw:{path}")


def test_deepfakebench_counts_a_video_of_several_splits_for_testing(tmp_path: Path) -> None:
    def clip(label: str, name: str) -> dict[str, object]:
        return {name: trees.entry(tmp_path, label, f"Celeb-DF-v2/{label}/frames/{name}", (0,))}

    tested = clip("CelebDFv2_real", "id1_0000")
    learned = {k: v for n in range(40) for k, v in clip("CelebDFv2_real", f"id{n}_0001").items()}
    fakes = clip("CelebDFv2_fake", "id1_id0_0000")
    labels = {
        "CelebDFv2_real": {"train": tested | learned, "val": tested, "test": tested},
        "CelebDFv2_fake": {"train": fakes, "val": fakes, "test": fakes},
    }
    found = read_manifest(trees.benchmark(tmp_path, "Celeb-DF-v2", labels))
    assert len(found) == 42
    assert sorted(row.path.parts[-2] for row in found.rows if row.split == "test") == [
        "id1_0000",
        "id1_id0_0000",
    ]
    assert {row.split for row in found.rows} == {"train", "val", "test"}
    assert found.kinds == ("Celeb-synthesis",)
    assert of(found)["Celeb-DF-v2/CelebDFv2_fake/id1_id0_0000"].source == "Celeb-DF-v2:id1"


def test_deepfakebench_passes_over_a_malformed_val_and_nothing_else(tmp_path: Path) -> None:
    fine = {"a": trees.entry(tmp_path, "DFDC_Real", "DFDC/frames/a", (0,))}
    labels = {"DFDC_Real": {"train": {}, "val": {"b": ["frames"]}, "test": fine}}
    assert len(read_manifest(trees.benchmark(tmp_path, "DFDC", labels))) == 1
    labels["DFDC_Real"]["train"] = {"b": ["frames"]}
    with pytest.raises(ValueError, match="DFDC_Real, train, b: want a list of frames"):
        read_manifest(trees.benchmark(tmp_path, "DFDC", labels))
    path = trees.benchmark(tmp_path, "DFDC", {"swaps": {"test": fine}})
    with pytest.raises(ValueError, match="unknown label 'swaps'"):
        read_manifest(path)
    path.write_text(json.dumps({"DFDC": {"DFDC_Real": {"test": {"c": {"frames": ["x/1.png"]}}}}}))
    with pytest.raises(ValueError, match=r"x/1\.png is in no folder above it"):
        read_manifest(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not a DeepfakeBench file"):
        read_manifest(path)


def test_deepfakebench_learns_from_what_stands_in_train_and_val(tmp_path: Path) -> None:
    """DFDC's file, whose training videos are all in val, once its table was met before or after."""
    for order in (("test", "val", "train"), ("train", "val", "test")):
        labels: dict[str, dict[str, object]] = {}
        for label in ("DFDC_Real", "DFDC_Fake"):
            learned = {
                name: trees.entry(
                    tmp_path, label, f"DFDC/train/dfdc_train_part_0/frames/{name}", (0,)
                )
                for name in (f"{label[-4:].lower()}{n}" for n in range(40))
            }
            tested = {label: trees.entry(tmp_path, label, f"DFDC/test/frames/{label}", (0,))}
            splits = {"train": learned, "val": learned, "test": tested}
            labels[label] = {split: splits[split] for split in order}
        found = read_manifest(trees.benchmark(tmp_path, "DFDC", labels))
        splits_of = {
            label: Counter(r.split for r in found.rows if r.label == label) for label in (0, 1)
        }
        for counts in splits_of.values():
            assert counts["test"] == 1
            assert counts["train"] > 25
            assert counts["val"] == 40 - counts["train"] > 0


def test_deepfakebenchs_df40_files_name_the_method_and_whose_video_it_is(tmp_path: Path) -> None:
    def clip(label: str, folder: str, *names: str) -> dict[str, object]:
        return {name: trees.entry(tmp_path, label, f"{folder}/{name}", (0,)) for name in names}

    still = tmp_path / "datasets/rgb/DF40/e4e/ff/inversions/087_121.jpg"
    trees.touch([still])
    fakes = clip("simswap_Fake", "DF40/simswap/ff/frames", "071_054") | clip(
        "simswap_Fake", "DF40/simswap/cdf/frames", "id1_id0_0000"
    )
    fakes["087_121"] = {"label": "simswap_Fake", "frames": ["DF40/e4e/ff/inversions/087_121.jpg"]}
    reals = clip("simswap_Real", "FaceForensics++/original_sequences/youtube/c23/frames", "071")
    labels = {
        "simswap_Fake": {"train": fakes, "test": fakes},
        "simswap_Real": {"train": {}, "test": reals},
    }
    found = read_manifest(trees.benchmark(tmp_path, "simswap_ff", labels))
    assert found.kinds == ("simswap",)
    assert {row.video.rpartition("/")[2]: row.source for row in found.rows} == {
        "071_054": "ff:054+071",
        "071": "ff:054+071",
        "id1_id0_0000": "Celeb-DF-v2:id1",
        "087_121": "ff:087",
    }


def test_a_frames_path_in_df40_says_its_method_and_whose_video_was_forged() -> None:
    found = places(
        [
            "x/FaceForensics++/original_sequences/youtube/c23/frames/071/000.png",
            "x/DF40/simswap/ff/frames/071_054/000.png",
            "x\\DF40_train\\e4e\\ff\\inversions\\071_021.jpg",
            "x/DF40/e4e/cdf/YouTube-real/inversions/00170_3.jpg",
            "x/Celeb-DF-v2/YouTube-real/frames/00170/3.png",
            "x/DF40/simswap/cdf/frames/id0_id1_0000/000.png",
            "x/DF40/StyleGAN2/ff/seed0012/1.png",
            "x/DF40/heygen/fake/b/1.png",
        ]
    )
    assert [it.source for it in found] == [
        *["ff:054+071"] * 3,
        *["Celeb-DF-v2/YouTube-real/00170"] * 2,
        "Celeb-DF-v2:id0",
        "DF40/StyleGAN2/ff/seed0012",
        "DF40/heygen/fake/b",
    ]
    assert [it.kind for it in found[1:4]] == ["simswap", "e4e", "e4e"]
    assert found[1].video == "DF40/simswap/ff/071_054"
    assert found[2].video == "DF40/e4e/ff/inversions/071_021"


def test_a_name_that_is_none_is_said(tmp_path: Path) -> None:
    assert located(tmp_path) == ("", tmp_path)
    with pytest.raises(ValueError, match="no dataset 'fpp'; there is autosplice, casia1, casia2"):
        located(f"fpp:{tmp_path}")
    with pytest.raises(ValueError, match="ffpp:gone: no file or folder gone"):
        located("ffpp:gone")


def test_a_real_dataset_of_uadfv_is_a_plain_folder(tmp_path: Path) -> None:
    trees.touch([tmp_path / "real/0000.mp4", tmp_path / "fake/0000_fake.mp4"])
    found = read_manifest(tmp_path)
    assert sorted((row.label, row.kind) for row in found.rows) == [(0, ""), (1, "fake")]
