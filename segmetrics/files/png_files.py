"""PNG files of 8 bits a sample read, verified, inflated and unfiltered within a kernel.

The kernel calls the system, libdeflate and zlib-ng by their addresses. So threads read files
without the GIL, and Python runs once for many files. What is unusual or damaged is left to ``png``,
which reads everything and says what is wrong.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has neither types nor stubs
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.files.masks import Array
from segmetrics.files.png import COLORED, GREY, PALETTE, SIGNATURE
from segmetrics.files.png_kernels import load, unfilter

#: Bytes of a file, and of its filtered rows, that are read this way at most.
MOST = 2**22
#: Bytes of the smallest PNG.
LEAST = 57
#: The places of addresses in ``libraries()``.
MAKE, FREE, INFLATE, CHECKSUM, INFLATE_COPIES = range(5)
#: An image that is not read this way: its size is 0.
LEFT = 0, 0, 0, 0, 0

FIRST = np.uint64(int.from_bytes(SIGNATURE, "little"))
IHDR, PLTE, IDAT, ACTL, IEND = (
    int.from_bytes(kind, "big") for kind in (b"IHDR", b"PLTE", b"IDAT", b"acTL", b"IEND")
)
#: What C returns as int or uint32 of 64 bits.
INT = 2**32 - 1


@cache
def libraries() -> NDArray[np.int64] | None:
    """The addresses of what the kernels call; None where imagecodecs does not have them."""
    try:
        from imagecodecs import _deflate, _zlibng

        deflate, zlibng = ctypes.CDLL(_deflate.__file__), ctypes.CDLL(_zlibng.__file__)
        functions = (
            deflate.libdeflate_alloc_decompressor,
            deflate.libdeflate_free_decompressor,
            deflate.libdeflate_zlib_decompress,
            deflate.libdeflate_crc32,
            zlibng.zng_uncompress,
        )
    except (ImportError, OSError, AttributeError):
        return None
    if os.name != "posix":
        return None
    return np.array([ctypes.cast(function, ctypes.c_void_p).value for function in functions])


@kernel
def read_png_file(
    path: int, addresses: Array, inflater: int, data: Array, filtered: Array, pixels: Array
) -> tuple[int, int, int, int]:
    """Read an image of one grey value or index of a palette in each byte, that is not interlaced.

    Args:
        path: the address of its name, with a zero at the end.
        addresses: ``libraries()``.
        inflater: what ``MAKE`` made.
        data: the file is written here, ``MOST`` bytes as the other two.
        filtered: the inflated rows are written here.
        pixels: the image is written here, row after row.

    Returns:
        Height and width; the place of its palette in ``data``, and how many bytes it has. All are 0
        where the image is left to ``png``.
    """
    height, width, step, palette, colors = read_filtered(path, addresses, inflater, data, filtered)
    rows = pixels[: height * width].reshape(height, width)
    if step != 1 or unfilter(filtered[: height * (width + 1)], 1, rows) < height:
        return 0, 0, 0, 0
    return height, width, palette, colors


@kernel
def read_filtered(
    path: int, addresses: Array, inflater: int, data: Array, filtered: Array
) -> tuple[int, int, int, int, int]:
    """Read a grey, palette or RGB image of 8 bits, that is not interlaced, up to its filters.

    Args:
        path: the address of its name, with a zero at the end.
        addresses: ``libraries()``.
        inflater: what ``MAKE`` made.
        data: the file is written here, if it is smaller.
        filtered: the inflated rows are written here, if they are not larger.

    Returns:
        Height, width and bytes of a pixel; the place of its palette in ``data``, and how many bytes
        it has. All are 0 where the image is left to ``png``.
    """
    size = _read(path, data)
    if size < LEAST or load(data, 0) != FIRST:
        return LEFT
    header, first, stored, palette, colors = _chunks(data, size, addresses[CHECKSUM])
    if header == 0:
        return LEFT
    width, height, kind = _number(data, header), _number(data, header + 4), data[header + 9]
    step = 3 if kind == COLORED else 1
    needed = height * (step * width + 1) if max(height, width) <= len(filtered) else 0
    if not 0 < needed <= len(filtered) or width == 0:
        return LEFT
    if data[header + 8] != 8 or data[header + 10] or data[header + 11] or data[header + 12]:
        return LEFT
    if kind not in (GREY, COLORED) and (kind != PALETTE or colors == 0):
        return LEFT
    source, into = data.ctypes.data + first, filtered.ctypes.data
    if kind != GREY:  # most of the data are copies
        room = np.array([needed])
        failed = call(addresses[INFLATE_COPIES], (into, room.ctypes.data, source, stored)) & INT
        if failed or room[0] != needed:
            return LEFT
    elif call(addresses[INFLATE], (inflater, source, stored, into, needed, 0)) & INT:
        return LEFT
    return height, width, step, palette, colors if kind == PALETTE else 0


@kernel
def _read(path: int, into: Array) -> int:
    """Read a file, and return its size; -1 if it cannot be read or is not smaller than ``into``.

    If the system reads a part only, the image seems to be cut.
    """
    file = _open(path, 0, 0)
    if file < 0:
        return -1
    size = _read_some(file, into.ctypes.data, len(into))
    _close(file)
    return -1 if size == len(into) else size


@kernel
def _chunks(data: Array, size: int, checksum: int) -> tuple[int, int, int, int, int]:
    """Verify the chunks of a PNG, and join its data.

    Returns:
        The place of its header; of its data and their size; of its palette and its size. All are 0
        if it is damaged or animated.
    """
    place, kind, header, first, stored, palette, colors = len(SIGNATURE), 0, 0, 0, 0, 0, 0
    while kind != IEND:
        start = place + 8
        if start > size:
            return LEFT
        length, kind = _number(data, place), _number(data, place + 4)
        end = start + length
        if end + 4 > size:
            return LEFT
        found = call(checksum, (0, data.ctypes.data + place + 4, length + 4)) & INT
        if found != _number(data, end) or kind == ACTL or (kind == IHDR and length != 13):
            return LEFT
        if kind == IHDR:
            header = start
        elif kind == PLTE:
            palette, colors = start, length
        elif kind == IDAT:
            if stored == 0:
                first = start
            else:
                for i in range(length):
                    data[first + stored + i] = data[start + i]
            stored += length
        place = end + 4
    return header, first, stored, palette, colors


@kernel
def _number(data: Array, place: int) -> int:
    """Four bytes as a number."""
    number = 0
    for byte in data[place : place + 4]:
        number = number << 8 | np.int64(byte)
    return number


# --- Functions of C -------------------------------------------------------------------------------


def _call(typing_context: Any, address: Any, arguments: Any) -> Any:
    """Call a function of C that takes and returns numbers of 64 bits, or pointers."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        number, (function, arguments) = ir.IntType(64), given
        values = cgutils.unpack_tuple(builder, arguments)  # type: ignore[no-untyped-call]
        pointer = ir.FunctionType(number, [number] * len(values)).as_pointer()
        return builder.call(builder.inttoptr(function, pointer), values)

    return types.int64(address, arguments), generate


call: Any = intrinsic(_call)

_open: Any = types.ExternalFunction("open", types.int32(types.int64, types.int32, types.int32))
_read_some: Any = types.ExternalFunction("read", types.int64(types.int32, types.int64, types.int64))
_close: Any = types.ExternalFunction("close", types.int32(types.int32))
