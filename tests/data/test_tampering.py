import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.data.manifest import Manifest, read_manifest
from telltale.data.pictures import read


def put(path: Path, colour: tuple[int, int, int] = (90, 90, 90), side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:] = colour
    Image.fromarray(pixels).save(path)
    return path


def half(path: Path, left: tuple[int, int, int], right: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = left, right
    Image.fromarray(pixels).save(path)
    return path


WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def facts(manifest: Manifest, root: Path) -> list[tuple[str, int, str, str]]:
    return [
        (row.path.relative_to(root).as_posix(), row.label, row.kind, row.source)
        for row in manifest.rows
    ]


def test_casia_v2(tmp_path: Path) -> None:
    put(tmp_path / "Au/Au_ani_00001.jpg")
    put(tmp_path / "Tp/Tp_S_NNN_S_N_ani00001_ani00001_00123.tif")
    put(tmp_path / "Tp/Tp_D_NRN_S_N_cha10122_ani00001_12206.jpg")
    for stem in ("Tp_S_NNN_S_N_ani00001_ani00001_00123", "Tp_D_NRN_S_N_cha10122_ani00001_12206"):
        half(tmp_path / f"CASIA2_Groundtruth/{stem}_gt.png", WHITE, BLACK)
    made = read_manifest(tmp_path)
    assert facts(made, tmp_path) == [
        ("Tp/Tp_D_NRN_S_N_cha10122_ani00001_12206.jpg", 1, "splice", "casia2/cha10122"),
        ("Tp/Tp_S_NNN_S_N_ani00001_ani00001_00123.tif", 1, "copy_move", "casia2/ani00001"),
        ("Au/Au_ani_00001.jpg", 0, "", "casia2/ani00001"),
    ]
    splits = {row.source: row.split for row in made.rows}
    assert all(row.split == splits[row.source] for row in made.rows)


def test_casia_says_which_mask_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "Tp/Tp_S_NNN_S_N_ani00001_ani00001_00123.tif")
    (tmp_path / "CASIA2_Groundtruth").mkdir()
    with pytest.raises(ValueError, match=r"00123\.tif: no mask Tp_S_.*_gt"):
        read_manifest(tmp_path)


def test_casia_v2_leaves_turned_masks_out_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, size in (("00001", (12, 8)), ("00002", (8, 12)), ("00003", (24, 16))):
        stem = f"Tp_D_NRN_S_N_cha10122_ani00001_{name}"
        put(tmp_path / f"Tp/{stem}.jpg")
        Image.new("RGB", (12, 8)).save(tmp_path / f"Tp/{stem}.jpg")
        (tmp_path / "CASIA2_Groundtruth").mkdir(exist_ok=True)
        Image.new("L", size, 255).save(tmp_path / f"CASIA2_Groundtruth/{stem}_gt.png")
    manifest = read_manifest(f"casia2:{tmp_path}")
    assert [row.path.stem[-5:] for row in manifest.rows] == ["00001", "00003"]
    assert "left out 1 pictures whose masks are turned" in caplog.text


def test_a_turned_mask_is_refused_with_both_sizes(tmp_path: Path) -> None:
    Image.new("RGB", (12, 8)).save(tmp_path / "a.png")
    Image.new("L", (8, 12), 255).save(tmp_path / "a_mask.png")
    Image.new("L", (9, 9), 255).save(tmp_path / "b_mask.png")
    table = tmp_path / "manifest.csv"
    for mask, why in (("a", "is turned against"), ("b", "does not have the shape of")):
        table.write_text(f"path,label,source,split,mask\na.png,1,a,train,{mask}_mask.png\n")
        with pytest.raises(
            ValueError, match=rf"{mask}_mask.png: .* {why} its picture a.png, 12 x 8"
        ):
            read(table, ("masks",), size=8)[0]


def test_casia_v1_is_for_testing(tmp_path: Path) -> None:
    put(tmp_path / "Au/Au_ani_0001.jpg")
    put(tmp_path / "Sp/Sp_D_CNN_A_art0024_ani0032_0268.jpg")
    put(tmp_path / "CM/Sp_S_NNN_A_art0024_art0024_0269.jpg")
    half(tmp_path / "CASIA1_Groundtruth/Sp/Sp_D_CNN_A_art0024_ani0032_0268_gt.png", WHITE, BLACK)
    half(tmp_path / "CASIA1_Groundtruth/CM/Sp_S_NNN_A_art0024_art0024_0269_gt.png", WHITE, BLACK)
    made = read_manifest(tmp_path)
    assert [row.kind for row in made.rows] == ["splice", "copy_move", ""]
    assert {row.split for row in made.rows} == {"test"}


def test_columbias_mask_is_coded_by_colour(tmp_path: Path) -> None:
    put(tmp_path / "4cam_auth/canong3_02_sub_01.tif")
    put(tmp_path / "4cam_splc/canong3_canonxt_sub_01.tif")
    mask = tmp_path / "4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.jpg"
    half(mask, (0, 200, 0), (200, 0, 0))
    made = read_manifest(tmp_path)
    assert [row.label for row in made.rows] == [1, 0]
    found = read(made, ("masks",), size=8)[0]["masks"][0]
    assert found[:, :3].all()
    assert not found[:, 5:].any()


def test_coverage_pairs(tmp_path: Path) -> None:
    for name in ("1.tif", "1t.tif"):
        put(tmp_path / "image" / name)
    half(tmp_path / "mask/1forged.tif", WHITE, BLACK)
    made = read_manifest(f"coverage:{tmp_path}")
    original, forged = made.rows
    assert (original.label, forged.label) == (0, 1)
    assert forged.partner == original.path
    assert original.source == forged.source


def test_nist16_turns_its_masks_round(tmp_path: Path) -> None:
    put(tmp_path / "probe/NC2016_0001.jpg")
    put(tmp_path / "probe/NC2016_0002.jpg")
    half(tmp_path / "mask/NC2016_0001_m.png", BLACK, WHITE)
    table = tmp_path / "reference/manipulation/NC2016-manipulation-ref.csv"
    table.parent.mkdir(parents=True)
    table.write_text(
        "TaskID|ProbeFileName|ProbeMaskFileName|BaseFileName|IsTarget\n"
        "manipulation|probe/NC2016_0001.jpg|mask/NC2016_0001_m.png|world/a.jpg|Y\n"
        "manipulation|probe/NC2016_0002.jpg||world/a.jpg|N\n"
    )
    made = read_manifest(tmp_path)
    assert [(row.label, row.source) for row in made.rows] == [(1, "nist16/a"), (0, "nist16/a")]
    found = read(made, ("masks",), size=8)[0]["masks"][0]
    assert found[:, :4].all()
    assert not found[:, 4:].any()
    table.write_text("TaskID|ProbeFileName\nx|y\n")
    with pytest.raises(ValueError, match="want the column"):
        read_manifest(tmp_path)


def test_imd2020_autosplice_and_realistic(tmp_path: Path) -> None:
    one = tmp_path / "imd"
    put(one / "1a1ogs/1a1ogs_orig.jpg")
    put(one / "1a1ogs/c8tf5mq_0.png")
    half(one / "1a1ogs/c8tf5mq_0_mask.png", WHITE, BLACK)
    made = read_manifest(f"imd2020:{one}")
    assert [row.label for row in made.rows] == [0, 1]
    assert made.rows[1].partner == made.rows[0].path

    two = tmp_path / "auto"
    put(two / "Authentic/123.jpg")
    put(two / "Forged_JPEG90/123_0.jpg")
    half(two / "Mask/123_mask.png", WHITE, BLACK)
    assert facts(read_manifest(two), two) == [
        ("Forged_JPEG90/123_0.jpg", 1, "generated-q90", "autosplice/123"),
        ("Authentic/123.jpg", 0, "", "autosplice/123"),
    ]

    three = tmp_path / "realistic"
    put(three / "Nikon_D90/pristine/a.png")
    put(three / "Nikon_D90/tampered-realistic/b.png")
    half(three / "Nikon_D90/ground-truth/b.png", WHITE, BLACK)
    assert [row.label for row in read_manifest(three).rows] == [1, 0]


def test_toolkits_layouts(tmp_path: Path) -> None:
    put(tmp_path / "Tp/a.png")
    half(tmp_path / "Gt/a.png", WHITE, BLACK)
    assert [row.label for row in read_manifest(tmp_path).rows] == [1]
    put(tmp_path / "Tp/b.png")
    with pytest.raises(ValueError, match="as many masks in Gt as pictures in Tp, got 1 and 2"):
        read_manifest(tmp_path)

    table = tmp_path / "set.json"
    table.write_text(json.dumps([["Tp/a.png", "Gt/a.png"], ["Tp/b.png", "Negative"]]))
    assert [row.label for row in read_manifest(f"imdlbenco:{table}").rows] == [1, 0]
    table.write_text(json.dumps([["Tp/a.png", "Gt/missing.png"]]))
    with pytest.raises(ValueError, match="entry 0: no mask"):
        read_manifest(f"imdlbenco:{table}")
    table.write_text(json.dumps([["Tp/a.png"]]))
    with pytest.raises(ValueError, match="entry 0: want"):
        read_manifest(f"imdlbenco:{table}")

    other = tmp_path / "defacto"
    put(other / "splicing/img/x.tif")
    half(other / "splicing/probe_mask/x.jpg", WHITE, BLACK)
    assert [row.kind for row in read_manifest(f"defacto:{other}").rows] == ["splicing"]
    with pytest.raises(ValueError, match="want img or images"):
        read_manifest(f"defacto:{tmp_path / 'Tp'}")
