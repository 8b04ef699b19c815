"""The training generator: exact after a kill, the same with several processes, clear when wrong."""

import copy
import json
import math
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from telltale import runs
from telltale.fit import (
    adam,
    checkpoint,
    constant,
    cosine,
    fit,
    plateaued,
    restore,
    resume,
    save,
    trained,
)
from together import together


class Probe(nn.Module):
    """A frozen trunk, a trained head with dropout (so random numbers matter), a running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(6, 8).requires_grad_(False)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)
        self.center = nn.Parameter(torch.ones(8))

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features = self.drop(self.norm(self.trunk(images)))
        ce = nn.functional.cross_entropy(self.head(features), labels)
        return {"ce": ce, "pull": 0.1 * (features - self.center).square().mean()}


pytestmark = pytest.mark.usefixtures("one_thread")


def batches(start: int = 0) -> Iterator[dict[str, np.ndarray]]:
    number = start
    while True:
        rng = np.random.default_rng([7, number])
        images = rng.normal(size=(8, 6)).astype(np.float32)
        yield {"images": images, "labels": (images[:, 0] > 0).astype(np.int64)}
        number += 1


def test_reports_each_step_and_learns() -> None:
    network = Probe()
    steps = list(islice(fit(network, batches(), adam(network, lr=1e-2)), 60))
    assert [step.number for step in steps] == [*range(1, 61)]
    assert set(steps[0].losses) == {"ce", "pull"}
    assert steps[0].loss == pytest.approx(sum(steps[0].losses.values()))
    early, late = (sum(s.losses["ce"] for s in part) for part in (steps[:10], steps[-10:]))
    assert late < 0.8 * early


def test_agrees_with_the_loop_that_anyone_would_write() -> None:
    network = Probe()
    plain = copy.deepcopy(network)
    torch.manual_seed(1)
    for _ in islice(fit(network, batches(), adam(network, lr=1e-2), clip=0.5), 5):
        pass
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(
        [
            {"params": [plain.head.weight], "weight_decay": 1e-5},
            {"params": [plain.center, *plain.norm.parameters(), plain.head.bias]},
        ],
        lr=1e-2,
    )
    for batch in islice(batches(), 5):
        losses = plain.loss(**{k: torch.from_numpy(v) for k, v in batch.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_([p for p in plain.parameters() if p.requires_grad], 0.5)
        optimizer.step()
    for name, value in trained(network).items():
        torch.testing.assert_close(value, trained(plain)[name], rtol=1e-5, atol=1e-6)


def test_goes_on_after_a_kill_bit_for_bit(tmp_path: Path) -> None:
    schedule = cosine(12, warmup=3)

    def begun() -> tuple[Probe, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = Probe()
        return network, adam(network, lr=1e-2, lrs={"center": 1e-1}, decoupled=True)

    whole, optimizer = begun()
    reports = list(islice(fit(whole, batches(), optimizer, schedule=schedule), 12))

    killed, optimizer = begun()
    for step in fit(killed, batches(), optimizer, schedule=schedule):
        if step.number == 5:
            checkpoint(tmp_path / "state.safetensors", killed, optimizer, 5)
        if step.number == 7:  # two steps that the last checkpoint does not know
            break

    again, optimizer = begun()
    torch.rand(5)  # the new process has drawn other numbers by then
    done = resume(tmp_path / "state.safetensors", again, optimizer)
    assert done == 5
    rest = list(
        islice(fit(again, batches(done), optimizer, schedule=schedule, done=done), 12 - done)
    )
    assert rest == reports[5:]  # losses, rates and norms as floats, exactly
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_weights_with_channels_last_are_kept_and_come_back(tmp_path: Path) -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def loss(self, images: Tensor) -> dict[str, Tensor]:
            return {"size": self.conv(images).square().mean()}

    state, made = tmp_path / "state.safetensors", []
    for done in (0, 2):
        network = Conv().to(memory_format=torch.channels_last)
        optimizer = adam(network)
        assert done == (resume(state, network, optimizer) if done else 0)
        for step in fit(network, [{"images": torch.ones(2, 3, 5, 5)}] * 2, optimizer, done=done):
            made.append(step.losses["size"])
        checkpoint(state, network, optimizer, 2)
        assert not network.conv.weight.is_contiguous()
    assert made == sorted(made, reverse=True)  # the second run goes on with the first one's


def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        network = Probe()
        for _ in islice(fit(network, batches(), adam(network)), 3):
            pass
        states.append(trained(network))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_saves_what_was_trained_and_nothing_frozen(tmp_path: Path) -> None:
    network = Probe()
    for _ in islice(fit(network, batches(), adam(network, lr=1e-2)), 3):
        pass
    save(network, tmp_path / "weights.safetensors")
    assert not any(name.startswith("trunk") for name in trained(network))
    other = Probe()
    other.trunk.load_state_dict(network.trunk.state_dict())
    restore(other, tmp_path / "weights.safetensors")
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name  # running means too


def test_an_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    save(Probe(), path)
    before = path.read_bytes()

    def full_disk(*args: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        save(Probe(), path)
    assert path.read_bytes() == before


def test_restoring_is_strict(tmp_path: Path) -> None:
    wider = Probe()
    wider.head = nn.Linear(8, 3)
    save(wider, tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"wide\.safetensors.*head\.weight: want \(2, 8\)"):
        restore(Probe(), tmp_path / "wide.safetensors")
    fewer = Probe()
    fewer.center.requires_grad_(False)
    save(fewer, tmp_path / "few.safetensors")
    with pytest.raises(ValueError, match=r"few\.safetensors.*center"):
        restore(Probe(), tmp_path / "few.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"PK\x03\x04 a zip, say")
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        restore(Probe(), tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"none\.safetensors: no such file"):
        restore(Probe(), tmp_path / "none.safetensors")


def test_weights_are_no_state_to_go_on_from(tmp_path: Path) -> None:
    network = Probe()
    save(network, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="not a training checkpoint"):
        resume(tmp_path / "weights.safetensors", network, adam(network))


def test_adam_spares_vectors_from_decay_and_gives_rates_of_their_own() -> None:
    network = Probe()
    optimizer = adam(network, lr=1e-3, lrs={"center": 1e-2}, weight_decay=0.1)
    found = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
        for name, own in network.named_parameters()
        if own is weight
    }
    assert found == {
        "head.weight": (1e-3, 0.1),
        "head.bias": (1e-3, 0.0),
        "norm.weight": (1e-3, 0.0),
        "norm.bias": (1e-3, 0.0),
        "center": (1e-2, 0.0),
    }
    assert next(fit(network, batches(), optimizer)).lr == 1e-3


def test_adam_names_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"no trainable parameter centre.*center"):
        adam(Probe(), lrs={"centre": 1e-2})
    with pytest.raises(ValueError, match="nothing to train"):
        adam(nn.Linear(1, 1).requires_grad_(False))


def test_schedules() -> None:
    schedule = cosine(10, warmup=4)
    assert [schedule(n) for n in (1, 2, 4)] == [0.25, 0.5, 1.0]
    factors = [schedule(number) for number in range(5, 12)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == 1.0
    assert schedule(8) == pytest.approx(0.5)
    assert schedule(11) == pytest.approx(0)
    assert constant(99) == 1.0
    with pytest.raises(ValueError, match="warmup"):
        cosine(3, warmup=3)


def test_a_schedule_of_several_turns_begins_anew() -> None:
    whole, turns = cosine(4, warmup=1), cosine(4, 6, 4, warmup=1)
    own = [whole(number) for number in range(1, 5)]
    assert [turns(number) for number in range(1, 5)] == own
    assert [turns(number) for number in range(5, 11)] == [
        cosine(6, warmup=1)(n) for n in range(1, 7)
    ]
    assert [turns(number) for number in range(11, 15)] == own
    with pytest.raises(ValueError, match="want 0 ≤ warmup < steps, got 0 and 4, -1"):
        cosine(4, -1)


def test_a_schedule_moves_every_rate() -> None:
    network = Probe()
    optimizer = adam(network, lr=1e-2, lrs={"center": 1e-1})
    list(islice(fit(network, batches(), optimizer, schedule=lambda n: 1 / n), 4))
    assert sorted(group["lr"] for group in optimizer.param_groups) == [2.5e-3, 2.5e-3, 2.5e-2]


def test_clips_the_gradient() -> None:
    network = Probe()
    before = copy.deepcopy(network.head.weight)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    step = next(fit(network, batches(), optimizer, clip=1e-3))
    assert step.norm > 1e-2
    assert (network.head.weight - before).norm() <= 1e-3 * 1.01


def test_trains_in_bfloat16() -> None:
    network = Probe()
    steps = list(islice(fit(network, batches(), adam(network, lr=1e-2), bfloat16=True), 40))
    assert network.head.weight.dtype == torch.float32
    assert steps[-1].losses["ce"] < steps[0].losses["ce"]
    assert all(math.isfinite(step.loss) for step in steps)


def test_puts_the_network_back_into_training() -> None:
    network = Probe()
    for _ in islice(fit(network, batches(), adam(network)), 2):
        assert network.training
        network.eval()


def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights() -> None:
    network = Probe()
    before = copy.deepcopy(network.state_dict())
    bad = next(batches())
    bad["images"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"step 1: the loss is not finite: .*'ce': nan"):
        next(fit(network, [bad], adam(network)))
    assert torch.equal(network.head.weight, before["head.weight"])


def test_a_wrong_word_in_a_batch_is_pythons_own_error() -> None:
    batch = next(batches())
    batch["label"] = batch.pop("labels")
    with pytest.raises(TypeError, match="unexpected keyword argument 'label'"):
        next(fit(Probe(), [batch]))


def test_wants_a_module() -> None:
    with pytest.raises(ValueError, match="want a torch module"):
        next(fit(object(), batches()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.6, 0.7], 1, False),
        ([0.5, 0.7, 0.6], 1, True),
        ([0.5, 0.7, 0.6], 2, False),
        ([0.7, 0.7, 0.7], 2, True),  # as good is not better
    ],
)
def test_plateaued(values: list[float], patience: int, stops: bool) -> None:
    assert plateaued(values, patience) == stops


def test_the_log_survives_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    assert runs.read_log(path) == []
    for number in (1, 2, 3):
        runs.log(path, {"step": number, "ce": 1 / number})
    with path.open("a") as file:
        file.write('{"step": 4, "c')
    assert [record["step"] for record in runs.read_log(path)] == [1, 2, 3]
    assert runs.read_log(path, until=1) == [{"step": 1, "ce": 1.0}]


def test_the_log_goes_to_tensorboard() -> None:
    class Writer:
        seen: list[tuple[str, float, int]]

        def __init__(self) -> None:
            self.seen = []

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            self.seen.append((tag, value, step))

    writer = Writer()
    runs.to_tensorboard([{"step": 3, "ce": 0.5, "note": "x"}], writer)  # type: ignore[arg-type]
    assert writer.seen == [("ce", 0.5, 3)]


TWO = """
import json, sys, torch
from torch import nn
from telltale import fit as fitting

class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
    def loss(self, images):
        return {"square": (images - self.weight).square().mean()}

torch.set_num_threads(1)
network = Mean()
batches = [{"images": torch.arange(12.0).view(4, 3) + n} for n in range(3)]
steps = [s.losses["square"] for s in fitting.fit(network, batches, fitting.adam(network, lr=0.1))]
together = fitting.processes()
if together.is_main_process:
    known = [together.num_processes, steps, network.weight.tolist()]
    open(sys.argv[1], "w").write(json.dumps(known))
together.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    results = []
    for count in (1, 2):
        out = tmp_path / f"{count}.json"
        launch = [*together(count), str(tmp_path / "two.py"), str(out)]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(json.loads(out.read_text()))
    assert [found[0] for found in results] == [1, 2]  # they did work together
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-5)
    np.testing.assert_allclose(results[1][2], results[0][2], rtol=1e-5)
