"""Whether a detector is judged on whom it learnt from: such figures flatter.

A run of ``telltale train`` on a manifest keeps the names of its training sources in
``sources.txt``. Datasets borrow from each other: DeeperForensics swaps faces into FaceForensics++'s
videos, DF40 and DeepfakeBench take both, so that a test across datasets may be none.
"""

from pathlib import Path

from telltale.data.layout import members
from telltale.evaluate.predictions import Predictions

FILE = "sources.txt"


def learnt_too(what: str | Path, judged: Predictions) -> list[str]:
    """A sentence if sources under test are among those that a run learnt from, else nothing.

    Args:
        what: What is judged; only the folder of a run says what it learnt from.
        judged: The items under test.
    """
    path = Path(what) / FILE
    if not path.is_file():
        return []
    learnt = {name for line in path.read_text("utf-8").splitlines() for name in members(line)}
    tested = sorted(set(judged.sources.tolist()))
    shared = [source for source in tested if members(source) & learnt]
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(tested)} sources in {judged.name} were learnt from, e.g. "
        f"{shared[0]}: figures on them flatter"
    ]
