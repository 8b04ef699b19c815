"""What every method of the catalogue promises, on its card's ``tiny`` model."""

import importlib
import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from telltale import catalog
from telltale.export import TOLERANCE, export_onnx
from telltale.fit import adam, fit, restore, save, trained
from telltale.nn.contract import Evidence
from telltale.nn.vit import ViT
from telltale.records import Card

SRC = Path(catalog.__file__).parent
CARDS = catalog.cards()
DETECTORS = sorted(slug for slug, card in CARDS.items() if card.verb == "detect")
TRAINABLE = sorted(slug for slug, card in CARDS.items() if card.learns_from)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(slug: str) -> nn.Module:
    """The tiny model; the same each time, as if its trunk had been loaded from a file."""
    torch.manual_seed(0)
    return catalog.build(slug, **CARDS[slug].tiny)


def side(network: nn.Module) -> int:
    usual = getattr(network, "size", 32)
    return next((m.shape.size for m in network.modules() if isinstance(m, ViT)), usual)


def batch(words: tuple[str, ...], size: int, count: int = 8) -> dict[str, Tensor]:
    """Random values for the words of a batch, the same each time."""
    random = torch.Generator().manual_seed(1)
    make: dict[str, Callable[[], Tensor]] = {
        "images": lambda: torch.rand(count, 3, size, size, generator=random),
        "partners": lambda: torch.rand(count, 3, size, size, generator=random),
        "covers": lambda: torch.rand(count, 3, size, size, generator=random),
        "labels": lambda: torch.arange(count) % 2,
        "masks": lambda: (torch.rand(count, 1, size, size, generator=random) > 0.5).float(),
        "noise": lambda: torch.rand(count, 1, size, size, generator=random),
        "domains": lambda: torch.arange(count) % 3,
        "scores": lambda: torch.rand(count, generator=random),
        "echoes": lambda: torch.randn(count, 2, 33, 61, generator=random),
        "attributes": lambda: torch.stack(
            [torch.arange(count) % 2, torch.arange(count) // 4 % 2], 1
        ),
        "clips": lambda: torch.rand(count, 2, 3, 48, 48, generator=random),
        "tracks": lambda: 12 + 4 * torch.rand(count, 2, 4, generator=random),
        "events": lambda: torch.poisson(
            torch.rand(count, 4, 2, size, size, generator=random), random
        ),
        "tokens": lambda: torch.randint(1, 60, (count, 9), generator=random),
        "features": lambda: torch.randn(count, 16, 12, generator=random),
        "sentences": lambda: torch.randn(count, 8, generator=random),
        "spans": lambda: torch.stack([torch.arange(count), torch.arange(count) * 3 + 2.0], -1),
        "durations": lambda: torch.full((count,), 24.0),
    }
    return {word: make[word]() for word in words}


def inputs(slug: str, network: nn.Module, count: int) -> list[Tensor]:
    return list(batch(CARDS[slug].takes, side(network), count).values())


def disturb(network: nn.Module) -> None:
    """Move what is trainable, so that zeros at the start hide nothing."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=random)


def test_there_are_cards() -> None:
    assert "vit_lora_scl" in DETECTORS


@pytest.mark.parametrize("slug", CARDS)
def test_1_the_card_is_complete_and_its_network_there(slug: str) -> None:
    card: Card = CARDS[slug]
    for name in ("title", "source", "code", "network", "verb", "claim", "takes", "limits", "tiny"):
        assert getattr(card, name), f"{slug}: {name} is missing"
    module, _, name = card.network.partition(":")
    found = importlib.import_module(module)
    assert found.__name__.rpartition(".")[2] == slug
    assert (SRC / Path(*module.split(".")[1:])).with_suffix(".toml").is_file()
    assert "Source:" in (found.__doc__ or "")
    assert inspect.getdoc(getattr(found, name))


@pytest.mark.parametrize("slug", CARDS)
def test_2_modules_are_positional_and_numbers_by_keyword(slug: str) -> None:
    parameters = inspect.signature(catalog.network(slug)).parameters.values()
    assert len(parameters) <= 8
    for parameter in parameters:
        assert parameter.kind is not parameter.VAR_KEYWORD
        if parameter.default is parameter.empty:
            assert parameter.annotation is nn.Module
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        else:
            assert parameter.kind is parameter.KEYWORD_ONLY


@pytest.mark.parametrize("slug", CARDS)
def test_2_the_loss_takes_what_the_card_says(slug: str) -> None:
    network = catalog.network(slug)
    takes = [*inspect.signature(network.forward).parameters][1:]
    assert tuple(takes) == CARDS[slug].takes
    if not CARDS[slug].learns_from:
        return
    learns = [*inspect.signature(network.loss).parameters.values()][1:]
    needed = tuple(p.name for p in learns if p.default is p.empty)
    assert needed == CARDS[slug].learns_from  # more may be given, if the data have it


@pytest.mark.parametrize("slug", CARDS)
def test_3_builds_at_once(slug: str) -> None:
    tiny(slug)  # imports and caches are not what is measured
    began = time.process_time()
    tiny(slug)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("slug", DETECTORS)
def test_3_gives_evidence(slug: str, count: int) -> None:
    network = tiny(slug).eval()
    evidence = network(*inputs(slug, network, count))
    assert isinstance(evidence, Evidence)
    assert evidence.logit.shape == (count,)
    if evidence.mask is not None:
        assert evidence.mask.shape == (count, 1, side(network), side(network))


@pytest.mark.parametrize("slug", DETECTORS)
def test_4_the_batch_around_an_item_does_not_matter(slug: str) -> None:
    network = tiny(slug).eval()
    disturb(network)
    given = inputs(slug, network, 4)
    with torch.no_grad():
        together = network(*given)
        alone = network(*(part[2:3] for part in given))
    torch.testing.assert_close(together.logit[2:3], alone.logit, rtol=1e-4, atol=1e-5)
    if together.mask is not None:
        torch.testing.assert_close(together.mask[2:3], alone.mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slug", TRAINABLE)
def test_5_everything_trainable_learns_and_nothing_frozen_moves(slug: str) -> None:
    network = tiny(slug)
    given = batch(CARDS[slug].learns_from, side(network))
    losses = network.loss(**given)
    assert losses
    assert all(term.shape == () and term.isfinite() for term in losses.values())
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}
    waiting = {n for n, p in network.named_parameters() if p.requires_grad}
    for _ in fit(network, [given] * 3, adam(network, lr=1e-2)):
        named = dict(network.named_parameters())
        waiting -= {n for n in waiting if (g := named[n].grad) is not None and g.any()}
    assert waiting == {*getattr(network, "idle", ())}  # trained in the paper, without effect
    assert all(torch.equal(p, dict(network.named_parameters())[n]) for n, p in frozen.items())


@pytest.mark.parametrize("slug", sorted({*DETECTORS} & {*TRAINABLE}))
def test_6_learns_eight_items_by_heart(slug: str) -> None:
    network = tiny(slug)
    given = batch(CARDS[slug].learns_from, side(network))
    for _ in fit(network, [given] * 150, adam(network, lr=1e-2)):
        pass
    network.eval()
    with torch.no_grad():
        logit = network(*(given[word] for word in CARDS[slug].takes)).logit
    assert torch.equal(logit > 0, given["labels"].bool())


@pytest.mark.parametrize("slug", TRAINABLE)
def test_6_the_same_seed_gives_the_same_weights(slug: str) -> None:
    states = []
    for _ in range(2):
        network = tiny(slug)
        given = batch(CARDS[slug].learns_from, side(network))
        for _ in fit(network, [given] * 3, adam(network, lr=1e-2)):
            pass
        states.append(trained(network))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("slug", DETECTORS)
def test_7_what_was_saved_fits_a_fresh_backbone(slug: str, tmp_path: Path) -> None:
    network = tiny(slug).eval()
    disturb(network)
    save(network, tmp_path / "weights.safetensors")
    fresh = tiny(slug).eval()
    given = inputs(slug, network, 2)
    assert not torch.equal(fresh(*given).logit, network(*given).logit)
    restore(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh(*given).logit, network(*given).logit)


LONG = ("forensics_sam", "propose_rectify")  # their export takes half a minute each


@pytest.mark.parametrize(
    "slug",
    [
        pytest.param(slug, marks=pytest.mark.slow) if slug in LONG else slug
        for slug in DETECTORS
        if CARDS[slug].takes == ("images",)
    ],
)
def test_8_exports_and_onnx_runtime_agrees(slug: str, tmp_path: Path) -> None:
    network = tiny(slug).eval()
    disturb(network)
    located = network(*inputs(slug, network, 1)).mask is not None
    path, size = tmp_path / "network.onnx", side(network)
    export_onnx(network, path, size=size, grid=4 if located else None)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (images,) = inputs(slug, network, count)
        logit, *heatmap = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            evidence = network(images)
        torch.testing.assert_close(torch.from_numpy(logit), evidence.logit, rtol=0, atol=TOLERANCE)
        assert bool(heatmap) == located


WRONG = {
    "bytes": lambda s: torch.zeros(6, 3, s, s, dtype=torch.uint8),
    "grey": lambda s: torch.zeros(6, 1, s, s),
    "no batch": lambda s: torch.zeros(6, s, s),
    "not square": lambda s: torch.zeros(6, 3, s, s // 2),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("slug", [slug for slug in DETECTORS if CARDS[slug].takes == ("images",)])
def test_9_says_what_images_it_wants(slug: str, wrong: str) -> None:
    network = tiny(slug)
    images = WRONG[wrong](side(network))
    network.train()
    with pytest.raises(ValueError, match="want float"):
        network(images)
    with pytest.raises(ValueError, match="want float"):
        network.loss(**(batch(CARDS[slug].learns_from, side(network), 6) | {"images": images}))


@pytest.mark.parametrize("slug", [s for s in TRAINABLE if "labels" in CARDS[s].learns_from])
def test_9_says_what_labels_it_wants(slug: str) -> None:
    network = tiny(slug)
    given = batch(CARDS[slug].learns_from, side(network))
    for labels in (given["labels"].float(), given["labels"][:3], given["labels"][:, None]):
        with pytest.raises(ValueError, match="want"):
            network.loss(**(given | {"labels": labels}))


@pytest.mark.parametrize("slug", CARDS)
def test_9_names_the_settings_that_it_has(slug: str) -> None:
    with pytest.raises(ValueError, match=f"{slug} has no setting 'rnak'.*it has"):
        catalog.build(slug, **(dict(CARDS[slug].tiny) | {"rnak": 4}))
