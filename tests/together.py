"""Processes that train together on this machine, over gloo."""

import sys


def together(count: int) -> list[str]:
    """The words that start a script, or ``-m --`` and a module, in ``count`` processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}"]
    return [*launch, "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
