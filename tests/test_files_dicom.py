"""DICOM SEG, as highdicom writes it from slices of a CT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from segmetrics.evaluate.command import app
from segmetrics.files import LabelMap, MaskError, Reading, aligned, read, united

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
RANDOM = np.random.default_rng(0)
SPACING, ORIGIN = (0.7, 0.5, 3.0), (10.0, 20.0, 30.0)


def slices(number: int, size: tuple[int, int]) -> list[Dataset]:
    """Slices of an empty CT."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    found = []
    for k in range(number):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, generate_uid()
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, series
        slice_.FrameOfReferenceUID, slice_.PositionReferenceIndicator = frame, ""
        slice_.PatientID, slice_.PatientName = "1", "Name^"
        for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
                     "ReferringPhysicianName"):  # fmt: skip
            setattr(slice_, name, "")
        slice_.StudyID, slice_.Modality, slice_.SeriesNumber = "1", "CT", 1
        slice_.InstanceNumber = k + 1
        slice_.Rows, slice_.Columns = size
        slice_.PixelSpacing, slice_.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + k * SPACING[2]]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation, slice_.PixelData = 0, bytes(2 * size[0] * size[1])
        found.append(slice_)
    return found


def write_seg(path: Path, pixels: np.ndarray, kind: str = "BINARY", segments: int = 2) -> None:
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=i + 1,
            segment_label=str(i + 1),
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for i in range(segments)
    ]
    about: dict[str, Any] = {
        "series_instance_uid": generate_uid(), "series_number": 2,
        "sop_instance_uid": generate_uid(), "instance_number": 1, "manufacturer": "m",
        "manufacturer_model_name": "m", "software_versions": "1", "device_serial_number": "1",
    }  # fmt: skip
    highdicom.seg.Segmentation(
        source_images=slices(len(pixels), pixels.shape[1:3]),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        **about,
    ).save_as(path)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_are_labels_on_the_grid_of_the_ct(kind: str, tmp_path: Path) -> None:
    labels = RANDOM.integers(0, 3, (4, 4, 4)).astype(np.uint8)
    labels[1] = 0  # a slice that is left out of the file
    write_seg(tmp_path / "a.dcm", labels, kind)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    SimpleITK.WriteImage(image, str(tmp_path / "b.nii.gz"))
    for name in ("b.nii.gz", "b.mha"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        paths = tmp_path / "a.dcm", tmp_path / name
        found = aligned(read(paths[0]), read(paths[1]), paths)
        assert np.array_equal(found.T if name == "b.nii.gz" else found, labels)


def test_segments_that_overlap_are_refused(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 6, 2), np.uint8)
    pixels[1, 2, 3] = 1
    write_seg(tmp_path / "a.dcm", pixels)
    with pytest.raises(MaskError, match="overlap"):
        read(tmp_path / "a.dcm")


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    write_seg(tmp_path / "a.dcm", np.full((4, 5, 6), 0.5, np.float32), "FRACTIONAL", 1)
    with pytest.raises(MaskError, match="fractional"):
        read(tmp_path / "a.dcm")


def test_a_ct_is_no_mask(tmp_path: Path) -> None:
    slices(1, (4, 5))[0].save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(MaskError, match="DICOM CT Image Storage: of DICOM only SEG is a mask"):
        read(tmp_path / "a.dcm")


def test_the_grid_may_be_ignored(tmp_path: Path) -> None:
    write_seg(tmp_path / "a.dcm", RANDOM.integers(0, 3, (4, 5, 6)).astype(np.uint8))
    found: LabelMap = read(tmp_path / "a.dcm", Reading(ignore_grid=True))
    assert found.grid is not None
    assert not found.grid.placed
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:1500])
    with pytest.raises(MaskError):
        read(tmp_path / "a.dcm")


# --- slices without a segment are not written -----------------------------------------------------


def segments(*filled: int) -> np.ndarray:
    """A volume (z, y, x) with segments in some of its eight slices."""
    volume = np.zeros((8, 5, 6), np.uint8)
    volume[list(filled)] = RANDOM.integers(0, 3, (len(filled), 5, 6))
    volume[list(filled), 0, 0] = 1  # so that each is written
    return volume


def together(preds: Path, target: Path) -> tuple[np.ndarray, np.ndarray]:
    """The labels that are compared."""
    found, truth = united(read(preds), read(target))
    return aligned(found, truth, (preds, target)), truth.values


@pytest.mark.parametrize(
    ("of_preds", "of_target", "kept"),
    [
        ((2, 3, 4), (3, 4, 5, 6), slice(2, 7)),
        ((0, 7), (4,), slice(0, 8)),
        ((1,), (3,), slice(1, 4)),
        ((3,), (2, 3, 4), slice(2, 5)),
        ((2, 3), (2, 3), slice(2, 4)),
        ((5,), (5,), slice(5, 6)),
    ],
)
def test_masks_of_different_slices_are_brought_to_one_extent(
    of_preds: tuple[int, ...], of_target: tuple[int, ...], kept: slice, tmp_path: Path
) -> None:
    preds, target = segments(*of_preds), segments(*of_target)
    write_seg(tmp_path / "p.dcm", preds)
    write_seg(tmp_path / "t.dcm", target)
    found, truth = together(tmp_path / "p.dcm", tmp_path / "t.dcm")
    assert np.array_equal(found[::-1], preds[kept])  # read from head to feet
    assert np.array_equal(truth[::-1], target[kept])


def test_a_single_slice_is_compared_with_an_image(tmp_path: Path) -> None:
    preds, target = segments(4), segments(4)
    write_seg(tmp_path / "p.dcm", preds)
    np.save(tmp_path / "t.npy", target[4])
    found, truth = together(tmp_path / "p.dcm", tmp_path / "t.npy")
    assert np.array_equal(found, preds[4])
    assert np.array_equal(truth, target[4])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_volume_of_all_slices_is_compared_with_one_of_some(
    order: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
) -> None:
    some, every = segments(1, 2, 5), segments(*range(8))
    write_seg(tmp_path / "some.dcm", some)
    write_seg(tmp_path / "every.dcm", every)
    grid = read(tmp_path / "every.dcm").grid
    assert grid is not None
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = grid.steps[:, ::-1], grid.origin
    every, some = every[::-1], some[::-1]  # as they are read
    image = nibabel.Nifti1Image(every.T.copy(), affine)
    orientation = np.array([[order.index(i), flips[i]] for i in range(3)])
    nibabel.save(image.as_reoriented(orientation), tmp_path / "every.nii")
    found, truth = together(tmp_path / "some.dcm", tmp_path / "every.nii")
    counts, expected = np.zeros((2, 3, 3), int)
    np.add.at(counts, (truth.ravel(), found.ravel()), 1)
    np.add.at(expected, (every.ravel(), some.ravel()), 1)
    assert np.array_equal(counts, expected)
    found, truth = together(tmp_path / "every.nii", tmp_path / "some.dcm")
    assert np.array_equal(found, every)
    assert np.array_equal(truth, some)


def test_a_volume_that_holds_all_slices_is_not_extended(tmp_path: Path) -> None:
    write_seg(tmp_path / "p.dcm", segments(0, 7))
    write_seg(tmp_path / "t.dcm", segments(2, 3, 4))
    few = read(tmp_path / "t.dcm")
    assert few.grid is not None
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = few.grid.steps[:, ::-1], few.grid.origin
    nibabel.save(nibabel.Nifti1Image(few.values.T.copy(), affine), tmp_path / "t.nii")
    with pytest.raises(MaskError, match="spacing"):
        together(tmp_path / "p.dcm", tmp_path / "t.nii")


def test_other_grids_are_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_seg(tmp_path / "p.dcm", segments(2, 3))
    for name, value in (("SPACING", (0.7, 0.5, 3.1)), ("ORIGIN", (10.2, 20.0, 30.0))):
        with monkeypatch.context() as patched:
            patched.setattr(f"test_files_dicom.{name}", value)
            write_seg(tmp_path / "t.dcm", segments(3, 4))
        with pytest.raises(MaskError) as caught:
            together(tmp_path / "p.dcm", tmp_path / "t.dcm")
        assert caught.value.problem.kind == "grid"


def test_the_command_scores_masks_of_different_slices(tmp_path: Path) -> None:
    pairs = {"a": (segments(2, 3, 4), segments(3, 4, 5)), "b": (segments(1), segments(1))}
    for name, pair in pairs.items():
        for folder, volume in zip("pt", pair, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_seg(tmp_path / folder / f"{name}.dcm", volume)
    out = tmp_path / "o.json"
    given = ["evaluate", str(tmp_path / "p"), str(tmp_path / "t"), "--num-classes", "3"]
    done = CliRunner().invoke(
        app, [*given, "--surfaces", "--json", str(out), "--html", str(tmp_path / "o.html")]
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["warnings"] == []
    rows = {(row["case"], row["class"]): row for row in found["cases"]}
    for name, (preds, target) in pairs.items():
        row, hits = rows[name, "1"], np.sum((preds == 1) & (target == 1))
        sizes = np.sum(preds == 1), np.sum(target == 1)
        assert (row["pixels_prediction"], row["pixels_target"]) == sizes
        assert row["dice"] == pytest.approx(2 * hits / sum(sizes))
        assert row["volume_target"] == pytest.approx(sizes[1] * np.prod(SPACING) / 1000)
        assert row["hd"] > 0
