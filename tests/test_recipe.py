"""What a recipe and the settings over it may say: types of values, and whose licence counts."""

from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra train")

from telltale.recipe import Recipe, in_force

BASE = {
    "method": {"scl_weight": 0.02},
    "backbone": {"name": "vit_toy"},
    "data": {"manifest": "synth:toyfaces", "license": "CC0-1.0"},
}


@pytest.mark.parametrize(
    ("slug", "settings", "says"),
    [
        ("vit_lora_scl", {"method.rank": "foo"}, r"method\.rank: want int, got 'foo'"),
        (
            "vit_lora_scl",
            {"method.scl_weight": "foo"},
            r"method\.scl_weight: want float, got 'foo'",
        ),
        ("vit_lora_scl", {"method.targets": 3}, r"method\.targets: want str, got 3"),
        ("vit_lora_scl", {"method.rank": True}, r"method\.rank: want int, got True"),
        ("vit_lora_scl", {"backbone.size": "foo"}, r"backbone\.size: want int \| None, got 'foo'"),
        ("vit_lora_scl", {"backbone.name": 5}, r"backbone\.name: want str, got 5"),
        ("vit_lora_scl", {"backbone.weights": 5}, r"backbone\.weights: want Path \| None, got 5"),
        ("moe_ffd", {"method.lora_ranks": [8, "x"]}, r"method\.lora_ranks: want Sequence\[int\]"),
        ("moe_ffd", {"method.lora_ranks": "816"}, r"want Sequence\[int\], got '816'"),
        (
            "moe_ffd",
            {"method.balance": [1.0]},
            r"balance: want tuple\[float, float\], got \[1\.0\]",
        ),
        ("moe_ffd", {"data.leave_out": [1]}, r"data\.leave_out: want Sequence\[str\], got \[1\]"),
    ],
)
def test_a_value_of_another_type_is_named(slug: str, settings: dict[str, Any], says: str) -> None:
    tables = {key: table for key, table in BASE.items() if key != "method"}
    with pytest.raises(ValueError, match=says):
        in_force(slug, tables, settings)


def test_values_that_mean_the_same_are_taken() -> None:
    fitting = {
        "method.balance": [100, 1],
        "method.lora_ranks": (4, 8),
        "backbone.depth": 2,
        "backbone.weights": "trunk.safetensors",
    }
    tables = {key: table for key, table in BASE.items() if key != "method"}
    plan = in_force("moe_ffd", tables, fitting)
    assert plan.method["balance"] == [100, 1]
    again = in_force("moe_ffd", plan.tables())  # every default, as a run's record has it
    assert again == plan


def licensed(**data: str) -> str:
    plan: Recipe = in_force("vit_lora_scl", BASE, {f"data.{k}": v for k, v in data.items()})
    assert in_force("vit_lora_scl", plan.tables()) == plan
    return plan.data.license


def test_a_recipes_licence_is_that_of_its_own_data() -> None:
    assert licensed() == licensed(manifest="synth:toyfaces") == "CC0-1.0"
    assert licensed(manifest="mine.csv") == "unknown"
    assert licensed(manifest="mine.csv", license="MIT") == "MIT"
    assert licensed(license="MIT") == "MIT"
