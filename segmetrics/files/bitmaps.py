"""BMP and the netpbm formats PBM, PGM and PPM: stored values.

Read longhand, as Pillow scales the values of PGM to 255 and misreads BMPs of few colours.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from segmetrics.files.limits import check_size
from segmetrics.files.masks import Array, Buffer, Reading, Stored
from segmetrics.files.problems import MaskError


def read_bmp(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The indices of a BMP of 1 to 8 bits, the colours of one of 24 or 32."""
    data = path.read_bytes()
    (start,), (header,) = struct.unpack_from("<I", data, 10), struct.unpack_from("<I", data, 14)
    old = header == 12
    width, height, _, bits = struct.unpack_from("<HHHH" if old else "<iiHH", data, 18)
    compression, used = (0, 0) if old else (*struct.unpack_from("<I12xI", data, 30),)
    if compression or bits not in (1, 2, 4, 8, 24, 32):
        detail = f"BMP of {bits} bits, compression {compression}, expected none and 1, 4, 8 or 24"
        raise MaskError("format", path, detail)
    rows = abs(height)
    check_size(path, (rows, width))
    stride = (width * bits + 31) // 32 * 4
    stored = np.frombuffer(data, np.uint8, rows * stride, start).reshape(rows, stride)
    stored = stored[::-1] if height > 0 else stored
    if bits > 8:
        pixels = stored[:, : width * bits // 8].reshape(rows, width, bits // 8)
        return Stored(pixels[..., 2::-1], "RGB")
    entry, most = 3 if old else 4, 2**bits
    end = 14 + header + entry * min(used or most, most)
    palette = np.frombuffer(data[14 + header : end], np.uint8).reshape(-1, entry)[:, 2::-1]
    return Stored(unpacked(stored, bits)[:, :width], palette=palette.tobytes())


def read_pnm(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The numbers of a PBM, PGM or PPM, in text or binary.

    A PBM defines black pixels. Image libraries write 0 as black, so black is label 0.
    """
    data = path.read_bytes()
    kind = int(data[1:2])
    fields = 2 if kind in (1, 4) else 3
    shape = rb"P\d" + rb"(?:\s|#[^\n]*\n)+(\d+)" * fields + rb"(?:\s|#[^\n]*\n)"
    header = re.match(shape, data)
    if header is None:
        raise MaskError("unreadable", path, "the header of the PNM is damaged")
    width, height, *rest = map(int, header.groups())
    (largest,) = rest or [1]
    if not 0 < largest < 2**16:
        raise MaskError("unreadable", path, f"PNM with values up to {largest}, expected 1 to 65535")
    check_size(path, (height, width))
    bands = "RGB" if kind in (3, 6) else ""
    size = (height, width, *([3] if bands else []))
    body = data[header.end() :]
    if kind in (1, 2, 3):
        text = re.sub(rb"#[^\n]*", b"", body)
        digits = re.findall(rb"[01]", text) if kind == 1 else text.split()
        values = np.array(digits[: int(np.prod(size))]).astype(np.int64)
        values = 1 - values if kind == 1 else values
    elif kind == 4:
        stride = -(-width // 8)
        packed = np.frombuffer(body, np.uint8, height * stride).reshape(height, stride)
        values = 1 - unpacked(packed, 1)[:, :width]
    else:
        dtype = np.dtype(np.uint8 if largest < 256 else ">u2")
        values = np.frombuffer(body, dtype, int(np.prod(size)))
    if values.size and values.max() > largest:
        raise MaskError("unreadable", path, f"value {values.max()}, the header says {largest}")
    return Stored(values.reshape(size), bands)


def unpacked(rows: Array, bits: int) -> Array:
    """Unpacks samples of some bits, the most significant first."""
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    samples: Array = rows[..., None] >> shifts & np.uint8(2**bits - 1)
    return samples.reshape(len(rows), -1)
