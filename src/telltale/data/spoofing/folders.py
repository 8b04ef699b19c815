"""Three datasets whose folders and names say all: CASIA-FASD, Replay-Attack and MSU-MFSD.

    CASIA-FASD      {train,test}_release/<person>/{1…8,HR_1…HR_4}.avi
    Replay-Attack   {train,devel,test}/{real,attack/{fixed,hand}}/*.mov
    MSU-MFSD        scene01/{real,attack}/*.{mov,mp4},  train_sub_list.txt, test_sub_list.txt

Sources: Zhang et al., ICB 2012; Chingovska et al., BIOSIG 2012; Wen et al., TIFS 2015. Where a
dataset has no development set, a tenth of the training people is for validation.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import VIDEOS, Label, rows, train_or_val, want
from telltale.data.manifest import Row

CASIA = {
    **dict.fromkeys(("1", "2", "HR_1"), "live"),
    **dict.fromkeys(("3", "4", "HR_2"), "warped print"),
    **dict.fromkeys(("5", "6", "HR_3"), "cut print"),
    **dict.fromkeys(("7", "8", "HR_4"), "video"),
}
REPLAY = {"train": "train", "devel": "val", "test": "test"}


def read_casia(root: Path) -> Iterator[Row]:
    """Rows of CASIA-FASD; people of the two halves are other people, whatever their number.

    Raises:
        ValueError: If the folders are missing or a video has another name.
    """
    want(root, "train_release", "test_release")
    for half in ("train", "test"):
        for path in sorted((root / f"{half}_release").glob("*/*.avi")):
            if path.stem not in CASIA:
                raise ValueError(f"{path}: want a name of {', '.join(CASIA)}")
            person = f"casiafasd:{half} {path.parent.name}"
            split = "test" if half == "test" else train_or_val(person)
            label = Label("casiafasd", CASIA[path.stem], CASIA[path.stem] != "live")
            clip = f"{half}/{path.parent.name}/{path.stem}"
            yield from rows([path], label, clip, source=person, split=split)


def read_replay(root: Path) -> Iterator[Row]:
    """Rows of Replay-Attack; kinds such as "print photo" and "mobile video".

    Raises:
        ValueError: If the folders are missing or a name has no client.
    """
    want(root, *REPLAY)
    for folder, split in REPLAY.items():
        for path in sorted((root / folder).rglob("*.mov")):
            parts = path.relative_to(root / folder).parts
            if parts[0] not in ("real", "attack"):
                continue  # enrollment videos
            attack = parts[0] == "attack"
            named = re.match(r"attack_(\w+?)_.*_(photo|video)_", path.stem)
            kind = f"{named[1]} {named[2]}" if named else "attack"
            label = Label("replayattack", kind if attack else "live", attack)
            clip = path.relative_to(root).with_suffix("").as_posix()
            person = f"replayattack:{_client(path)}"
            yield from rows([path], label, clip, source=person, split=split)


def read_msu(root: Path) -> Iterator[Row]:
    """Rows of MSU-MFSD; kinds such as "ipad_video" and "printed_photo".

    Raises:
        ValueError: If the folders or the lists are missing, or a name has no client.
    """
    want(root, "scene01")
    lists = {split: root / f"{split}_sub_list.txt" for split in ("train", "test")}
    for path in lists.values():
        if not path.is_file():
            raise ValueError(f"{path}: is not there; it says whose videos are for what")
    testing = {int(number) for number in lists["test"].read_text("utf-8").split()}
    known = testing | {int(number) for number in lists["train"].read_text("utf-8").split()}
    for folder in ("real", "attack"):
        for path in sorted((root / "scene01" / folder).iterdir()):
            if path.suffix.lower() not in VIDEOS:
                continue
            client = _client(path)
            if int(client) not in known:
                continue  # people whose videos may not be used
            person = f"msumfsd:{client}"
            split = "test" if int(client) in testing else train_or_val(person)
            named = re.search(r"_(ipad_video|iphone_video|printed_photo)_", path.stem)
            kind = "live" if folder == "real" else named[1] if named else "attack"
            label = Label("msumfsd", kind, folder == "attack")
            yield from rows([path], label, path.stem, source=person, split=split)


def _client(path: Path) -> str:
    found = re.search(r"client(\d+)", path.stem)
    if found is None:
        raise ValueError(f"{path}: want the client's number in its name, as in client001")
    return found[1]
