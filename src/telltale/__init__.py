"""Telltale tells whether a picture can be believed, where not, how sure it is, and what survives.

>>> import telltale
>>> report = telltale.scan("selfie.jpg")        # a Report
>>> detector = telltale.load("vit_lora_scl")    # a Detector on shipped weights
>>> telltale.cards()                            # every method's Card by its slug
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

# Now and not on demand: importing the module later would put it in the place of the function.
from telltale.loading import load
from telltale.scan import scan

if TYPE_CHECKING:
    from telltale.detector import Detector
    from telltale.records import Card, Finding, Report

__version__ = "0.1.0"

__all__ = [
    "Card",
    "Detector",
    "Finding",
    "Report",
    "__version__",
    "cards",
    "load",
    "scan",
]

_HOMES = {"Card": "records", "Finding": "records", "Report": "records", "Detector": "detector"}


def cards() -> "Mapping[str, Card]":
    """Every method's card by its slug.

    Raises:
        ValueError: If a card is not complete; the text names it.
    """
    from telltale import catalog

    return catalog.cards()


def __getattr__(name: str) -> object:
    """The classes, loaded on first use: numpy and Pillow are not needed before (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'telltale' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"telltale.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
