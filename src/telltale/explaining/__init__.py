"""The verb: a detector's explanations on your pictures, and which of them can be trusted for it."""

from telltale.explaining.measuring import explain, faithfulness
from telltale.explaining.page import write_page
from telltale.explaining.tables import card_maps, to_json, to_table
from telltale.explaining.verdicts import Explained, Faithfulness, Measured

__all__ = [
    "Explained",
    "Faithfulness",
    "Measured",
    "card_maps",
    "explain",
    "faithfulness",
    "to_json",
    "to_table",
    "write_page",
]
