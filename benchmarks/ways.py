"""The things that bench.py compares, each run in a process of its own: `python ways.py plain DIR`.

Prints one line of JSON: the seconds of the work (models loaded, one picture done before the clock
starts) and the peak memory of the process and its children in MB.
"""

import json
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SLUG = "vit_lora_scl"
Timed = tuple[int, float, dict[str, Any]]  # items, seconds, what else there is to say


def plain(folder: Path) -> Timed:
    """Decode → find faces → cut → classify, a picture and a face at a time, all cores a call."""
    from telltale.detector import Detector
    from telltale.media import read_picture
    from telltale.media.facefinder import crop_region
    from telltale.media.regions import cut

    detector = Detector.load(SLUG)
    paths = sorted(folder.iterdir())

    def classify(path: Path) -> int:
        pixels = read_picture(path).pixels
        faces = detector.looker.finder.find(pixels)
        for face in faces:
            crop = cut(pixels, crop_region(face, detector.looker.margin), detector.size)
            detector.calibration.score(detector.weigh(crop[None]).logits)
        return len(faces)

    classify(paths[0])
    started = time.perf_counter()
    faces = sum(classify(path) for path in paths)
    return len(paths), time.perf_counter() - started, {"faces": faces}


def scan(folder: Path) -> Timed:
    """``telltale.scan.scan_many`` on a folder, of faces alone, without the survival strip."""
    from telltale.detector import Detector
    from telltale.records import Report
    from telltale.scan import scan_many

    paths, detector = sorted(folder.iterdir()), Detector.load(SLUG, threads=1)
    list(scan_many(paths[:1], survival=False, detector=detector))
    started = time.perf_counter()
    records = scan_many(paths, survival=False, detector=detector)
    reports = [record for record in records if isinstance(record, Report)]
    seconds = time.perf_counter() - started
    faces = sum(finding.region is not None for report in reports for finding in report.findings)
    return len(reports), seconds, {"faces": faces}


def networks(folder: Path) -> Timed:
    """Only the network calls of a scan: their shapes are recorded, then run on all cores.

    One thread a call and as many calls side by side as there are cores, which is the fastest way
    that we know; what numbers stand in the arrays does not change the time.
    """
    from telltale.detector import Detector
    from telltale.media import read_picture
    from telltale.scan import cores

    detector = Detector.load(SLUG, threads=1)
    finder = detector.looker.finder
    calls: list[tuple[Any, str, tuple[int, ...]]] = []
    sessions = finder.boxes, finder.meshes, detector.network
    finder.boxes, finder.meshes, detector.network = (Recorder(s, calls) for s in sessions)
    paths = sorted(folder.iterdir())
    for path in paths:
        detector.detect(read_picture(path).pixels, survival=False)

    arrays = {shape: np.full(shape, 0.5, np.float32) for _, _, shape in calls}

    def call(one: tuple[Any, str, tuple[int, ...]]) -> None:
        session, name, shape = one
        session.run(None, {name: arrays[shape]})

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(call, calls[:4]))
        started = time.perf_counter()
        list(pool.map(call, calls))
        seconds = time.perf_counter() - started
    return len(paths), seconds, {"calls": len(calls)}


class Recorder:
    """A session that notes the shapes it is called with."""

    def __init__(self, session: Any, calls: list[tuple[Any, str, tuple[int, ...]]]) -> None:
        self.session = session
        self.calls = calls

    def run(self, outputs: None, feeds: dict[str, Any]) -> list[Any]:
        ((name, array),) = feeds.items()
        self.calls.append((self.session, name, array.shape))
        return self.session.run(outputs, feeds)  # type: ignore[no-any-return]


def adapted(_: Path) -> Timed:
    """Steps of ViT-LoRA-SCL on DINOv2's ViT-S/14 as it is shipped: 9 blocks, rank 16."""
    network, batch = _shipped()
    return train(network, lambda: sum(network.loss(**batch).values()))


def head(_: Path) -> Timed:
    """Steps of a linear head on the same trunk, which is frozen and runs without gradients."""
    import torch
    import torch.nn.functional as F

    network, batch = _shipped()

    def loss() -> Any:
        with torch.no_grad():
            features = network.embed(batch["images"])
        return F.cross_entropy(network.head(features), batch["labels"])

    return train(network, loss)


def _shipped() -> tuple[Any, dict[str, Any]]:
    import torch

    from telltale.faces.vit_lora_scl import ViTLoRASCL
    from telltale.nn.backbones import backbone

    torch.manual_seed(0)
    network = ViTLoRASCL(backbone("dinov2_small", size=168, depth=9))
    return network, {"images": torch.rand(16, 3, 168, 168), "labels": torch.arange(16) % 2}


def train(network: Any, loss: Callable[[], Any], steps: int = 6) -> Timed:
    """Steps of AdamW over what is trainable; the first one is not counted."""
    import torch

    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return timed(step, steps, {"trained": sum(p.numel() for p in trained)})


def timed(call: Callable[[], object], count: int, about: dict[str, Any]) -> Timed:
    """The seconds of ``count`` calls after a first one, by the clock and of the processor."""
    call()
    started, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    seconds = time.perf_counter() - started
    return count, seconds, about | {"processor": time.process_time() - used}


class Peak:
    """The largest resident memory of this process and its children in MB, by samples each 50 ms.

    At least the kernel's own high-water mark of this process, which is all there is without /proc.
    """

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        unit = 1 if sys.platform == "darwin" else 1024
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        self.megabytes = max(self.megabytes, own)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.megabytes = max(self.megabytes, sum(map(_resident, _family())))


def _family() -> Iterator[int]:
    yield os.getpid()
    yield from (child.pid for child in multiprocessing.active_children() if child.pid)


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended, or this is no Linux
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(way: Callable[[], Timed]) -> None:
    """Go one way and print its line of JSON."""
    with Peak() as peak:
        items, seconds, more = way()
    print(json.dumps({"items": items, "seconds": seconds, "peak": peak.megabytes} | more))


WAYS = {way.__name__: way for way in (plain, scan, networks, adapted, head)}

if __name__ == "__main__":
    report(lambda: WAYS[sys.argv[1]](Path(sys.argv[2])))
