"""Joint attacks: simulated clues, families, and the reference of two experts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from telltale import metrics
from telltale.data.manifest import read_manifest
from telltale.data.sources import Data, ManifestSource, open_source
from telltale.faces.joint_attacks import DIGITAL, LIVE, PHYSICAL, JointAttacks, either
from telltale.nn import clues
from telltale.nn.backbones import backbone
from telltale.nn.convnets import convnet


def detector(**settings: float) -> JointAttacks:
    torch.manual_seed(0)
    return JointAttacks(backbone("vit_toy", size=16, depth=2), rank=4, **settings)  # type: ignore[arg-type]


@pytest.fixture
def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    domains = torch.arange(9) % 3
    return {
        "images": torch.rand(9, 3, 16, 16, generator=random),
        "labels": (domains > 0).long(),
        "domains": domains,
    }


def test_5_the_metrics_on_a_hand_made_confusion() -> None:
    scores = [1, *[0] * 9, *[0] * 2, *[1] * 8, *[1] * 10]
    labels = [*[0] * 10, *[1] * 20]
    kinds = ["live"] * 10 + ["print"] * 10 + ["swap"] * 10
    assert metrics.bpcer(scores, labels) == pytest.approx(0.1)
    assert metrics.apcer(scores, labels) == pytest.approx(0.1)
    assert metrics.apcer(scores, labels, kinds=kinds) == pytest.approx(0.2)
    assert metrics.acer(scores, labels) == pytest.approx(0.1)
    assert metrics.acer(scores, labels, kinds=kinds) == pytest.approx(0.15)


def test_6_moire() -> None:
    images = torch.rand(2, 3, 40, 40)
    center = torch.tensor([[20.0, 20.0], [12.0, 25.0]])
    still = clues.moire(images, center, torch.zeros(2))
    torch.testing.assert_close(still, images)
    flat = torch.full((2, 3, 40, 40), 0.4)
    torch.testing.assert_close(clues.moire(flat, center, torch.full((2,), 0.01)), flat)
    # a picture of the radius itself: where the source lies, its radius is the pixel's own
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    radius = ((x - 20).square() + (y - 20).square()).sqrt() / 60
    rings = radius.expand(1, 3, 40, 40)
    twisted = (clues.moire(rings, center[:1], torch.tensor([0.01])) - 0.8 * rings) / 0.2
    inner = (slice(None), slice(None), slice(8, 32), slice(8, 32))
    assert (60 * (twisted - rings)[inner]).abs().max() <= 1


@pytest.mark.parametrize("radius", [5, 10, 15])
def test_6_the_twist_grows_with_the_radius_squared(radius: int) -> None:
    """δρ is the angle, so δρ² the way along the circle."""
    x = torch.zeros(1, 3, 65, 65)
    angle = 0.02 * radius
    column = round(32 + radius * math.cos(angle))
    row = round(32 + radius * math.sin(angle))
    x[..., row, column] = 1
    found = clues.moire(x, torch.tensor([[32.0, 32.0]]), torch.tensor([0.02]))
    assert found[0, 0, 32, 32 + radius] == pytest.approx(0.2 if radius > 5 else 1.0, abs=1e-6)


def test_7_clues_touch_live_faces_alone(batch: dict[str, Tensor]) -> None:
    network = detector(physical_rate=0.5, digital_rate=0.5)
    images, domains = network.with_clues(*batch.values())
    attacks = batch["labels"] == 1
    assert torch.equal(images[attacks], batch["images"][attacks])
    assert torch.equal(domains[attacks], batch["domains"][attacks])
    assert (domains[~attacks] > LIVE).all()
    assert not torch.equal(images[~attacks], batch["images"][~attacks])


def test_7_rates_and_silence_in_evaluation(batch: dict[str, Tensor]) -> None:
    network = detector(physical_rate=0.3, digital_rate=0.1)
    live = torch.zeros(2000, dtype=torch.int64)
    torch.manual_seed(1)
    domains = network.with_clues(torch.rand(2000, 3, 8, 8), live, live)[1]
    for family, rate in ((PHYSICAL, 0.3), (DIGITAL, 0.1)):
        spread = math.sqrt(rate * (1 - rate) / 2000)
        assert (domains == family).float().mean().item() == pytest.approx(rate, abs=3 * spread)
    network.eval()
    torch.testing.assert_close(network.loss(**batch), network.loss(**batch))


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_8_a_blend_is_its_target_where_the_mask_is_not(seed: int) -> None:
    torch.manual_seed(seed)
    source, target = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24)
    mask = clues.ellipse(2, source)
    assert mask.min() >= 0
    assert mask.max() <= 1
    made = clues.blended(source, target, mask)
    outside = (mask == 0).expand_as(made)
    assert outside.any()
    assert torch.equal(made[outside], target[outside])
    assert torch.equal(clues.blended(source, target, 0 * mask), target)
    found = clues.blend(target)
    assert found.shape == target.shape
    assert found.min() >= 0
    assert found.max() <= 1


def test_colours_turn_about_grey() -> None:
    images = torch.rand(2, 3, 4, 4)
    full = clues.turn_hue(images, torch.full((2, 1, 1, 1), 2 * math.pi / 3))
    torch.testing.assert_close(full, images.roll(1, 1), atol=1e-5, rtol=0)
    grey = torch.full((1, 3, 4, 4), 0.3)
    torch.testing.assert_close(clues.turn_hue(grey, torch.ones(1, 1, 1, 1)), grey)


KINDS = {"print 1": PHYSICAL, "ipad_video": PHYSICAL, "mask": PHYSICAL, "Deepfakes": DIGITAL}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Eight people a split; of each a live face and an attack of each kind."""
    lines = ["path,label,source,split,kind"]
    for number, split in enumerate(("train", "val", "test")):
        for person in range(8):
            for kind in ("", *KINDS):
                path = tmp_path / f"{split}_{person}_{kind}.png"
                Image.new("RGB", (16, 16), (number, person, 0)).save(path)
                lines.append(f"{path.name},{int(kind != '')},{split}{person},{split},{kind}")
    (tmp_path / "faces.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "faces.csv"


def opened(manifest: Path, **settings: Any) -> ManifestSource:
    data = Data(manifest=str(manifest), balance="families", **settings)
    fields = ("images", "labels", "domains")
    made = open_source(data, fields=fields, size=16, seed=0, cache=manifest.parent)
    assert isinstance(made, ManifestSource)
    return made


@pytest.mark.parametrize("left", [["mask"], ["ipad_video", "Deepfakes"], ["physical"], ["digital"]])
def test_9_what_is_left_out_is_in_the_test_alone(manifest: Path, left: list[str]) -> None:
    source = opened(manifest, batch=12, leave_out=left)
    gone = {
        kind
        for kind, domain in KINDS.items()
        if kind in left or ("live", "physical", "digital")[domain] in left
    }
    rows = {"train": source.learn.manifest.rows, "val": source.check.manifest.rows}
    for split, found in rows.items():
        assert {row.kind for row in found} == {"", *KINDS} - gone
        assert {row.split for row in found} == {split}
    tested = read_manifest(manifest).of_split("test").rows
    assert gone < {row.kind for row in tested}
    people = [{row.source for row in found} for found in (*rows.values(), tested)]
    assert not people[0] & people[1]
    assert not (people[0] | people[1]) & people[2]
    there = {KINDS[kind] for kind in KINDS.keys() - gone}
    domains, counts = np.unique(source[0]["domains"], return_counts=True)
    assert set(domains.tolist()) == {LIVE, *there}  # the families keep their numbers
    assert len(set(counts.tolist())) == 1


def test_9_families_are_those_of_the_catalogue(manifest: Path) -> None:
    data = opened(manifest, batch=12).learn
    found = zip(data.manifest.rows, data.domains.tolist(), strict=True)
    assert all(domain == KINDS.get(row.kind, LIVE) for row, domain in found)
    manifest.write_text(manifest.read_text().replace(",Deepfakes", ",hologram"))
    with pytest.raises(ValueError, match="no kind of attack 'hologram'"):
        opened(manifest, batch=12)
    manifest.write_text(manifest.read_text().replace(",hologram", ",digital_then_physical"))
    with pytest.raises(ValueError, match="is of both families; leave it out"):
        opened(manifest, batch=12)


@given(st.floats(0, 1), st.floats(0, 1))
def test_10_either_expert_is_enough(p: float, q: float) -> None:
    one, other = torch.tensor(p), torch.tensor(q)
    score = either(one, other)
    assert score >= max(p, q) - 1e-6
    torch.testing.assert_close(score, either(other, one))
    assert either(torch.tensor(0.0), torch.tensor(0.0)) == 0


def test_11_without_families_and_centre_it_is_a_binary_model(batch: dict[str, Tensor]) -> None:
    network = detector(family_weight=0.0, scl_weight=0.0).eval()
    losses = network.loss(**batch)
    assert [*losses] == ["ce"]
    logit = network(batch["images"]).logit
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logit, batch["labels"].float())
    torch.testing.assert_close(losses["ce"], expected)
    with pytest.raises(ValueError, match="want a family head"):
        network.families(batch["images"])


def test_families_are_probabilities_on_any_trunk(batch: dict[str, Tensor]) -> None:
    network = JointAttacks(convnet("conv_toy")).eval()
    assert all(p.requires_grad for p in network.backbone.parameters())
    shares = network.families(batch["images"])
    assert shares.shape == (9, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"physical_rate": 0.7, "digital_rate": 0.7}, "rates of 0 or more and 1 at most"),
        ({"live_weight": 0.0}, "live_weight above 0"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**settings)


def test_says_what_domains_it_wants(batch: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="want domains 0 to 2"):
        detector().loss(**(batch | {"domains": batch["domains"] + 3}))
