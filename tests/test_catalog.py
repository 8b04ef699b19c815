"""The catalogue: cards from files, networks from cards, and errors that name the nearest."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from telltale import catalog
from telltale.engine import weights_folder
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.nn.backbones import backbone
from telltale.records import Card, Weights

TOY = {"name": "vit_toy", "size": 16, "depth": 1}


def test_every_card_lies_beside_its_module() -> None:
    src = Path(catalog.__file__).parent
    for slug, card in catalog.cards().items():
        module = card.network.partition(":")[0]
        folder = src / module.split(".")[1]
        assert (folder / f"{slug}.toml").is_file()
        assert (folder / f"{slug}.py").is_file()


def test_cards_are_sorted_and_found_by_slug() -> None:
    assert [*catalog.cards()] == sorted(catalog.cards())
    card = catalog.card("vit_lora_scl")
    assert isinstance(card, Card)
    assert card.slug == "vit_lora_scl"
    assert card.claim == "the face was digitally forged"


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="no method 'vit_lora_slc', did you mean 'vit_lora_scl'"):
        catalog.card("vit_lora_slc")
    with pytest.raises(ValueError, match="no method 'xyzzy'; see: telltale methods"):
        catalog.card("xyzzy")


@pytest.mark.parametrize("given", [TOY, "vit_toy", "module"])
def test_builds_with_a_backbone_by_table_name_or_module(given: object) -> None:
    made = backbone(**TOY) if given == "module" else given
    network = catalog.build("vit_lora_scl", backbone=made, rank=3, readout="patches")
    assert isinstance(network, ViTLoRASCL)
    assert network.readout == "patches"
    assert network.backbone.blocks[0].attn.rank == 3


def test_an_unknown_setting_names_the_nearest_and_the_rest() -> None:
    with pytest.raises(
        ValueError, match=r"vit_lora_scl has no setting 'rnak', did you mean 'rank'"
    ):
        catalog.build("vit_lora_scl", backbone=TOY, rnak=4)
    with pytest.raises(ValueError, match=r"it has backbone, rank, targets, margin, scl_weight"):
        catalog.build("vit_lora_scl", backbone=TOY, qqqq=4)


def test_a_missing_backbone_is_named() -> None:
    with pytest.raises(ValueError, match="vit_lora_scl: missing a required argument: 'backbone'"):
        catalog.build("vit_lora_scl", rank=4)


def test_an_unknown_setting_of_the_backbone_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="backbone has no setting 'dept', did you mean 'depth'"):
        catalog.build("vit_lora_scl", backbone={"name": "vit_toy", "dept": 2})


def test_a_setting_out_of_range_keeps_the_networks_own_words() -> None:
    with pytest.raises(ValueError, match=r"rank must lie in 1\.\.96, got 97"):
        catalog.build("vit_lora_scl", backbone=TOY, rank=97)


def test_weights_are_verified(tmp_path: Path) -> None:
    name = next(path.name for path in weights_folder().glob("*.onnx"))
    wrong = Weights(file=name, sha256="0" * 64, license="MIT", trained_on="nothing")
    with pytest.raises(ValueError, match=name):
        catalog.weights_path(wrong)
    missing = Weights(file="none.onnx", sha256="0" * 64, license="MIT", trained_on="nothing")
    with pytest.raises(ValueError, match=r"none\.onnx"):
        catalog.weights_path(missing)


def test_cards_need_no_torch_and_building_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from telltale import catalog\n"
        "assert catalog.cards()\n"
        "try: catalog.build('vit_lora_scl', backbone='vit_toy')\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "vit_lora_scl needs torch: pip install 'telltale-vision[train]'" in done.stdout


def test_seeded_builds_are_equal() -> None:
    first, second = (
        (torch.manual_seed(1), catalog.build("vit_lora_scl", backbone=TOY))[1].state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
