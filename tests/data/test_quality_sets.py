from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.data.manifest import Row, read_manifest
from telltale.data.quality import batch, by_reference

io = pytest.importorskip("scipy.io")


def put(path: Path, colour: int = 90, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), colour, np.uint8)).save(path)
    return path


def cells(names: list[str]) -> np.ndarray:
    made = np.empty((1, len(names)), object)
    made[0] = names
    return made


def facts(rows: tuple[Row, ...]) -> list[tuple[str, float, str, str]]:
    return [(row.path.name, round(row.score, 3), row.kind, row.source) for row in rows]


def test_live_drops_its_undistorted_copies(tmp_path: Path) -> None:
    put(tmp_path / "refimgs/monarch.bmp")
    for number in (1, 2):
        put(tmp_path / f"jp2k/img{number}.bmp")
    io.savemat(tmp_path / "dmos.mat", {"dmos": [[41.5, 0.0]], "orgs": [[0, 1]]})
    names = cells([" monarch.bmp", "monarch.bmp"])  # the published list has such a blank
    io.savemat(tmp_path / "refnames_all.mat", {"refnames_all": names})
    made = read_manifest(tmp_path)
    assert facts(made.rows) == [("img1.bmp", 41.5, "jp2k", "live/monarch")]
    assert made.rows[0].partner == tmp_path / "refimgs/monarch.bmp"
    assert len(read_manifest(f"live-all:{tmp_path}").rows) == 2


def test_tid2013_mixes_its_letters_and_has_no_i25(tmp_path: Path) -> None:
    put(tmp_path / "distorted_images/i01_08_3.bmp")
    put(tmp_path / "distorted_images/I02_09_1.BMP")
    put(tmp_path / "distorted_images/i25_01_1.bmp")
    for name in ("I01.BMP", "i02.bmp", "I25.BMP"):
        put(tmp_path / "reference_images" / name)
    table = tmp_path / "mos_with_names.txt"
    table.write_text("9.0 I01_08_3.bmp\n0.0 i02_09_1.bmp\n4.5 i25_01_1.bmp\n")
    assert facts(read_manifest(tmp_path).rows) == [
        ("i01_08_3.bmp", 0.0, "08", "tid2013/i01"),
        ("I02_09_1.BMP", 100.0, "09", "tid2013/i02"),
    ]
    assert len(read_manifest(f"tid2013-all:{tmp_path}").rows) == 3
    table.write_text("x i01_08_3.bmp\n")
    with pytest.raises(ValueError, match="line 1: want a number, got 'x'"):
        read_manifest(tmp_path)


def test_csiq_knows_its_files_names(tmp_path: Path) -> None:
    put(tmp_path / "src_imgs/1600.png")
    put(tmp_path / "dst_imgs/awgn/1600.AWGN.1.png")
    put(tmp_path / "dst_imgs/jpeg2000/1600.jpeg2000.5.png")
    (tmp_path / "csiq.DMOS.csv").write_text(
        "image,dst_type,dst_lev,dmos\n1600,noise,1,0.062\n1600,jpeg 2000,5,0.9\n"
    )
    assert facts(read_manifest(tmp_path).rows) == [
        ("1600.AWGN.1.png", 6.2, "awgn", "csiq/1600"),
        ("1600.jpeg2000.5.png", 90.0, "jpeg2000", "csiq/1600"),
    ]
    (tmp_path / "csiq.DMOS.csv").write_text("image,dst_type,dst_lev,dmos\n1600,glow,1,0.1\n")
    with pytest.raises(ValueError, match="line 2: want a type"):
        read_manifest(tmp_path)


def test_kadids_dmos_is_the_higher_the_better(tmp_path: Path) -> None:
    for name in ("I01.png", "I01_04_05.png"):
        put(tmp_path / "images" / name)
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos,var\nI01_04_05.png,I01.png,5,0.1\n")
    assert facts(read_manifest(tmp_path).rows) == [("I01_04_05.png", 0.0, "04", "kadid10k/i01")]
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos,var\nI02.png,I01.png,5,0.1\n")
    with pytest.raises(ValueError, match=r"no picture .*I02\.png"):
        read_manifest(tmp_path)


def test_pictures_from_the_wild_have_no_reference(tmp_path: Path) -> None:
    put(tmp_path / "c/Images/trainingImages/t1.bmp")
    put(tmp_path / "c/Images/3.bmp")
    (tmp_path / "c/Data").mkdir()
    io.savemat(tmp_path / "c/Data/AllMOS_release.mat", {"AllMOS_release": [[63.9, 25.0]]})
    names = cells(["t1.bmp", "3.bmp"])
    io.savemat(tmp_path / "c/Data/AllImages_release.mat", {"AllImages_release": names})
    assert facts(read_manifest(tmp_path / "c").rows) == [
        ("t1.bmp", 36.1, "wild", "livec/t1"),
        ("3.bmp", 75.0, "wild", "livec/3"),
    ]
    put(tmp_path / "k/1024x768/10.jpg")
    table = tmp_path / "k/koniq10k_scores_and_distributions.csv"
    table.write_text("image_name,MOS,SD\n10.jpg,2.5,0.1\n")
    rows = read_manifest(tmp_path / "k").rows
    assert facts(rows) == [("10.jpg", 50.0, "wild", "koniq10k/10")]
    assert rows[0].partner is None


def rows(tmp_path: Path, references: int) -> list[Row]:
    made = []
    for number in range(references):
        clean = put(tmp_path / f"{number}.png", 10 * number, 16)
        for level in (1, 2):
            path = put(tmp_path / f"{number}_{level}.png", 10 * number + level, 16)
            row = Row(path, 1, f"r{number}", "train", "x", None, clean, str(path))
            made.append(row._replace(score=50.0 * level))
    return made


def test_splits_are_by_reference(tmp_path: Path) -> None:
    made = by_reference(rows(tmp_path, 10), repeat=3)
    sources = {s: {row.source for row in made if row.split == s} for s in ("train", "val", "test")}
    assert [len(found) for found in sources.values()] == [6, 2, 2]
    assert len(set.union(*sources.values())) == 10
    assert made != by_reference(rows(tmp_path, 10), repeat=4)
    with pytest.raises(ValueError, match="want three shares"):
        by_reference(made, shares=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="got 2 references"):
        by_reference(rows(tmp_path, 2))


def test_batches_are_crops_of_pairs(tmp_path: Path) -> None:
    made = rows(tmp_path, 3)
    got = batch(made, 5, size=12, seed=[1, 2])
    assert got["images"].shape == got["partners"].shape == (5, 3, 12, 12)
    steps = np.rint((got["images"] - got["partners"])[:, 0, 0, 0] * 255)
    np.testing.assert_array_equal(steps * 50, got["scores"])
    with pytest.raises(ValueError, match="want 17 pixels"):
        batch(made, 1, size=17, seed=[0])
