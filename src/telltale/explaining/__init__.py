"""The verb: a detector's explanations on your pictures, and which of them can be trusted for it."""

from telltale.explaining.measuring import (
    Explained,
    Faithfulness,
    Measured,
    explain,
    faithfulness,
)
from telltale.explaining.page import write_page
from telltale.explaining.tables import card_line, to_json, to_table

__all__ = [
    "Explained",
    "Faithfulness",
    "Measured",
    "card_line",
    "explain",
    "faithfulness",
    "to_json",
    "to_table",
    "write_page",
]
