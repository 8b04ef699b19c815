"""The catalogue of attacks: a tree, datasets that name its kinds, and filters that agree."""

import json
import tomllib

import pytest

from telltale import taxonomy
from telltale.cli import run


def test_the_tree_has_three_roots() -> None:
    tree = taxonomy.attacks()
    assert {kind for kind in tree if not tree[kind].parent} == set(taxonomy.FAMILIES)
    assert all(tree[kind].parent in tree for kind in tree if tree[kind].parent)
    assert {taxonomy.family(kind) for kind in tree} == set(taxonomy.FAMILIES)
    assert taxonomy.lineage("print_cut") == ["print_cut", "print", "physical"]
    with pytest.raises(ValueError, match="no attack 'hologram'"):
        taxonomy.family("hologram")


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("identity_swap", "identity_swap", "digital"),
        ("Face2Face", "reenactment", "digital"),
        ("print 1", "print", "physical"),
        ("Warped print", "print_warped", "physical"),
        ("cut", "print_cut", "physical"),
        ("ipad_video", "replay_tablet", "physical"),
        ("upper body mask", "mask", "physical"),
        ("self_blend", "identity_swap", "digital"),
        ("digital/mine", "digital", "digital"),
        ("hybrid/a deepfake on a phone", "hybrid", "hybrid"),
    ],
)
def test_names_of_datasets_find_their_entry(name: str, kind: str, family: str) -> None:
    assert taxonomy.kind_of(name) == kind
    assert taxonomy.family_of(name) == family


@pytest.mark.parametrize("name", ["maskgan", "photoshop", "forged", "", "mine/digital", "7"])
def test_names_that_nothing_knows_are_refused_not_guessed(name: str) -> None:
    with pytest.raises(ValueError, match="no kind of attack"):
        taxonomy.kind_of(name)


def test_every_name_stands_for_an_entry_and_for_one_only() -> None:
    table = tomllib.loads((taxonomy.HERE / "kinds.toml").read_text("utf-8"))
    for part in ("words", "names"):
        assert set(table[part]) <= set(taxonomy.attacks())
        every = [name for names in table[part].values() for name in names]
        assert len(every) == len(set(every))
    assert not {n for names in table["names"].values() for n in names} & set(taxonomy.attacks())


def test_every_dataset_is_described() -> None:
    for source in taxonomy.sources().values():
        assert source.url.startswith("https://")
        assert 2009 <= source.year <= 2026
        assert source.attacks
        assert source.size
        assert set(source.attacks) <= set(taxonomy.attacks())


def test_joint_sets_hold_both_families() -> None:
    joint = taxonomy.find(task="joint")
    assert {source.id for source in joint} >= {"grandfake", "uniattackdata"}
    for source in joint:
        assert {"physical", "digital"} <= {taxonomy.family(kind) for kind in source.attacks}


def test_the_union_over_families_is_all() -> None:
    every = {source.id for name in taxonomy.FAMILIES for source in taxonomy.find(attack=name)}
    assert every == set(taxonomy.sources())
    tasks = [source.id for task in taxonomy.TASKS for source in taxonomy.find(task=task)]
    assert sorted(tasks) == sorted(taxonomy.sources())


def test_figures_of_the_forgery_sets() -> None:
    sources = taxonomy.sources()
    assert sources["ffpp"].size == "1,000 real, 4 × 1,000 fake videos"
    assert sources["ffpp"].split == "720 / 140 / 140 videos"
    assert "518" in sources["celebdf_v2"].split


def test_filters() -> None:
    depth = taxonomy.find(modality="DEPTH", since=2019)
    assert {"casia_surf", "wmca", "cefa"} == {source.id for source in depth}
    with pytest.raises(ValueError, match="no task 'faces'"):
        taxonomy.find(task="faces")


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalogue", "replay", "--task", "fas", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {it["id"] for it in table["attacks"]} >= {"replay", "replay_phone"}
    assert all(source["task"] == "fas" for source in table["datasets"])
    assert run(["catalogue", "--since", "2024"]) == 0
    shown = capsys.readouterr().out
    assert "UniAttackData" in shown
    assert "entire_synthesis" in shown
    assert run(["catalogue", "hologram"]) == 2
    assert "no attack 'hologram'" in capsys.readouterr().err
