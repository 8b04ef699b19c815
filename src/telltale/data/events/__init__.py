"""Events: readers of what cameras and datasets write, and frames of counts made of them.

events = read_events(Path("00002.bin"))              # x, y, t in microseconds, p
counts = frames(events, 10, (34, 34))                # (T, 2, H, W), channel = polarity
sets   = read_set(Path("N-MNIST"), frames_each=10)   # a dataset's folder, split as published
"""

from telltale.data.events.files import EVENT, read_events, write_bin
from telltale.data.events.frames import frames
from telltale.data.events.sets import EventSet, held_out, read_set

__all__ = ["EVENT", "EventSet", "frames", "held_out", "read_events", "read_set", "write_bin"]
