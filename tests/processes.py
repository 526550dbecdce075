"""Real processes for tests: started quickly, and ended by a deadline."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import torch.multiprocessing as mp
from torch.utils._python_dispatch import TorchDispatchMode

IMPORTED_ONCE = [
    *(
        "pytest",
        "hypothesis",
        "pytorch_lightning",
        "numba",
        "segmetrics",
        "segmetrics.evaluate.command",
    ),
]


def run_processes(
    worker: Callable[..., None], number: int, *arguments: Any, seconds: float = 240
) -> None:
    """Run ``worker(rank, *arguments)`` in several processes; raise what one of them raises.

    They are forked from a server that has imported what is slow to import and nothing else, so
    that they share nothing with this process or each other.
    """
    mp.get_context("forkserver").set_forkserver_preload(IMPORTED_ONCE)
    processes = mp.start_processes(worker, arguments, number, join=False, start_method="forkserver")
    deadline = monotonic() + seconds
    try:
        while not processes.join(timeout=max(0.0, deadline - monotonic())):
            if monotonic() >= deadline:
                raise TimeoutError(f"{number} processes did not end within {seconds} seconds.")
    finally:
        for process in processes.processes:
            if process.is_alive():
                process.kill()


class Collectives(TorchDispatchMode):
    """Records the collectives of this process within the block, with their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.elements: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "c10d":
            self.names.append(func.name().removeprefix("c10d::"))
            self.elements.append(sum(t.numel() for t in args[0] if hasattr(t, "numel")))
        return func(*args, **(kwargs or {}))
