"""Look at the licence of every distribution that telltale-vision pulls in, extras included.

Walks the installed requirements from the project's own metadata, so it sees what pip chose, and
fails for a licence that is not on the list of kinds below, that nobody stated, or for a bundled GPL
library that the metadata keep quiet about. Development tools
(the extras `dev` and `docs`) are not given to users and are not looked at.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

PROJECT = "telltale-vision"
NOT_SHIPPED = {"dev", "docs"}
ALLOWED = (  # each a whole word of the licence's name or SPDX expression
    "apache|mit|mit-cmu|hpnd|bsd|0bsd|isc|psf|python software foundation|zlib|cc0|unlicense|"
    "mpl|mpl-2.0|mozilla public license|boost|bsl-1.0"
)
# GPL in any form, or a silent package, must be named here with the reason why it does no harm.
REVIEWED = {
    "av": "extra `video`: its wheels carry x264 and x265 (GPL-2.0); only stress calls x264; "
    "who passes the wheel on can build PyAV against an FFmpeg of their own instead",
    "spikingjelly": "extra `spiking`: its LICENSE file is Apache-2.0; its metadata do not say so",
    "pi-heif": "extra `heif`: BSD-3-Clause itself; its wheels link libheif and libde265 (LGPL-3.0)",
}
BUNDLED = re.compile(r"(^|/)lib(x26[45]|xvid|faac|fdk)")  # not stated in the wheel's metadata
NVIDIA = re.compile(r"^(nvidia|cuda)-")  # redistributed by torch's wheels; proprietary, extra train


def main() -> int:
    bad = []
    needed = closure(PROJECT, shipped_extras())
    for name, found in sorted(needed.items()):
        if name == PROJECT or name in REVIEWED or NVIDIA.match(name):
            continue
        stated = licence(found)
        if carried := [str(f) for f in found.files or () if BUNDLED.search(str(f))]:
            bad.append(f"{name} {found.version}: carries {', '.join(carried)}")
        elif not re.search(rf"\b({ALLOWED})\b", stated, re.IGNORECASE):
            bad.append(f"{name} {found.version}: {stated or 'no licence stated'}")
        elif re.search(r"\b([al]?gpl|gnu|non-?commercial)", stated, re.IGNORECASE):
            bad.append(f"{name} {found.version}: {stated}")
    for line in bad:
        print(f"licence not allowed: {line}", file=sys.stderr)
    if not bad:
        print(f"licences: {len(needed) - 1} distributions, all allowed")
    return 1 if bad else 0


def closure(root: str, extras: frozenset[str]) -> dict[str, Distribution]:
    """Installed distributions that ``root`` with some of its extras needs, itself among them."""
    found: dict[str, Distribution] = {}
    waiting = [(root, extras)]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            here = found[canonical(name)] = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform, or an extra that is not installed
        for line in here.requires or ():
            need = Requirement(line)
            wanted = any(_holds(need, extra) for extra in ("", *extras))
            item = (canonical(need.name), frozenset(need.extras))
            if wanted and item not in seen:
                seen.add(item)
                waiting.append(item)
    return found


def shipped_extras() -> frozenset[str]:
    return frozenset(distribution(PROJECT).metadata.get_all("Provides-Extra") or ()) - NOT_SHIPPED


def licence(found: Distribution) -> str:
    """The SPDX expression, else the classifiers, else the first line of the free text."""
    data = found.metadata
    if expression := data.get("License-Expression"):
        return str(expression)
    classifiers = [c for c in data.get_all("Classifier") or () if c.startswith("License ::")]
    words = [c.rpartition(" :: ")[2] for c in classifiers if not c.endswith("OSI Approved")]
    return "; ".join(words) or str(data.get("License") or "").partition("\n")[0]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _holds(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


if __name__ == "__main__":
    sys.exit(main())
