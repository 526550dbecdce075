"""Several processes: sums by one all-reduce, and a sampler that repeats no sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

from segmetrics._arguments import boolean, integer


class ExactDistributedSampler(Sampler[int]):
    """Gives every sample to exactly one process: no padding, no repetition.

    torch's and Lightning's own samplers repeat samples until all processes have equally many, so
    that a score depends on the number of processes. Here process ``rank`` of ``num_replicas`` gets
    the samples ``rank``, ``rank + num_replicas``, ...; some processes get one sample less, and with
    fewer samples than processes some get none. Lightning rejects a loader without a batch: there
    such a process needs a batch in which every pixel is ignored (the documentation shows how).

    Pass it to the ``DataLoader`` and ``use_distributed_sampler=False`` to Lightning's ``Trainer``.

    Args:
        dataset: the data set, of which only the length is used.
        num_replicas: the number of processes; by default that of ``torch.distributed``, or 1.
        rank: the index of this process; by default that of ``torch.distributed``, or 0.
        shuffle: whether the order is random, new in every epoch and the same in all processes.
        seed: seed of the order.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: ``num_replicas`` or ``rank`` is out of range.

    Example:
        >>> from segmetrics.distributed import ExactDistributedSampler
        >>> [list(ExactDistributedSampler(range(7), 3, rank)) for rank in range(3)]
        [[0, 3, 6], [1, 4], [2, 5]]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        running = dist.is_available() and dist.is_initialized()
        if num_replicas is None:
            num_replicas = dist.get_world_size() if running else 1
        if rank is None:
            rank = dist.get_rank() if running else 0
        self.dataset = dataset
        self.num_replicas = integer("num_replicas", num_replicas)
        self.rank = integer("rank", rank)
        if self.num_replicas < 1:
            raise ValueError(f"`num_replicas` must be at least 1, got {num_replicas}.")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"`rank` must be in [0, {num_replicas}), got {rank}.")
        self.shuffle = boolean("shuffle", shuffle)
        self.seed = integer("seed", seed)
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order: Sequence[int] = range(len(self.dataset))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which seeds its order with ``shuffle``. Lightning calls this."""
        self.epoch = epoch


def sum_over_processes(tensors: Sequence[Tensor], group: Any = None) -> list[Tensor]:
    """Sum int64 tensors over the processes of a group, exactly, by one all-reduce on a copy."""
    packed = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(packed, group=group)
    parts = packed.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
