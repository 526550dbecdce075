"""DICOM SEG, as highdicom writes it from slices of a CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from segmetrics.files import LabelMap, MaskError, Reading, aligned, read

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
