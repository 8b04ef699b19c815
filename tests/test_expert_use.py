"""How experts are used stands beside a run's log, line by line, and as a picture."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from torch import nn

from telltale import expert_use
from telltale.train import train

EVEN = {"lora": [[0.5, 0.5], [0.5, 0.5]], "adapter": [[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {
        "backbone.name": "vit_toy",
        "backbone.depth": 2,
        "method.lora_ranks": [2, 4],
        "method.adapter_ops": ["cv", "cd", "rd"],
        "data.manifest": "synth:toyfaces",
        "data.forge": ["DF"],
        "data.batch": 4,
        "data.scenes": 8,
        "data.validation": 8,
        "fit.steps": 4,
        "fit.every": 2,
    }
    folder = tmp_path_factory.mktemp("runs") / "moe"
    return train("moe_ffd", settings=small, run=folder)


def test_a_line_a_validation_and_shares_that_sum_to_one(run: Path) -> None:
    lines = expert_use.read(run)
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        assert [len(line["lora"]), len(line["lora"][0])] == [2, 2]  # blocks, experts
        assert [len(line["adapter"]), len(line["adapter"][0])] == [2, 3]
        for block in (*line["lora"], *line["adapter"]):
            assert sum(block) == pytest.approx(1, abs=1e-3)


def test_the_picture_has_a_cell_for_each_expert_of_each_block(run: Path) -> None:
    cells = ET.parse(run / "experts.svg").getroot().iter("{http://www.w3.org/2000/svg}rect")
    assert sum(cell.get("class") == "cell" for cell in cells) == 2 * 2 + 2 * 3


def test_lines_after_the_last_state_are_made_again(tmp_path: Path) -> None:
    for step in (10, 20, 30, 20):  # killed after 30, resumed from 10
        expert_use.keep(tmp_path, {"step": step, **EVEN})
    assert [line["step"] for line in expert_use.read(tmp_path)] == [10, 20]


def test_the_curves_go_where_the_shares_do() -> None:
    end = {"step": 9, "lora": [[1.0, 0.0]], "adapter": [[0.0, 0.0, 1.0]]}
    page = ET.fromstring(expert_use.to_svg([{"step": 1, **EVEN}, end]))
    lines = [*page.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) == 5
    first, last = (tuple(map(float, p.split(","))) for p in str(lines[0].get("points")).split())
    assert first == (0, expert_use.HIGH / 2)
    assert last == (expert_use.WIDE, 0)
    assert "lora: largest mean share 1.00" in str(page.findtext("{http://www.w3.org/2000/svg}desc"))


def test_a_network_without_experts_says_nothing() -> None:
    assert expert_use.used(nn.Linear(2, 2), 1) is None
    with pytest.raises(ValueError, match="want a line"):
        expert_use.to_svg([])
