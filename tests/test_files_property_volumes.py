"""Random label volumes in every way that the formats of volumes have: the same labels, or none.

``VOLUME_DRAWS=5000`` draws more of them.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st

from segmetrics.files import LabelMap, MaskError, Reading, aligned, read

DRAWS = int(os.environ.get("VOLUME_DRAWS", "500"))

Volume = np.ndarray
#: Types of elements of the formats; the byte order is drawn where a format has both.
NIFTI = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
MGH = ("u1", "i2", "i4", "f4")
NUMPY = (*NIFTI, "?", "f2")


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Grids: spacings, an origin, and any direction, oblique and left-handed ones too."""
    angles = [draw(st.sampled_from([0.0, 0.3, -1.2, np.pi / 2])) for _ in range(3)]
    spacing = [draw(st.sampled_from([0.4, 1.0, 5.0])) for _ in range(3)]
    origin = [draw(st.sampled_from([0.0, -120.5, 33.25])) for _ in range(3)]
    mirror = draw(st.sampled_from([1, -1]))
    turn = nibabel.eulerangles.euler2mat(*angles) @ np.diag([mirror, 1, 1])
    return np.asarray(nibabel.affines.from_matvec(turn @ np.diag(spacing), origin))


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Labels ``(x, y, z)``; they look like labels in that neighbours are often equal."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    largest = draw(st.sampled_from([1, 2, 4, 127, 255, 300, 40_000, 100_000]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = random.integers(0, largest + 1, shape)
    return labels.repeat(2, 0) if draw(st.booleans()) else labels


def holds(dtype: str, labels: Volume) -> bool:
    """Whether a type has all the labels."""
    return bool((labels.astype(dtype).astype(np.int64) == labels).all())


@st.composite
def files(draw: st.DrawFn) -> tuple[str, Callable[[Path, Volume, np.ndarray], None]]:
    """A name, and what writes labels on a grid under it."""
    suffix = draw(st.sampled_from(
        ["nii", "nii.gz", "mgh", "mgz", "mha", "mhd", "nrrd", "nhdr", "npy", "npz"]
    ))  # fmt: skip
    order, packed, way = draw(st.sampled_from("<>")), draw(st.booleans()), draw(st.integers(0, 3))
    types = {"mgh": MGH, "mgz": MGH, "npy": NUMPY, "npz": NUMPY}.get(suffix, NIFTI)
    dtype = draw(st.sampled_from(types))

    def write(path: Path, labels: Volume, affine: np.ndarray) -> None:
        chosen = dtype if holds(dtype, labels) else "i4"
        values = labels.astype(chosen)
        if suffix in ("nii", "nii.gz"):
            write_nifti(path, values, affine, order, way)
        elif suffix in ("mgh", "mgz"):
            nibabel.save(nibabel.MGHImage(values, affine), path)
        elif suffix in ("npy", "npz"):
            write_numpy(path, values.astype(values.dtype.newbyteorder(order)), packed, way)
        else:
            write_itk(path, values, affine, packed)
            if order == ">" and not packed and suffix in ("mha", "nrrd"):
                to_big_endian(path, values)

    return f"a.{suffix}", write


def write_nifti(path: Path, values: Volume, affine: np.ndarray, order: str, way: int) -> None:
    """NIfTI-1 and -2, placed by sform, qform or both, with and without a slope, gzip in members."""
    kind = nibabel.Nifti2Image if way % 2 else nibabel.Nifti1Image
    image = kind(values, affine, kind.header_class(endianness=order))
    image.set_data_dtype(values.dtype)
    image.set_sform(affine, 0 if way == 3 else 1)
    try:
        image.set_qform(affine, 0 if way == 2 else 1)
    except ValueError:  # nibabel rounds the quaternion, and then refuses it
        reject()
    if way == 1 and values.dtype.kind in "iu":
        image.header.set_slope_inter(1 / 3, 0)  # labels × 3 are stored
        if holds(values.dtype.str, values.astype(np.int64) * 3):
            image = kind(values * values.dtype.type(3), affine, image.header)
            image.header.set_slope_inter(1 / 3, 0)
        else:
            image.header.set_slope_inter(1, 0)
    nibabel.save(image, path)
    if path.suffix == ".gz" and way == 2:
        raw = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))


def write_numpy(path: Path, values: Volume, packed: bool, way: int) -> None:
    stored = np.asfortranarray(values) if way % 2 else values
    if path.suffix == ".npy":
        np.save(path, stored)
    else:
        (np.savez_compressed if packed else np.savez)(path, label=stored)


def write_itk(path: Path, values: Volume, affine: np.ndarray, packed: bool) -> None:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path), packed)


def to_big_endian(path: Path, values: Volume) -> None:
    """The same file with its voxels in the other byte order."""
    data, size = path.read_bytes(), values.nbytes
    header = data[: len(data) - size].replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
    header = header.replace(b"endian: little", b"endian: big")
    swapped = values.T.astype(values.dtype.newbyteorder(">"))
    path.write_bytes(header + np.ascontiguousarray(swapped).tobytes())


def in_order(found: LabelMap, values: Volume | None = None) -> Volume:
    """Values as (x, y, z)."""
    shown = found.values if values is None else values
    return shown.T if found.grid is not None and found.grid.zyx else shown


@settings(max_examples=DRAWS, deadline=None)
@given(volumes(), affines(), files(), files(), st.permutations(range(3)), st.integers(0, 7))
def test_a_volume_is_read_as_it_was_written_or_refused(
    labels: Volume, affine: np.ndarray, one: Any, two: Any, order: list[int], flips: int
) -> None:
    orientation = np.array([[order.index(i), -1 if flips >> i & 1 else 1] for i in range(3)])
    reoriented = nibabel.Nifti1Image(labels.astype(np.int32), affine).as_reoriented(orientation)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "one", one[0]), Path(folder, "two", two[0])
        for path in paths:
            path.parent.mkdir()
        one[1](paths[0], np.asarray(reoriented.dataobj).astype(np.int64), reoriented.affine)
        two[1](paths[1], labels, affine)
        reading = Reading(keys=("label",))
        try:
            preds, target = (read(path, reading) for path in paths)
            found = aligned(preds, target, paths)
        except MaskError as error:
            refused = error.problem.kind
        else:
            refused = None
            reoriented_labels = np.asarray(reoriented.dataobj).astype(np.int64)
            assert np.array_equal(in_order(target).squeeze(), labels.squeeze())
            assert np.array_equal(in_order(preds).squeeze(), reoriented_labels.squeeze())
            if preds.grid and target.grid:
                assert np.array_equal(in_order(target, found).squeeze(), labels.squeeze())
    # Of arrays nobody knows the axes, and small ones may look one-hot. Lines have lost their plane.
    of_arrays = any(".np" in path.name for path in paths)
    event(f"refused: {refused}")
    is_line = sum(length > 1 for length in labels.shape) < 2
    assert refused is None or of_arrays or is_line
