"""A generator and its opponent learn in turns; what a kill stops goes on from the last state kept.

The state is one file: weights, the moments of each side's optimiser, random states, the place in
the turns. Batches are drawn anew up to there, so a resumed run ends with the same bits.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

PAUSE = 10.0  # seconds at least from one kept state to the next


class Turn(NamedTuple):
    """Steps of one side.

    Args:
        stage: As the network's ``enter`` takes it; "generator" has an optimiser of its own.
        steps: Of this turn.
        keeps: Whether the network's ``keep`` is called after them.
    """

    stage: str
    steps: int
    keeps: bool = False


def learn(
    network: Any,  # noqa: ANN401  # an nn.Module with stages: MTLUE, TUE
    turns: Sequence[Turn],
    feed: "Iterator[Mapping[str, Tensor]]",
    kept: Path,
    *,
    lr: float,
    clip: float,
    weight_decay: float = 1e-5,
) -> None:
    """Take all turns, or those that a stopped run has left.

    Whoever calls removes ``kept`` once what was learnt is on the disk: a kill in between loses
    nothing.

    Args:
        network: Built and seeded as the first time.
        turns: In order.
        feed: Endless batches, from the beginning.
        kept: Where the state is kept meanwhile.
        lr: Of both sides.
        clip: Largest norm of all gradients together.
        weight_decay: Of both sides.

    Raises:
        ValueError: If ``kept`` is not of this network.
    """
    from telltale import fit as fitting

    def optimiser(stage: str) -> "Optimizer":
        network.enter(stage)
        return fitting.adam(network, lr=lr, weight_decay=weight_decay)

    optimizers: dict[str, Optimizer] = {}
    first = done = 0
    if kept.exists():
        first, done = _restored(kept, network, turns, optimizers, optimiser)
    for _ in range(sum(turn.steps for turn in turns[:first]) + done):
        next(feed)
    last = time.monotonic()
    for number, turn in enumerate(turns[first:], first):
        side = _side(turn.stage)
        if side not in optimizers:
            optimizers[side] = optimiser(turn.stage)
        network.enter(turn.stage)
        if done < turn.steps:
            for step in fitting.fit(network, feed, optimizers[side], clip=clip, done=done):
                if time.monotonic() - last >= PAUSE:
                    _keep(kept, network, optimizers, number, step.number)
                    last = time.monotonic()
                if step.number >= turn.steps:
                    break
        done = 0
        if turn.keeps:
            network.keep()


def _side(stage: str) -> str:
    return "generator" if stage == "generator" else "other"


def _keep(
    path: Path,
    network: Any,  # noqa: ANN401
    optimizers: "Mapping[str, Optimizer]",
    number: int,
    step: int,
) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    about = {"turn": str(number), "step": str(step)}
    for side, optimizer in optimizers.items():
        state = optimizer.state_dict()
        about[f"groups.{side}"] = json.dumps(state["param_groups"])
        for index, entry in state["state"].items():
            tensors |= {f"optimizer.{side}.{index}.{key}": v for key, v in entry.items()}
    tensors["random"] = torch.get_rng_state()
    part = path.with_name(path.name + ".part")
    save_file({k: v.detach().cpu().clone() for k, v in tensors.items()}, part, about)
    os.replace(part, path)


def _restored(
    path: Path,
    network: Any,  # noqa: ANN401
    turns: Sequence[Turn],
    optimizers: "dict[str, Optimizer]",
    optimiser: Any,  # noqa: ANN401  # stage to a new one
) -> tuple[int, int]:
    """Put back what :func:`_keep` wrote; the turn and the steps of it that were taken."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        number, step = int(about["turn"]), int(about["step"])
        for _ in [turn for turn in turns[:number] if turn.keeps]:
            network.keep()
        state = {k.removeprefix("network."): v for k, v in tensors.items() if k[:8] == "network."}
        network.load_state_dict(state)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: is no state of this run ({error}); delete it") from None
    for side in ("generator", "other"):
        if f"groups.{side}" not in about:
            continue
        stage = next(turn.stage for turn in turns if _side(turn.stage) == side)
        optimizers[side] = optimiser(stage)
        moments: dict[int, dict[str, Tensor]] = {}
        start = f"optimizer.{side}."
        for key, value in tensors.items():
            if key.startswith(start):
                index, _, name = key.removeprefix(start).partition(".")
                moments.setdefault(int(index), {})[name] = value
        groups = json.loads(about[f"groups.{side}"])
        optimizers[side].load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(tensors["random"])
    return number, step
