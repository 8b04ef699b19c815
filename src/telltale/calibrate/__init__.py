"""What a score is worth: likelihood ratios with limits, verdicts with reasons, and their words."""

from telltale.calibrate.line import Calibration, fit
from telltale.calibrate.verdict import CAUTION, STEPS, decide, in_words, strength

__all__ = ["CAUTION", "STEPS", "Calibration", "decide", "fit", "in_words", "strength"]
