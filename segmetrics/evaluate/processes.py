"""The processes of ``torchrun``, which share the files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")

#: Variables that torchrun sets, all of which are needed.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Seconds of waiting for other processes after which a message is printed.
PATIENCE = 5.0


def rank_and_number() -> tuple[int, int]:
    """The rank and the number of processes, if ``torchrun`` started them; else 0 and 1.

    Variables that an earlier job left behind are not enough: there must be all, and a number of
    processes above 1.

    Raises:
        ValueError: a variable that is not a number, or a rank that is not below the number.
    """
    if not all(os.environ.get(name) for name in VARIABLES):
        return 0, 1
    rank, number = _integer("RANK"), _integer("WORLD_SIZE")
    if number < 2:
        return 0, 1
    if not 0 <= rank < number:
        raise ValueError(
            f"RANK={rank} in the environment must be in [0, {number}), as WORLD_SIZE={number}. "
            f"{UNSET}"
        )
    return rank, number


UNSET = f"Without torchrun: unset {' '.join(VARIABLES)}."


class Processes:
    """The processes that ``torchrun`` started, or this one alone; a context.

    An error in one of them ends all.
    """

    def __init__(self) -> None:
        self.rank, self.number = rank_and_number()
        self.on_this_machine = 1
        if self.number > 1:
            local = "LOCAL_WORLD_SIZE"
            self.on_this_machine = _integer(local) if local in os.environ else self.number

    def __enter__(self) -> Processes:
        if self.number > 1:
            import torch.distributed as dist

            # no timeout: processes wait for the slowest, and a dead one closes its connection
            with _waiting(self.rank, self.number):
                dist.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, *error: object) -> None:
        if self.number > 1:
            import torch.distributed as dist

            dist.destroy_process_group()

    def gather(self, item: Result) -> list[Result]:
        """The values of all processes, in every process."""
        if self.number == 1:
            return [item]
        import torch.distributed as dist

        items: list[Any] = [None] * self.number
        dist.all_gather_object(items, item)
        return items

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of the counts of all processes, in every process."""
        import torch

        from segmetrics.distributed import sum_over_processes

        (total,) = sum_over_processes([torch.from_numpy(counts)])
        return np.asarray(total)

    def together(self, work: Callable[[], Result]) -> Result:
        """Call a function in every process; raises in all of them if it raises in one."""
        if self.number == 1:
            return work()
        try:
            result, error = work(), None
        except Exception as raised:  # passed on to all processes below
            result, error = None, raised
        messages = self.gather(None if error is None else f"process {self.rank}: {error}")
        if error is not None:
            raise error
        for message in messages:
            if message is not None:
                raise ValueError(message)
        return result  # type: ignore[return-value]  # no error came

    def check_equal(self, names: list[str]) -> None:
        """Raise unless all processes see the same files."""
        seen = self.gather(names)
        for rank, others in enumerate(seen):
            if differing := sorted(set(others) ^ set(seen[0])):
                raise ValueError(
                    f"process {rank} sees other files than process 0, {differing[0]} and "
                    f"{len(differing) - 1} more. All machines must have the same folders."
                )

    def own(self, path: Path | None) -> Path | None:
        """A file of this process."""
        if path is None or self.number == 1:
            return path
        return path.with_name(f"{path.name}.{self.rank}-of-{self.number}")


def _integer(name: str) -> int:
    """A number in the environment."""
    value = os.environ[name]
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} in the environment is no number. {UNSET}") from None


@contextmanager
def _waiting(rank: int, number: int) -> Iterator[None]:
    """Report after a while that other processes are waited for; Ctrl-C ends the process at once.

    torch waits outside of Python, where no KeyboardInterrupt is raised.
    """
    others = "1 more process" if number == 2 else f"{number - 1} more processes"
    text = (
        f"waiting for {others}, as RANK={rank} and WORLD_SIZE={number} in the environment say. "
        f"{UNSET}"
    )
    timer = threading.Timer(PATIENCE, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_main else None
    try:
        yield
    finally:
        timer.cancel()
        if in_main:
            signal.signal(signal.SIGINT, before)
