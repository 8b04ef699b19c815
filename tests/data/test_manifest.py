"""The table of data: what it reads, what it refuses, and streams that any batch can start."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from telltale.data import WORDS
from telltale.data.manifest import chosen, read_manifest, read_table, split_of
from telltale.data.order import places
from telltale.data.pictures import FIELDS, batches, draw, read

HEADER = "path,label,source,split,kind,mask,partner"


def picture(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (12, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for number in range(4):
        picture(tmp_path / f"real{number}.png", (10 * number, 0, 0))
        picture(tmp_path / f"fake{number}.png", (0, 10 * number, 0))
    mask = np.zeros((8, 12), np.uint8)
    mask[:, :6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    rows = [f"real{n}.png,real,p{n},{s},,," for n, s in enumerate(("train",) * 3 + ("val",))]
    rows += [
        f"fake{n}.png,1,p{n},{s},{'swap' if n % 2 else 'blend'},mask.png,real{n}.png"
        for n, s in enumerate(("train",) * 3 + ("val",))
    ]
    path = tmp_path / "data.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_items_are_what_the_table_says(table: Path) -> None:
    dataset = read(table, [field for field in FIELDS if field != "echoes"], size=4)
    item = dataset[6]  # fake2: a square of 8 is cut from the middle of 12 × 8
    assert {name: value.shape for name, value in item.items()} == {
        "images": (3, 4, 4),
        "labels": (),
        "masks": (1, 4, 4),
        "noise": (1, 4, 4),
        "domains": (),
        "partners": (3, 4, 4),
    }
    assert item["images"][:, 0, 0] == pytest.approx([0, 20 / 255, 0])
    assert item["partners"][:, 0, 0] == pytest.approx([20 / 255, 0, 0])
    assert item["masks"][0].tolist() == [[1, 1, 0, 0]] * 4
    assert (item["labels"], item["domains"]) == (1, 1)
    assert dataset[7]["domains"] == 2
    assert dataset[0]["domains"] == 0
    assert not dataset[0]["masks"].any()
    assert np.array_equal(dataset[2]["partners"], dataset[2]["images"])
    assert set(FIELDS) <= set(WORDS)


def test_kinds_keep_their_numbers_in_a_split(table: Path) -> None:
    val = read_manifest(table).of_split("val")
    assert [row.kind for row in val.rows] == ["", "swap"]
    assert read(val, ["domains"], size=4).batch([0, 1])["domains"].tolist() == [0, 2]


def test_without_splits_the_source_decides(table: Path) -> None:
    lines = [f"real{n}.png,0,who{n % 2}" for n in range(4)]
    table.write_text("\n".join(["path,label,source", *lines]))
    rows = read_manifest(table).rows
    assert [row.split for row in rows] == [split_of(f"who{n % 2}") for n in range(4)]
    assert not read_manifest(table).divided()


def test_split_of_keeps_its_shares() -> None:
    shares = Counter(split_of(f"person {n}") for n in range(4000))
    assert shares["train"] / 4000 == pytest.approx(0.8, abs=0.03)
    assert shares["val"] / 4000 == pytest.approx(0.1, abs=0.02)


def test_divided_sources_are_named(table: Path) -> None:
    table.write_text(table.read_text().replace("fake3.png,1,p3", "fake3.png,1,p0"))
    assert read_manifest(table).divided() == ["p0"]


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    picture(tmp_path / "Real/anna/1.png", (0, 0, 0))
    picture(tmp_path / "Real/anna/2.png", (1, 0, 0))
    picture(tmp_path / "swap/eve.png", (2, 0, 0))
    (tmp_path / "swap/notes.txt").write_text("not a picture")
    manifest = read_manifest(tmp_path)
    assert [(r.path.name, r.label, r.source, r.kind) for r in manifest.rows] == [
        ("1.png", 0, "anna", ""),
        ("2.png", 0, "anna", ""),
        ("eve.png", 1, "eve", "swap"),
    ]
    assert manifest.kinds == ("swap",)


@pytest.mark.parametrize("genuine", ["0_real", "live", "Bonafide", "0"])
def test_a_genuine_class_may_be_called_so_in_several_ways(tmp_path: Path, genuine: str) -> None:
    for name in (genuine, "1_fake", "spoof"):
        picture(tmp_path / name / "a.png", (0, 0, 0))
    found = {row.path.parent.name: (row.label, row.kind) for row in read_manifest(tmp_path).rows}
    assert found == {genuine: (0, ""), "1_fake": (1, "1_fake"), "spoof": (1, "spoof")}


def test_a_folder_whose_classes_are_not_understood_is_refused(tmp_path: Path) -> None:
    for name in ("nature", "ai"):
        picture(tmp_path / name / "a.png", (0, 0, 0))
    with pytest.raises(
        ValueError, match=r"none of its folders \(ai, nature\) is called as genuine"
    ):
        read_manifest(tmp_path)
    picture(tmp_path / "real/a.png", (0, 0, 0))
    assert sorted(row.label for row in read_manifest(tmp_path).rows) == [0, 1, 1]
    for half, word in (("real_youtube", "real"), ("RealFaces", "real"), ("live 2", "live")):
        picture(tmp_path / half / "a.png", (0, 0, 0))
        with pytest.raises(ValueError, match=f"{half}: is this class genuine.* without {word}$"):
            read_manifest(tmp_path)
        (tmp_path / half / "a.png").unlink()
        (tmp_path / half).rmdir()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("real1.png,real", "real1.png,maybe", r"data\.csv, line 3: want a label .*'maybe'"),
        ("real2.png,real,p2,train", "real2.png,real,p2,dev", r"line 4: want a split .*'dev'"),
        ("fake0.png,1", "gone.png,1", r"line 6: no path .*gone\.png"),
        ("mask.png,real1", "gone.png,real1", r"line 7: no mask .*gone\.png"),
        ("fake1.png,1", "fake0.png,1", r"line 7: fake0\.png stands in .*line 6 already"),
        ("fake1.png,1", ",1", r"line 7: the path is empty"),
        ("path,label", "file,label", r"data\.csv: want the columns path; there are"),
        ("real3.png,real,p3,val,,,", "real3.png,real", r"line 5: want 7 fields"),
        (",p0,train,blend", ',"p0,train,blend', r"data\.csv: cannot be read as CSV"),
    ],
)
def test_errors_name_file_and_line(table: Path, old: str, new: str, says: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=says):
        read_manifest(table)


def test_a_line_number_counts_lines_within_quotes(table: Path) -> None:
    text = table.read_text().replace("real0.png,real,p0", 'real0.png,real,"p\n0"')
    table.write_text(text.replace("real1.png,real", "real1.png,maybe"))
    with pytest.raises(ValueError, match="line 4: want a label"):
        read_manifest(table)


def test_what_a_manifest_lacks_is_said_before_the_first_batch(table: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot give \['boxes'\]; it has images"):
        read(table, ["boxes"], size=4)
    table.write_text(table.read_text().replace("mask.png,real2", ",real2"))
    with pytest.raises(ValueError, match=r"line 8: a mask is wanted"):
        read(table, ["masks"], size=4)
    read(table, ["images"], size=4)
    with pytest.raises(ValueError, match=r"no row has split 'test'; there are train, val"):
        read_manifest(table).of_split("test")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_manifest(table.with_name("gone.csv"))
    table.write_text(HEADER + "\n")
    with pytest.raises(ValueError, match="there are no rows"):
        read_manifest(table)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_text("path,label\na,0\n", encoding="utf-8-sig")
    assert read_table(path, ("path",)).columns == ["path", "label"]


def test_a_stream_goes_on_where_it_is_told_to(table: Path) -> None:
    dataset = read(read_manifest(table).of_split("train"), ["images", "labels"], size=4)
    stream = batches(dataset, batch=4, seed=7)
    first = [next(stream) for _ in range(5)]
    later = batches(dataset, batch=4, seed=7, start=3)
    for batch in first[3:]:
        again = next(later)
        assert np.array_equal(batch["images"], again["images"])
    assert all(batch["labels"].tolist() == [0, 0, 1, 1] for batch in first)
    other = next(batches(dataset, batch=4, seed=8, start=3))
    assert not np.array_equal(first[3]["images"], other["images"])


def test_pairs_are_a_genuine_picture_and_a_forgery_of_it(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        picture(tmp_path / f"real{number}.png", (10 * number, 0, 0))
        rows.append(f"real{number}.png,real,,train,,,")
        for place, kind in enumerate(("blend", "swap")[: number % 3]):  # 0, 1 or 2 forgeries
            picture(tmp_path / f"{kind}{number}.png", (10 * number, 100 + place, 0))
            rows.append(f"{kind}{number}.png,1,,train,{kind},,./real{number}.png")
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["path,label,source,split,kind,mask,partner", *rows]) + "\n")
    dataset = read(path, ["images", "labels"], size=4)
    drawn = set()
    for batch, _ in zip(
        batches(dataset, batch=4, seed=0, balance="pairs"), range(20), strict=False
    ):
        assert batch["labels"].tolist() == [0, 0, 1, 1]
        red, green = (np.rint(255 * batch["images"][:, c, 0, 0]).astype(int) for c in (0, 1))
        assert red[:2].tolist() == red[2:].tolist()
        drawn |= {*zip(red[2:].tolist(), green[2:].tolist(), strict=True)}
    assert drawn == {(10, 100), (40, 100), (20, 100), (20, 101), (50, 100), (50, 101)}
    again = next(batches(dataset, batch=4, seed=0, balance="pairs", start=3))
    assert np.array_equal(
        draw(dataset, 3, batch=4, seed=0, balance="pairs")["images"], again["images"]
    )
    alone = type(dataset.manifest)("no partner", read_manifest(path).rows[:1], ())
    with pytest.raises(ValueError, match="no partner: want forged pictures with a genuine partner"):
        draw(read(alone, ["images"], size=4), 0, batch=2, seed=0, balance="pairs")


def test_balanced_labels_draw_a_genuine_frame_as_often_as_all_kinds_have_one(
    tmp_path: Path,
) -> None:
    rows = []
    for frame in range(4):
        for kind in ("", "a", "b", "c", "d"):
            picture(tmp_path / f"{kind}{frame}.png", (frame, 0, 0))
            rows.append(f"{kind}{frame}.png,{int(kind != '')},{kind}")
    (tmp_path / "data.csv").write_text("\n".join(["path,label,kind", *rows]))
    dataset = read(tmp_path / "data.csv", ["images", "domains"], size=2)
    drawn: Counter[tuple[int, int]] = Counter()
    for number in range(4):  # 4 forged ones each: an epoch of theirs
        batch = draw(dataset, number, batch=8, seed=0, balance="labels")
        frames = np.rint(255 * batch["images"][:, 0, 0, 0]).astype(int).tolist()
        drawn.update(zip(batch["domains"].tolist(), frames, strict=True))
    assert drawn == {(kind, frame): 1 if kind else 4 for kind in range(5) for frame in range(4)}


def test_balance_wants_both_classes(table: Path) -> None:
    rows = read_manifest(table).rows
    genuine = read_manifest(table)
    genuine = type(genuine)("real only", rows[:3], ())
    dataset = read(genuine, ["labels"], size=4)
    with pytest.raises(ValueError, match="real only: to balance want both labels"):
        next(batches(dataset, batch=2, seed=0))
    assert next(batches(dataset, batch=3, seed=0, balance=""))["labels"].tolist() == [0] * 3


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 30), batch=st.integers(1, 40), seed=st.integers(0, 5))
def test_every_epoch_has_every_item_once(length: int, batch: int, seed: int) -> None:
    rows = np.concatenate([places(length, batch, number, seed) for number in range(length)])
    epochs = rows.reshape(batch, length)  # length batches are batch epochs
    assert all(sorted(epoch) == [*range(length)] for epoch in epochs.tolist())


def test_reading_needs_neither_torch_nor_opencv() -> None:
    code = "import sys, telltale.data.pictures; print({'torch', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_frames_are_chosen_evenly_or_first(tmp_path: Path) -> None:
    assert chosen(10, 4) == [0, 2, 5, 7]
    assert chosen(10, 4, "first") == [0, 1, 2, 3]
    assert chosen(3, 4) == chosen(3, 4, "first") == [0, 1, 2]
    with pytest.raises(ValueError, match="even or first; got 4 and 'last'"):
        chosen(10, 4, "last")
    for number in range(12):
        picture(tmp_path / f"real/a/{number}.png", (number, 0, 0))
    picture(tmp_path / "real/b.png", (0, 0, 0))
    manifest = read_manifest(tmp_path)
    assert {row.video for row in manifest.rows} == {"real/a", ""}
    thin = manifest.thinned(3)
    assert [row.path.name for row in thin.rows] == ["b.png", "0.png", "4.png", "8.png"]
    first = manifest.thinned(11, "first")
    assert [row.path.name for row in first.rows][-2:] == ["9.png", "10.png"]


@settings(max_examples=50, deadline=None)
@given(length=st.integers(0, 200), count=st.integers(1, 60))
def test_even_frames_are_distinct_ascending_and_as_many_as_can_be(length: int, count: int) -> None:
    even = chosen(length, count)
    assert even == sorted(set(even))
    assert len(even) == min(length, count)
    assert set(even) <= set(range(length))


def test_kinds_can_be_left_out(table: Path) -> None:
    manifest = read_manifest(table).without(["swap"])
    assert manifest.kinds == ("blend",)
    assert len(manifest) == 6
    with pytest.raises(ValueError, match=r"no kind 'swop'; there is \('blend', 'swap'\)"):
        read_manifest(table).without(["swop"])


def test_a_table_can_name_videos_and_datasets(table: Path) -> None:
    lines = table.read_text().splitlines()
    lines = [lines[0] + ",video,dataset"] + [
        f"{line},clip{n},ours" for n, line in enumerate(lines[1:])
    ]
    table.write_text("\n".join(lines))
    rows = read_manifest(table).rows
    assert (rows[1].video, rows[1].dataset) == ("clip1", "ours")


def test_a_video_is_a_dataset_a_kind_and_an_id(table: Path) -> None:
    lines = table.read_text().splitlines()
    named = [f"{line},071_054,{n // 4}" for n, line in enumerate(lines[1:])]
    table.write_text("\n".join([lines[0] + ",video,dataset", *named]))
    rows = read_manifest(table).rows
    groups = {(row.dataset, row.kind, row.label) for row in rows}
    assert len({row.clip for row in rows}) == len(groups) > 2  # though all have one id
    thin = read_manifest(table).thinned(1)
    assert {(row.dataset, row.kind, row.label) for row in thin.rows} == groups
    assert len(thin) == len(groups)
