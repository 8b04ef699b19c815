"""Training as a generator: each step is reported, and leaving the loop stops it.

::

    optimizer = adam(network, lr=3e-5, lrs={"center": 1e-2})
    for step in fit(network, batches, optimizer):
        if step.number % 100 == 0: ...       # evaluate, log, stop: plain code of the caller

Hugging Face accelerate works inside: device, several processes (``accelerate launch``; on CPUs
``python -m torch.distributed.run``), mixed precision. Files are safetensors and JSON, never pickle.
A run that was killed goes on from its last :func:`checkpoint` exactly as if it had not been,
provided that ``batches`` go on from there too.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telltale.nn.contract import Losses, Trainable

if TYPE_CHECKING:
    from accelerate import PartialState


class Step(NamedTuple):
    """One step's number, from 1; the terms of its loss; its learning rate and gradient norm."""

    number: int
    losses: Mapping[str, float]
    lr: float
    norm: float  # before clipping

    @property
    def loss(self) -> float:
        return math.fsum(self.losses.values())


Schedule = Callable[[int], float]  # step number, from 1, to a factor of the learning rate


def constant(number: int) -> float:
    """The learning rate as it is, at every step."""
    return 1.0


def cosine(*turns: int, warmup: int = 0) -> Schedule:
    """A linear rise over ``warmup`` steps, then half a cosine down to 0; in each of the turns anew.

    Raises:
        ValueError: If ``warmup`` is not shorter than every turn.
    """
    if not 0 <= warmup < min(turns, default=0):
        raise ValueError(f"want 0 ≤ warmup < steps, got {warmup} and {', '.join(map(str, turns))}")

    def factor(number: int) -> float:
        *before, steps = turns
        for length in before:
            if number <= length:
                steps = length
                break
            number -= length
        if number <= warmup:
            return number / warmup
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (number - 1 - warmup) / (steps - warmup)))

    return factor


def adam(
    network: nn.Module,
    *,
    lr: float = 3e-5,
    lrs: Mapping[str, float] | None = None,
    weight_decay: float = 1e-5,
    betas: tuple[float, float] = (0.9, 0.999),
    decoupled: bool = False,
) -> Optimizer:
    """Adam, or AdamW if ``decoupled``, over what is trainable.

    Args:
        network: Its vectors and scalars (biases, norms, centres) are not decayed.
        lr: Learning rate.
        lrs: Parameter name to a learning rate of its own.
        weight_decay: Of matrices and kernels.
        betas: Adam's decay rates of the two moments.
        decoupled: AdamW's decay instead of Adam's L2 term.

    Raises:
        ValueError: If nothing is trainable or ``lrs`` names no trainable parameter.
    """
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not weights:
        raise ValueError(f"{type(network).__name__} has nothing to train")
    if unknown := sorted(set(lrs or {}) - set(weights)):
        raise ValueError(f"no trainable parameter {', '.join(unknown)}; it has {[*weights]}")
    # The common group first: its rate is the one that a step reports.
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(lr, weight_decay): []}
    for name, weight in weights.items():
        decay = weight_decay if weight.ndim > 1 else 0.0
        groups.setdefault(((lrs or {}).get(name, lr), decay), []).append(weight)
    table = [{"params": p, "lr": rate, "weight_decay": d} for (rate, d), p in groups.items() if p]
    return (torch.optim.AdamW if decoupled else torch.optim.Adam)(table, lr=lr, betas=betas)


def fit(
    network: Trainable,
    batches: Iterable[Mapping[str, Any]],
    optimizer: Optimizer | None = None,
    *,
    schedule: Schedule = constant,
    clip: float = 1.0,
    bfloat16: bool = False,
    done: int = 0,
) -> Iterator[Step]:
    """Train on each batch and report what it cost; stop by leaving the loop.

    Args:
        network: Put into training mode before each step, so the caller may evaluate in between.
        batches: Dicts of tensors or arrays under the names that ``network.loss`` takes. With
            n processes each takes every n-th row of every batch, so a batch stays as large; n
            must divide its length.
        optimizer: As from :func:`adam`; None is that with its defaults.
        schedule: Factor of each group's learning rate.
        clip: Largest L2 norm of all gradients together.
        bfloat16: Compute in bfloat16 where that is safe (autocast).
        done: Steps that a resumed run has made already; ``batches`` start after them.

    Raises:
        ValueError: If a loss is not finite (the step and its terms are named), or the network
            is not a module or has nothing to train.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    if not isinstance(network, nn.Module):
        raise ValueError(f"want a torch module with a loss, got {type(network).__name__}")
    processes()  # before the accelerator, which would see one alone on CPUs
    # Experts that nobody chose and parts of another stage get no gradients in a step.
    uneven_use = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(kwargs_handlers=[uneven_use])
    losses_of = _LossesOf(network, bfloat16)
    optimizer = optimizer or adam(network)
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    model, stepper = accelerator.prepare(losses_of, optimizer)
    first, every = accelerator.process_index, accelerator.num_processes
    for number, batch in enumerate(batches, done + 1):
        losses_of.train()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * schedule(number)
        if uneven := [name for name, values in batch.items() if len(values) % every]:
            raise ValueError(
                f"step {number}: want a batch that {every} processes share evenly, got "
                f"{len(batch[uneven[0]])} {uneven[0]}"
            )
        rows = {name: torch.as_tensor(values[first::every]) for name, values in batch.items()}
        losses = model({name: part.to(accelerator.device) for name, part in rows.items()})
        values = accelerator.reduce({k: v.detach() for k, v in losses.items()}, reduction="mean")
        terms = {name: float(value) for name, value in values.items()}
        if not all(map(math.isfinite, terms.values())):
            raise ValueError(f"step {number}: the loss is not finite: {terms}; try a smaller lr")
        stepper.zero_grad()
        accelerator.backward(torch.stack([*losses.values()]).sum())
        norm = nn.utils.clip_grad_norm_(weights, clip)
        stepper.step()
        yield Step(number, terms, optimizer.param_groups[0]["lr"], float(norm))


def processes() -> "PartialState":
    """The processes that train together, and which of them this one is."""
    from accelerate import PartialState

    # Asked without a word, it takes processes on CPUs for strangers to each other.
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.accelerator.is_available())


class _LossesOf(nn.Module):
    """A network whose ``forward`` is its loss: what accelerate wraps is called through forward."""

    def __init__(self, network: Trainable, bfloat16: bool) -> None:
        super().__init__()
        self.network = network
        self.autocast = bfloat16  # not named after nn.Module's own method

    def forward(self, batch: Mapping[str, Tensor]) -> Losses:
        kind = next(self.parameters()).device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.autocast):
            return self.network.loss(**batch)


def plateaued(values: Sequence[float], patience: int) -> bool:
    """Whether the best of ``values`` (larger is better) is ``patience`` or more entries old."""
    best = max(range(len(values)), key=values.__getitem__, default=0)
    return len(values) - 1 - best >= patience


# ── what was trained ─────────────────────────────────────────────────────────────────────────────


def trained(network: nn.Module) -> dict[str, Tensor]:
    """What training changes: the trainable parameters and the buffers, not the frozen weights."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    state: dict[str, Tensor] = network.state_dict()
    return {k: v.detach().contiguous() for k, v in state.items() if k not in frozen}


def save(network: nn.Module, path: Path) -> None:
    """Write what was trained as safetensors; an interrupted write leaves the old file."""
    keep(path, trained(network))


def restore(network: nn.Module, path: Path) -> None:
    """Put back what :func:`save` wrote, into a network built the same way on the same backbone.

    Raises:
        ValueError: If the file is not safetensors, or not of exactly these parameters.
    """
    _put_back(network, _open(path)[0], path)


def checkpoint(path: Path, network: nn.Module, optimizer: Optimizer, number: int) -> None:
    """Write all that an exact resume needs: weights, moments, random states, step ``number``."""
    state = optimizer.state_dict()
    tensors = {f"network.{k}": v for k, v in trained(network).items()}
    for index, entry in state["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entry.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        for index, value in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"random.cuda.{index}"] = value
    about = {"number": str(number), "groups": json.dumps(state["param_groups"])}
    keep(path, tensors, about)


def resume(path: Path, network: nn.Module, optimizer: Optimizer) -> int:
    """Put back what :func:`checkpoint` wrote; returns the number of steps that were done.

    Raises:
        ValueError: If the file is not a checkpoint of this network and optimizer.
    """
    tensors, about = _open(path)
    if "number" not in about:
        raise ValueError(f"{path}: not a training checkpoint")
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimizer": {}, "random": {}}
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        parts[part][name] = value
    _put_back(network, parts["network"], path)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in parts["optimizer"].items():
        index, _, name = key.partition(".")
        moments.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": json.loads(about["groups"])})
    torch.set_rng_state(parts["random"].pop("cpu"))
    if torch.cuda.is_available():
        for key, value in parts["random"].items():
            torch.cuda.set_rng_state(value, int(key.removeprefix("cuda.")))
    return int(about["number"])


def keep(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write tensors as they are; an interrupted write leaves the old file."""
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    own = {k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    save_file(own, part, about or {})
    os.replace(part, path)


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None


def _put_back(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    want = {k: tuple(v.shape) for k, v in trained(network).items()}
    got = {k: tuple(v.shape) for k, v in state.items()}
    wrong = sorted(name for name in {*want, *got} if want.get(name) != got.get(name))
    if wrong:
        some = "; ".join(f"{k}: want {want.get(k)}, got {got.get(k)}" for k in wrong[:5])
        raise ValueError(f"{path}: not what this network trains: {some}")
    network.load_state_dict(dict(state), strict=False)
