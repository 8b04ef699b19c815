"""The verb: copies of pictures and videos of one's own that hinder those who train on them.

    for made in protect_pictures(Path("photos"), Path("out"), labels=Path("labels.csv")): ...
    for made in protect_videos([Path("walk.mp4")], Path("out")): ...     # boxes in walk.txt
    effect = picture_effect(Path("photos"), Path("out"))                 # on models trained here
    for made in hide_faces(Path("faces"), Path("out"), run=Path("runs/1"), covers=Path("sea")): ...

Originals are only read. Copies are lossless; each is read back, and no value differs from the
original's by more than the bound. A picture that hides a face is held against
its cover. A run that was stopped goes on with ``resume``.
"""

from telltale.protect.copies import Copy, write_report
from telltale.protect.effects import picture_effect, video_effect
from telltale.protect.hiding import hide_faces
from telltale.protect.pictures import protect_pictures
from telltale.protect.videos import protect_videos

__all__ = [
    "Copy",
    "hide_faces",
    "picture_effect",
    "protect_pictures",
    "protect_videos",
    "video_effect",
    "write_report",
]
