"""Readers of the anti-spoofing datasets, on miniature trees with their true layouts."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.data.clips import Cut
from telltale.data.forgery import READERS
from telltale.data.manifest import Manifest, read_manifest
from telltale.data.pictures import read
from telltale.data.spoofing import celeba_spoof, folders, mcio, siw, wmca
from telltale.data.spoofing import oulu as oulu_reader
from telltale.data.stacks import count_stack, read_stack
from telltale.evaluate import Protocol, predict
from telltale.media import MediaError
from telltale.prepare import prepare
from telltale.taxonomy import family_of


def touch(paths: Iterable[Path]) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def oulu(root: Path) -> Path:
    """Two people a split, all five files of one phone and session."""
    for folder, users in (("Train", (1, 2)), ("Dev", (21, 22)), ("Test", (36, 37))):
        names = [f"1_1_{user:02d}_{file}" for user in users for file in range(1, 6)]
        touch(root / f"{folder}_files/{name}.avi" for name in names)
        signs = {"1": "+1", "2": "-1", "3": "-1", "4": "-2", "5": "-2"}
        for number, keep in (("Protocol_1", "12345"), ("Protocol_2", "124")):
            path = root / f"Protocols/{number}/{folder}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{signs[name[-1]]},{name}" for name in names if name[-1] in keep]
            path.write_text("\n".join(lines) + "\n")
        fold = root / f"Protocols/Protocol_3/{folder}_4.txt"
        fold.parent.mkdir(parents=True, exist_ok=True)
        fold.write_text("\n".join(f"{signs[name[-1]]},{name}" for name in names[:3]))
    return root


def casia(root: Path) -> Path:
    names = [*map(str, range(1, 9)), *(f"HR_{k}" for k in range(1, 5))]
    for half, people in (("train", 20), ("test", 30)):
        touch(root / f"{half}_release/{p}/{n}.avi" for p in range(1, people + 1) for n in names)
    return root


def replay(root: Path) -> Path:
    for number, part in enumerate(("train", "devel", "test")):
        for client in (3 * number + 1, 3 * number + 2):
            who = f"client{client:03d}_session01"
            touch([root / part / "real" / f"{who}_webcam_authenticate_adverse_1.mov"])
            attacks = ("print_{}_highdef_photo_adverse", "mobile_{}_mobile_video_controlled")
            for hand in ("fixed", "hand"):
                names = (f"attack_{name.format(who)}.mov" for name in attacks)
                touch(root / part / "attack" / hand / name for name in names)
    touch([root / "enroll/real/client001_enroll.mov"])
    return root


def msu(root: Path) -> Path:
    for client in (1, 2, 3, 5, 11):
        who = f"client{client:03d}_android_SD"
        touch([root / f"scene01/real/real_{who}_scene01.mp4"])
        kinds = ("ipad_video", "iphone_video", "printed_photo")
        touch(root / f"scene01/attack/attack_{who}_{kind}_scene01.mp4" for kind in kinds)
    (root / "train_sub_list.txt").write_text("02\n05\n")
    (root / "test_sub_list.txt").write_text("01\n03\n")
    return root


def siw_tree(root: Path) -> Path:
    for half, people in (("Train", ("001", "002")), ("Test", ("003",))):
        for person in people:
            touch([root / half / "live" / person / f"{person}-1-1-1-1.mov"])
            spoofs = [f"{person}-1-2-{m}-1" for m in (1, 2)] + [
                f"{person}-1-3-{m}-1" for m in (1, 2, 3, 4)
            ]
            touch(root / half / "spoof" / person / f"{name}.mov" for name in spoofs)
    return root


def celeba(root: Path) -> Path:
    for half, person in (("train", "1"), ("test", "9")):
        names = {
            f"Data/{half}/{person}/live/1.jpg": (0, 0),
            f"Data/{half}/{person}/spoof/2.png": (8, 1),
        }
        touch(root / name for name in names)
        table = {}
        for name, (kind, attack) in names.items():
            numbers = [0] * 44
            numbers[40], numbers[43] = kind, attack
            table[name] = numbers
        path = root / f"metas/intra_test/{half}_label.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table))
    return root


def counts(manifest: Manifest) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for row in manifest.rows:
        found.setdefault(row.split, Counter())[row.kind or "live"] += 1
    return found


def test_oulu_npu(tmp_path: Path) -> None:
    root = oulu(tmp_path / "OULU")
    every = counts(read_manifest(root))
    each = {"live": 2, "print 1": 2, "print 2": 2, "video 1": 2, "video 2": 2}
    assert every == {"train": each, "val": each, "test": each}
    two = counts(read_manifest(f"oulu-2:{root}"))
    assert two["test"] == {"live": 2, "print 1": 2, "video 1": 2}
    assert counts(read_manifest(f"oulu-3.4:{root}"))["train"].total() == 3
    rows = read_manifest(f"oulu-1:{root}").rows
    assert {row.source for row in rows if row.split == "val"} == {"oulu:21", "oulu:22"}
    assert not read_manifest(f"oulu-1:{root}").divided()
    with pytest.raises(ValueError, match=r"Protocol_4/Train_1\.txt: is not there"):
        read_manifest(f"oulu-4.1:{root}")
    path = root / "Protocols/Protocol_1/Dev.txt"
    path.write_text("+1,1_1_21_4\n")
    with pytest.raises(ValueError, match=r'Dev\.txt, line 1: want "\+1,1_1_01_1"'):
        read_manifest(f"oulu-1:{root}")
    path.write_text("+1,1_1_29_1\n")
    with pytest.raises(ValueError, match=r"wants Dev_files/1_1_29_1\.avi"):
        read_manifest(f"oulu-1:{root}")


def test_casia_fasd(tmp_path: Path) -> None:
    manifest = read_manifest(casia(tmp_path / "CASIA"))
    found = counts(manifest)
    assert found["test"] == {"live": 90, "warped print": 90, "cut print": 90, "video": 90}
    assert found["train"].total() + found["val"].total() == 240
    assert not manifest.divided()
    touch([tmp_path / "CASIA/test_release/1/HR_9.avi"])
    with pytest.raises(ValueError, match=r"HR_9\.avi: want a name of 1, 2, HR_1"):
        read_manifest(tmp_path / "CASIA")


def test_replay_attack(tmp_path: Path) -> None:
    manifest = read_manifest(replay(tmp_path / "Replay"))
    each = {"live": 2, "print photo": 4, "mobile video": 4}
    assert counts(manifest) == {"train": each, "val": each, "test": each}
    assert manifest.rows[0].source == "replayattack:001"
    assert not any("enroll" in str(row.path) for row in manifest.rows)


def test_msu_mfsd(tmp_path: Path) -> None:
    root = msu(tmp_path / "MSU")
    manifest = read_manifest(root)
    assert counts(manifest)["test"] == {
        "live": 2,
        "ipad_video": 2,
        "iphone_video": 2,
        "printed_photo": 2,
    }
    assert {row.source for row in manifest.rows} == {f"msumfsd:{n:03d}" for n in (1, 2, 3, 5)}
    (root / "test_sub_list.txt").unlink()
    with pytest.raises(ValueError, match=r"test_sub_list\.txt: is not there"):
        read_manifest(root)


@pytest.mark.parametrize(
    ("protocol", "train", "test"),
    [
        ("1", {"live": 2, "print": 4, "replay": 8}, {"live": 1, "print": 2, "replay": 4}),
        ("2.3", {"live": 2, "replay": 6}, {"live": 1, "replay": 1}),
        ("3.1", {"live": 2, "print": 4}, {"live": 1, "replay": 4}),
        ("3.2", {"live": 2, "replay": 8}, {"live": 1, "print": 2}),
    ],
)
def test_siw(tmp_path: Path, protocol: str, train: dict[str, int], test: dict[str, int]) -> None:
    rows = read_manifest(f"siw-{protocol}:{siw_tree(tmp_path)}").rows
    for testing, expected in ((False, train), (True, test)):
        kinds = Counter(
            row.kind.split()[0] if row.kind else "live"
            for row in rows
            if (row.split == "test") == testing
        )
        assert kinds == expected
    assert siw.PROTOCOLS[0] == "1"
    first = {row.split: row.first for row in rows}
    assert first["train"] == (60 if protocol == "1" else 0)
    assert first["test"] == 0  # every frame of a tested video counts


WMCA = {  # name to what it shows
    "100_01_000_0_00": ("", "train"),
    "100_01_000_3_01": ("prints", "train"),
    "101_01_000_0_01": ("", "dev"),
    "101_01_000_3_05": ("replay", "dev"),
    "102_01_000_0_00": ("", "eval"),
    "102_01_000_1_13": ("rigidmask", "eval"),
    "102_01_000_1_04": ("glasses", "eval"),
    "102_01_000_2_07": ("fakehead", "eval"),
    "102_01_000_2_08": ("papermask", "eval"),
    "102_01_000_2_17": ("rigidmask", "eval"),
    "102_01_000_2_75": ("flexiblemask", "eval"),
    "102_01_000_4_18": ("replay", "eval"),
    "102_01_000_5_11": ("makeup", "eval"),
}


def wmca_tree(root: Path) -> Path:
    folder = root / "WMCA_preprocessed_RGB/WMCA/face-station/01.02.18"
    touch(folder / f"{name}.hdf5" for name in WMCA)
    other = root / "WMCA_preprocessed_CDIT/WMCA/face-station/01.02.18"
    touch(other / f"{name}.hdf5" for name in WMCA)
    lists = root / "wmca-protocols-csv"
    lists.mkdir(parents=True, exist_ok=True)
    lines = [
        f"face-station/01.02.18/{name},{int(kind != '')},x,{split}"
        for name, (kind, split) in WMCA.items()
    ]
    (lists / "PROTOCOL-grandtest.csv").write_text("\n".join(lines) + "\n")
    few = [line for line in lines if "train" in line or "_0_0" in line or "_2_07" in line]
    (lists / "PROTOCOL-LOO_fakehead.csv").write_text("\n".join(few) + "\n")
    return root


def test_wmca_names_say_what_the_attack_is(tmp_path: Path) -> None:
    root = wmca_tree(tmp_path / "WMCA")
    rows = read_manifest(root).rows
    assert {row.path.stem: row.kind for row in rows} == {n: it[0] for n, it in WMCA.items()}
    assert all(row.label == (row.kind != "") for row in rows)
    splits = {"train": "train", "dev": "val", "eval": "test"}
    assert {row.path.stem: row.split for row in rows} == {
        n: splits[s] for n, (_, s) in WMCA.items()
    }
    assert {row.source for row in rows if row.split == "test"} == {"wmca:102"}
    assert all("RGB" in str(row.path) for row in rows)
    left = read_manifest(f"wmca-LOO_fakehead:{root}")
    assert counts(left)["test"] == {"live": 1, "fakehead": 1}
    assert {row.kind for row in left.rows if row.split != "test"} == {"", "prints"}
    with pytest.raises(ValueError, match=r"want PROTOCOL-LOO_prints\.csv in it"):
        read_manifest(f"wmca-LOO_prints:{root}")
    table = root / "wmca-protocols-csv/PROTOCOL-grandtest.csv"
    for line, message in (
        ("face-station/x/100_01_000_3_01,0,x,train", "the name says prints, the label 0"),
        ("face-station/x/999_01_000_0_00,0,x,train", r"no face-station/x/999_01_000_0_00\.hdf5"),
        ("face-station/x/100_01_000_0_00,0,x,test", "want path,label,…,train|dev|eval"),
    ):
        table.write_text(line + "\n")
        with pytest.raises(ValueError, match=f"line 1: {message}"):
            read_manifest(root)


def test_wmca_faces_are_unpacked_as_they_were_cut(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    root = wmca_tree(tmp_path / "WMCA")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (12, 3, 32, 32), np.uint8)
    for path in root.rglob("WMCA_preprocessed_RGB/**/*.hdf5"):
        with h5py.File(path, "w") as file:
            for number, frame in enumerate(frames):
                file.create_group(f"Frame_{number}").create_dataset("array", data=frame)
    count, done = prepare([root], tmp_path / "faces", Cut(frames=4, size=32), workers=1)
    assert count == len(list(done)) == len(WMCA)
    made = read_manifest(tmp_path / "faces/manifest.csv")
    assert counts(made)["test"]["rigidmask"] == 8
    first = next(row for row in made.rows if row.path.name == "0011.png")
    assert (np.asarray(Image.open(first.path)) == frames[11].transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match="is a video; cut its faces first: telltale prepare"):
        read(root, ("images",), size=32)
    with pytest.raises(ValueError, match="holds cut faces; unpack them first: telltale prepare"):
        predict(None, root, Protocol())  # type: ignore[arg-type]


def test_broken_stacks_are_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.hdf5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(MediaError, match=r"a\.hdf5: cannot be read as HDF5"):
        count_stack(path)
    with h5py.File(path, "w") as file:
        file.create_group("Frame_0").create_dataset("array", data=np.zeros((4, 8, 8), np.uint8))
        file.create_group("Frame_1")
    with pytest.raises(MediaError, match=r"want colour faces \(3, S, S\) of uint8 in Frame_0"):
        read_stack(path, 0)
    with pytest.raises(MediaError, match="Frame_1 has no readable array"):
        read_stack(path, 1)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"pip install 'telltale-vision\[hdf5\]'"):
        count_stack(tmp_path / "a.hdf5")


def test_every_kind_of_the_readers_has_a_family() -> None:
    kinds = [*folders.CASIA.values(), *oulu_reader.KINDS.values(), *celeba_spoof.TYPES]
    kinds += [*wmca.ATTACKS, "makeup", "wig", "print 1", "replay 4", "ipad_video", "highdef photo"]
    assert {family_of(kind) for kind in kinds if kind != "live"} == {"physical"}


def test_celeba_spoof(tmp_path: Path) -> None:
    root = celeba(tmp_path / "CelebA_Spoof")
    rows = read_manifest(root).rows
    assert [(row.label, row.kind, row.source) for row in rows if row.split == "test"] == [
        (0, "", "celebaspoof:9"),
        (1, "pad", "celebaspoof:9"),
    ]
    (root / "metas/intra_test/train_label.json").write_text('{"Data/train/1/live/1.jpg": [0, 1]}')
    with pytest.raises(ValueError, match=r"want 44 numbers for Data/train/1/live/1\.jpg"):
        read_manifest(root)


def four(root: Path) -> Path:
    oulu(root / "oulu")
    casia(root / "casia")
    replay(root / "replay")
    msu(root / "msu")
    return root


@pytest.mark.parametrize("protocol", mcio.ZERO_SHOT)
def test_mcio_never_learns_from_the_target(tmp_path: Path, protocol: str) -> None:
    names = {"M": "msumfsd", "C": "casiafasd", "I": "replayattack", "O": "oulu"}
    rows = read_manifest(f"mcio-{protocol}:{four(tmp_path)}").rows
    sources, _, target = protocol.partition("2")
    assert {row.dataset for row in rows if row.split == "test"} == {names[target]}
    learnt = {row.dataset for row in rows if row.split != "test"}
    assert learnt == {names[letter] for letter in sources}
    assert {row.label for row in rows if row.split == "val"} == {0, 1}


def test_mcio_few_shots(tmp_path: Path) -> None:
    root = four(tmp_path)
    rows = read_manifest(f"mcio-OMI2C-s5:{root}").rows
    shots = [row for row in rows if row.dataset == "casiafasd" and row.split == "train"]
    assert Counter(row.label for row in shots) == {0: 5, 1: 5}
    tested = {row.source for row in rows if row.split == "test"}
    assert not tested & {row.source for row in shots}  # nor other videos of these people
    celeba(root / "celeba")
    more = read_manifest(f"mcio-OMI2C-celeba-s5:{root}").rows
    assert {row.dataset for row in more if row.split == "train"} >= {"celebaspoof", "oulu"}
    assert [row for row in more if row.split == "test"] == [r for r in rows if r.split == "test"]
    assert "mcio-MI2C-celeba" not in READERS
    again = read_manifest(f"mcio-OMI2C-s5:{root}").rows
    assert rows == again
    with pytest.raises(ValueError, match="want the folder msu with its dataset"):
        read_manifest(f"mcio-MI2C:{root / 'oulu'}")


@pytest.mark.parametrize("first", ["spoofing", "spoofing.oulu", "forgery"])
def test_packages_are_imported_in_any_order(first: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import telltale.data.{first}"], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("kind", "attack"), [(11, 1), (-1, 1), (0, 1), (3, 0)])
def test_celeba_spoof_checks_the_type(tmp_path: Path, kind: int, attack: int) -> None:
    root = celeba(tmp_path / "CelebA_Spoof")
    numbers = [0] * 44
    numbers[40], numbers[43] = kind, attack
    path = root / "metas/intra_test/train_label.json"
    path.write_text(json.dumps({"Data/train/1/live/1.jpg": numbers}))
    with pytest.raises(ValueError, match=r"train_label\.json: want a type of 0 to 10"):
        read_manifest(root)


def test_every_reader_says_what_it_wants_of_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    spoofing = [n for n in READERS if n.split("-")[0] in ("oulu", "siw", "mcio", "wmca")]
    for name in (*spoofing, "casiafasd", "replayattack", "msumfsd", "celebaspoof"):
        with pytest.raises(ValueError, match="empty: want"):
            read_manifest(f"{name}:{tmp_path / 'empty'}")
