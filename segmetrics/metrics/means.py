"""Means over images from exact integer sums, independent of the order and of the processes.

A sum is in fixed point: adding is associative, and needs no float64, which some devices lack. Its
rows are the numbers of finite, infinite and too large values, then words: multiples of a power of
two, each of the remainder that the words before it leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, prod

import torch
from torch import Tensor

#: Words of scores in [-1, 1], as negative exponents of 2: multiples of 2**-40.
OF_SCORES = (40,)
#: Words of distances: a relative precision of 1e-12 from 1e-6 to ``LARGEST``.
OF_DISTANCES = (20, 60)
#: The largest finite value that can be added.
LARGEST = 1e9
#: The most scores of 1, or remainders of distances, that can be added without overflow.
MOST_IMAGES = 2**23 - 1


def size(shape: Sequence[int], words: Sequence[int]) -> int:
    """The number of integers that hold a sum of values of a shape."""
    return (3 + len(words)) * prod(shape)


def summed(values: Tensor, words: Sequence[int]) -> Tensor:
    """Sum float64 values ``(N, ...)`` over images: int64 ``(size,)``; nan is left out."""
    too_large = values.isfinite() & (values.abs() > LARGEST)
    finite = values.isfinite() & ~too_large
    rows = [finite, values.isinf(), too_large]
    rest = values.where(finite, 0.0)
    for exponent in words:
        scaled = rest * 2.0**exponent
        multiple = scaled.round() if exponent == words[-1] else scaled.floor()
        rows.append(multiple.long())
        rest = rest - multiple * 2.0**-exponent
    return torch.stack([row.sum(0) for row in rows]).flatten()


def mean(state: Tensor, shape: Sequence[int], words: Sequence[int]) -> Tensor:
    """The mean in float64: nan without values, infinite if one value is."""
    finite, infinite, _, *sums = state.view(-1, *shape)
    total = sum(row.double() * 2.0**-exponent for exponent, row in zip(words, sums, strict=True))
    value: Tensor = (total / finite).where(infinite == 0, inf)
    return value.where(finite + infinite > 0, nan)


def check(state: Tensor, shape: Sequence[int]) -> None:
    """Raise for values that were too large, and if a word may have overflowed."""
    finite, _, too_large, *_ = state.view(-1, *shape)
    if too_large.any():
        raise ValueError(
            f"{int(too_large.sum())} values are finite and larger than {LARGEST:g}, the largest "
            "that can be averaged. Give `spacing` and `empty_distance` in a larger unit."
        )
    if (finite > MOST_IMAGES).any():
        raise ValueError(
            f"the sum over {int(finite.max())} images may have overflowed: a metric averages at "
            f"most {MOST_IMAGES} images. Use one for each part of the data set."
        )
