"""A process that scans one file at a time under limits, told what to do in lines of JSON.

    {"do": "scan", "file": PATH, "name": NAME, "task": …, "survival": …, "video_fps": …}
    {"do": "render", "file": PATH, "folder": PATH, "report": {…}}

It answers with {"progress": share, "says": words} as it goes and ends with {"report": …},
{"rendered": true} or {"error": one line}. What a file makes it do beyond that, ends the process:
its parent starts another.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Work until stdin ends."""
    memory, seconds = (float(word) for word in sys.argv[1:3])
    # Whatever a library prints must not stand between our lines.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()

    from telltale.loading import detectors
    from telltale.media.facefinder import shipped

    shipped()
    loaded = {None: detectors(threads=1)}
    _bound(int(memory))
    say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        _allow(seconds)
        try:
            if order["do"] == "render":
                _render(order)
                say({"rendered": True})
            else:
                task = order.get("task")
                if task not in loaded:
                    loaded[task] = detectors(task=task, threads=1)
                say({"report": _scan(order, loaded[task], say)})
        except MemoryError:
            say({"error": "needs more memory than a scan may use here"})
            return  # what is left of the heap is not to be trusted to the next file
        except (ValueError, OSError) as error:
            say({"error": _told(error, order)})


def _scan(order: dict[str, Any], asked: Any, say: Say) -> dict[str, Any]:  # noqa: ANN401
    from telltale.scan import scan

    def watch(share: float, words: str) -> None:
        say({"progress": round(share, 3), "says": words})

    report = scan(
        order["file"],
        survival=order["survival"],
        detector=asked,
        video_fps=order["video_fps"],
        watch=watch,
    )
    subject = dataclasses.replace(report.subject, path=order["name"])
    return dataclasses.replace(report, subject=subject).to_json()


def _render(order: dict[str, Any]) -> None:
    """Write the page that is downloaded, and its article, which the server's own page shows."""
    from telltale.records import Report
    from telltale.report import write_article, write_html

    report, folder = Report.from_json(order["report"]), Path(order["folder"])
    write_html(folder / "report.html", [report], file=Path(order["file"]))
    write_article(folder / "article.html", report, file=Path(order["file"]))


def _told(error: Exception, order: dict[str, Any]) -> str:
    """The error in one line that speaks of the file by its sender's name."""
    from telltale.media.files import one_line, shown

    text = one_line(error, 1000).replace(shown(order["file"]), order.get("name", "the file"))
    return text.replace(str(Path(order["file"]).parent), "…")


def _bound(memory: int) -> None:
    """Limit what this process may allocate from here on; nothing it starts may leave a core."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; time is bounded by the parent
        return
    try:
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # no /proc: an address space that holds the libraries
        in_use = 4_000_000_000
    _soften(resource.RLIMIT_AS, in_use + memory)
    _soften(resource.RLIMIT_CORE, 0)
    _soften(resource.RLIMIT_FSIZE, 500_000_000)


def _allow(seconds: float) -> None:
    """Give the next file its share of processor time; the kernel ends the process beyond it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soften(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1)


def _soften(which: int, limit: int) -> None:
    import resource

    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    main()
