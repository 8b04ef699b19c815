"""The verb: a detector's explanations on your pictures, and which of them can be trusted for it."""

from telltale.explaining.measuring import (
    Explained,
    Faithfulness,
    Measured,
    explain,
    faithfulness,
    to_json,
    to_table,
)
from telltale.explaining.page import write_page

__all__ = [
    "Explained",
    "Faithfulness",
    "Measured",
    "explain",
    "faithfulness",
    "to_json",
    "to_table",
    "write_page",
]
