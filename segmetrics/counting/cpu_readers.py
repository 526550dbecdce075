"""How the CPU backend reads an array: where its pixels lie, and which kernel writes their codes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from itertools import pairwise
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from segmetrics.counting import codes, cpu_kernels, cpu_resize_kernels, cpu_score_kernels
from segmetrics.counting.cpu_kernels import CELLS, VALUES
from segmetrics.counting.settings import BFLOAT16, Counting

Array = NDArray[Any]
Int64Array = NDArray[np.int64]

Dtype = np.dtype[Any]

#: Infinity among the bits of a half.
INFINITY: dict[Dtype, Any] = {
    np.dtype(np.float16): np.int16(0x7C00), BFLOAT16: np.int16(0x7F80)
}  # fmt: skip
#: What is read as another type: halves as their bits.
READ_AS: dict[Dtype, Any] = {
    np.dtype(np.bool_): np.uint8, np.dtype(np.uint64): np.int64
} | dict.fromkeys(INFINITY, np.int16)  # fmt: skip

#: First and last row, first and last column.
Area = tuple[int, int, int, int]


class Box(NamedTuple):
    """What is counted in one go: a box of the pixels of one channel."""

    channel: int
    area: Area

    @property
    def pixels(self) -> int:
        top, bottom, left, right = self.area
        return (bottom - top) * (right - left)


#: Writes the codes of a box into an array of as many uint16.
Reader = Callable[[Box, Array], None]


class Maps(NamedTuple):
    """The channels of an array ``(channels, ...)`` as kernels read them, nothing copied.

    ``sizes`` and ``strides`` are those of the dimensions that make up the rows; columns lie
    ``step`` apart.
    """

    flat: Array
    channel: int
    sizes: Int64Array
    strides: Int64Array
    step: int

    @staticmethod
    def of(array: Array, sizes: list[int], strides: list[int]) -> Maps:
        """Maps of the given sizes and strides, the last of which is the columns'."""
        rows = np.array(sizes[:-1], np.int64), np.array(strides[:-1], np.int64)
        return Maps(flat(array), steps(array)[0], *rows, strides[-1])

    def base(self, box: Box) -> int:
        """Where the channel of a box begins."""
        return box.channel * self.channel


def label_reader(
    labels: Array, sizes: list[int], strides: list[int], counting: Counting, *, target: bool
) -> Reader:
    """Reads labels ``(channels, ...)`` of the target, or else predicted ones."""
    maps = Maps.of(labels, sizes, strides)
    meaning, table = _meaning(counting, labels.dtype, maps.flat.dtype, target)

    def read(box: Box, out: Array) -> None:
        cpu_kernels.label_codes(
            maps.flat,
            maps.base(box),
            maps.sizes,
            maps.strides,
            maps.step,
            box.area,
            *meaning,
            out,
        )
        if table is not None:
            cpu_kernels.look_up(table, out)

    return read


def labels_in_line(
    target: Array, sizes: list[int], counting: Counting
) -> Callable[[Box], tuple[Array, Meaning]] | None:
    """Gives the labels of a box of a target ``(channels, ...)`` and their meaning, nothing copied.

    None if labels are mapped, or do not lie one after the other.
    """
    line, (of_channel, *_) = flat(target), steps(target)
    meaning, table = _meaning(counting, target.dtype, line.dtype, True)
    if table is not None or prod(sizes[:-1]) != 1 or not target[0].flags.c_contiguous:
        return None

    def labels_of(box: Box) -> tuple[Array, Meaning]:
        base, (*_, left, right) = box.channel * of_channel, box.area
        return line[base + left : base + right], meaning

    return labels_of


class Meaning(NamedTuple):
    """Codes of values that are no label; those up to ``last`` are, but for ``others``."""

    last: Any
    negative: int
    too_large: int
    others: Array
    codes_of_others: Array


@lru_cache(maxsize=64)
def _meaning(
    counting: Counting, dtype: Dtype, stored: Dtype, target: bool
) -> tuple[Meaning, Array | None]:
    """What labels mean that are stored as another dtype, see ``flat``.

    Where values are mapped that is a place in a table of their codes, which comes with it.
    """
    code_of = codes.target_codes if target else codes.preds_codes
    negative, too_large = (
        (codes.NEGATIVE, codes.TOO_LARGE) if target else (codes.OUTSIDE, codes.OUTSIDE)
    )
    negative, too_large = counting.labels + negative, counting.labels + too_large
    lowest, highest = np.iinfo(stored).min, np.iinfo(stored).max
    if dtype == np.uint64:  # what lies beyond int64 is stored as negative, and means its largest
        lowest, negative = 0, int(code_of(np.array(highest), counting))
    table = codes.table(counting, target=target)
    values = {255, *counting.ignore_index} if table is None else table.far
    others = [value for value in values if lowest <= value <= highest]
    codes_of_others = code_of(np.array(others, np.int64), counting)
    last = counting.labels - 1
    if table is not None:
        last, first_bad = len(table.near) - 1, len(table.near) + len(others)
        parts = table.near, codes_of_others, [negative, too_large]
        negative, too_large = first_bad, first_bad + 1
        codes_of_others = np.arange(last + 1, first_bad)
    meaning = Meaning(
        stored.type(min(last, highest)),
        negative,
        too_large,
        np.array(others, stored),
        codes_of_others.astype(np.uint16),
    )
    return meaning, None if table is None else np.concatenate(parts).astype(np.uint16)


class Values(NamedTuple):
    """Label values that are known, as ``cpu_tally_kernels.tally`` counts them, and their codes."""

    lowest: Any
    start: Any
    span: Any
    codes_of_target: Array
    codes_of_preds: Array


@lru_cache(maxsize=64)
def known_values(counting: Counting, *, of_bytes: bool) -> Values | None:
    """The values that labels may have; None if their range is too large.

    After the last of 256 comes the first, and the largest gap is left out: where a byte of 255 is
    ignored, what is known goes from there over 0 to the last label.
    """
    known = {*range(counting.labels), *counting.ids, *counting.ignore_index}
    if of_bytes:
        known &= set(range(VALUES))
    lowest = 0 if of_bytes else min(known)
    offsets = sorted(value - lowest for value in known)
    gap, start = max((b - a, b) for a, b in pairwise([*offsets, offsets[0] + VALUES]))
    span = VALUES + 1 - gap
    if offsets[-1] >= VALUES or (span + 1) ** 2 > CELLS:
        return None
    values = np.arange(start, start + span) % VALUES + lowest
    return Values(
        None if of_bytes else np.uint64(lowest % 2**64),
        np.uint64((start + lowest) % 2**64),
        np.uint16(span),
        codes.target_codes(values, counting).astype(np.uint16),
        codes.preds_codes(values, counting).astype(np.uint16),
    )


def score_reader(scores: Array, sizes: list[int], strides: list[int], counting: Counting) -> Reader:
    """Reads scores ``(C, ...)`` of the target's size."""
    maps = Maps.of(scores, sizes, strides)
    infinity, limits = INFINITY.get(scores.dtype), _limits(counting, scores.dtype)
    classes, impossible = score_classes(counting), counting.labels + codes.IMPOSSIBLE
    kernel: Any = cpu_score_kernels.strided_score_codes
    if maps.step == 1:
        kernel = cpu_score_kernels.contiguous_score_codes
    elif maps.channel == 1:
        kernel = cpu_score_kernels.channels_last_score_codes

    def read(box: Box, out: Array) -> None:
        kernel(
            maps.flat,
            maps.base(box),
            maps.channel,
            classes,
            maps.sizes,
            maps.strides,
            maps.step,
            box.area,
            limits,
            infinity,
            impossible,
            out,
        )

    return read


def nearest_score_reader(scores: Array, size: list[int], counting: Counting) -> Reader:
    """Reads scores ``(C, n, depth, height, width)``; ``size`` is wanted of the last four.

    Every pixel takes the scores of its nearest neighbour.
    """
    maps, rows, columns = nearest_places(scores, size, counting)
    infinity, limits = INFINITY.get(scores.dtype), _limits(counting, scores.dtype)
    classes, impossible = score_classes(counting), counting.labels + codes.IMPOSSIBLE

    def read(box: Box, out: Array) -> None:
        cpu_resize_kernels.nearest_codes(
            maps.flat,
            maps.base(box),
            maps.channel,
            classes,
            maps.sizes,
            rows,
            columns,
            box.area,
            limits,
            infinity,
            impossible,
            out,
        )

    return read


def linear_score_reader(scores: Array, size: list[int], counting: Counting) -> Reader:
    """Reads scores ``(C, n, depth, height, width)``; ``size`` is wanted of the last four.

    A pixel's scores are interpolated between those of its neighbours, see ``plain.resize``.
    """
    maps, between, half = linear_places(scores, size, counting)
    kernel: Any = cpu_resize_kernels.linear_codes
    limits = _limits(counting, np.dtype(np.float64 if scores.dtype == np.float64 else np.float32))
    classes, impossible = score_classes(counting), counting.labels + codes.IMPOSSIBLE

    def read(box: Box, out: Array) -> None:
        kernel(
            maps.flat,
            maps.base(box),
            maps.channel,
            classes,
            maps.sizes,
            maps.strides,
            *between,
            box.area,
            limits,
            half,
            impossible,
            out,
        )

    return read


class ScoreReaders(NamedTuple):
    """How scores are read: as they lie, and resized in two ways."""

    unresized: Callable[[Array, list[int], list[int], Any], Any]
    nearest: Callable[[Array, list[int], Any], Any]
    linear: Callable[[Array, list[int], Any], Any]


#: Readers of the codes of the labels that scores choose.
SCORES = ScoreReaders(score_reader, nearest_score_reader, linear_score_reader)


def nearest_places(
    scores: Array, size: list[int], counting: Counting
) -> tuple[Maps, Int64Array, Int64Array]:
    """Scores as maps, and where the nearest neighbours of rows and columns lie in them."""
    maps = Maps.of(scores, size, steps(scores)[1:])
    places = [
        lower * step
        for ((lower, _), _), step in zip(
            _neighbours(scores, size, counting), steps(scores)[1:], strict=True
        )
    ]
    return maps, np.concatenate(places[:-1]), places[-1]


def linear_places(
    scores: Array, size: list[int], counting: Counting
) -> tuple[Maps, tuple[Any, ...], Array | None]:
    """Scores as maps, arguments of ``cpu_resize_kernels.linear_codes``, and values of halves.

    The arguments are rows, their weights, columns, their weights, and whether each of the three
    dimensions is resized.
    """
    maps = Maps.of(scores, size, steps(scores)[1:])
    half = None
    if scores.dtype in INFINITY:
        half = values_of_halves(scores.dtype)
        maps = maps._replace(flat=maps.flat.view(np.uint16))
    _, *of_rows, of_columns = _neighbours(scores, size, counting)
    rows, row_weights = (np.concatenate(part, axis=1) for part in zip(*of_rows, strict=True))
    columns, column_weights = of_columns
    columns = columns * maps.step
    resized = tuple(a != b for a, b in zip(size[1:], scores.shape[2:], strict=True))
    return maps, (rows, row_weights, columns, column_weights, resized), half


def _neighbours(
    scores: Array, size: list[int], counting: Counting
) -> list[tuple[Int64Array, Array]]:
    """What ``plain.resize`` reads along each dimension: places before and after, their weights."""
    nearest = counting.upsample == "nearest"
    dtype = np.dtype(np.float64 if scores.dtype == np.float64 and not nearest else np.float32)
    lengths = zip(scores.shape[1:], size, strict=True)
    return [_neighbours_along(length, wanted, nearest, dtype) for length, wanted in lengths]


@lru_cache(maxsize=64)
def _neighbours_along(
    length: int, wanted: int, nearest: bool, dtype: Dtype
) -> tuple[Int64Array, Array]:
    part = np.arange(wanted, dtype=dtype)
    scale = dtype.type(length / wanted)
    place = part * scale if nearest else (scale * (part + 0.5) - 0.5).clip(0)
    if length == wanted:
        place = part
    lower = place.astype(np.int64).clip(max=length - 1)
    upper = (lower + 1).clip(max=length - 1)
    weight = (place - lower.astype(dtype)).clip(max=1)
    return np.stack([lower, upper]), np.stack([1 - weight, weight])


def score_classes(counting: Counting) -> int:
    """How many scores decide about a pixel of a map."""
    return counting.labels if counting.task == "multiclass" else 1


@lru_cache(maxsize=64)
def _limits(counting: Counting, dtype: Dtype) -> Array:
    """Lowest and highest possible score, and the one above which a single score is positive.

    Those of halves are in terms of the keys by which the kernels compare them.
    """
    lowest, highest, cut = -inf, inf, inf
    if counting.task != "multiclass":
        cut = counting.cut
        if not counting.from_logits:
            lowest, highest = 0, 1
    if dtype not in INFINITY:
        return np.array([lowest, highest, cut], dtype)
    values = values_of_halves(dtype)
    bits = np.arange(2**16)
    keys = np.where(bits < 2**15, bits, 2**15 - bits)

    def largest(limit: float) -> int:
        return int(keys[values <= np.float32(limit)].max())

    return np.array([keys[values >= lowest].min(), largest(highest), largest(cut)], np.int16)


@cache
def values_of_halves(dtype: Dtype) -> Array:
    """What the 2**16 halves are in fp32."""
    bits = np.arange(2**16, dtype=np.uint16)
    if dtype == BFLOAT16:  # the upper half of an fp32
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16).astype(np.float32)


def flat(array: Array) -> Array:
    """What an array spans, in the order of memory, see ``READ_AS``."""
    if array.flags.c_contiguous:
        line = array.reshape(-1)
    else:
        extent = 1 + sum((n - 1) * step for n, step in zip(array.shape, steps(array), strict=True))
        line = as_strided(array, (extent,), (array.itemsize,))
    return line.view(READ_AS.get(array.dtype, array.dtype))


def steps(array: Array) -> list[int]:
    """The strides of an array, in elements."""
    return [stride // array.itemsize for stride in array.strides]
