"""The processes of ``torchrun``, which share the files."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

Result = TypeVar("Result")


class Processes:
    """The processes that ``torchrun`` started, or this one alone; a context.

    An error in one of them ends all.
    """

    def __init__(self) -> None:
        self.rank, self.number = (
            int(os.environ.get("RANK", 0)),
            int(os.environ.get("WORLD_SIZE", 1)),
        )
        self.on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", self.number))

    def __enter__(self) -> Processes:
        if self.number > 1:
            # they wait for the slowest; one that dies is told by its closed connection
            dist.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, *error: object) -> None:
        if self.number > 1:
            dist.destroy_process_group()

    def gather(self, item: Result) -> list[Result]:
        """What all processes gave, in all of them."""
        if self.number == 1:
            return [item]
        items: list[Any] = [None] * self.number
        dist.all_gather_object(items, item)
        return items

    def together(self, work: Callable[[], Result]) -> Result:
        """Do something in every process; raises in all of them if it did in one."""
        if self.number == 1:
            return work()
        try:
            result, error = work(), None
        except Exception as raised:  # told to all below
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
