"""What an audit finds: of a picture under each defence, and over pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from telltale.metrics.answers import wilson


@dataclass(frozen=True, slots=True)
class Defended:
    """What a defence leaves of the change to one picture.

    Args:
        before: Cosine of the picture with the instruction.
        after: Of the changed picture.
        won_before: Whether the instruction is nearer to the picture than every decoy.
        won: The same of the changed picture.
        kept: Cosine of the defended picture with the undefended one: what the defence costs.
        seconds: That the defence took for a picture, the encoder's time with it.
    """

    before: float
    after: float
    won_before: bool
    won: bool
    kept: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Answers:
    """A vision-language model's own answers to the audit's question.

    Args:
        before: Mean log-probability in nats of the instruction's tokens as the answer.
        after: Of the changed picture.
        said_before: Whether the answer has the instruction in it, whatever case and blanks.
        said: The same of the changed picture.
    """

    before: float
    after: float
    said_before: bool
    said: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """One picture's audit.

    Args:
        path: The picture.
        defences: Name to what is left.
        largest: Greatest change in levels of 255.
        psnr: In dB.
        ssim: Of the changed picture.
        unrest_before: 1 less the mean cosine of the picture's feature with its features after the
            defences on pixels. Changed pictures are less at rest.
        unrest: The same of the changed picture.
        signs_before: The same for each of those defences: what the detector looks at.
        signs: The same of the changed picture.
        answers: What a vision-language model makes of it; None of an encoder alone.
    """

    path: str
    defences: Mapping[str, Defended]
    largest: int
    psnr: float
    ssim: float
    unrest_before: float
    unrest: float
    signs_before: tuple[float, ...]
    signs: tuple[float, ...]
    answers: Answers | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """Of one defence, over pictures: means, and the rate of success with its 95 % interval."""

    before: float
    after: float
    kept: float
    seconds: float
    rate_before: float
    rate: float
    interval: tuple[float, float]


def totals(found: Sequence[Moved]) -> dict[str, Total]:
    """Over pictures, by defence.

    Raises:
        ValueError: If there are none.
    """
    if not found:
        raise ValueError("want one picture or more")
    table = {}
    for name in found[0].defences:
        rows = [one.defences[name] for one in found]
        won = sum(row.won for row in rows)
        table[name] = Total(
            before=float(np.mean([row.before for row in rows])),
            after=float(np.mean([row.after for row in rows])),
            kept=float(np.mean([row.kept for row in rows])),
            seconds=float(np.mean([row.seconds for row in rows])),
            rate_before=float(np.mean([row.won_before for row in rows])),
            rate=won / len(rows),
            interval=wilson(won, len(rows)),
        )
    return table
