"""Georeferences: tags of GeoTIFF against rasterio's transforms and codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segmetrics.files.geo import Place, place_of

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import Affine  # noqa: E402

TRANSFORMS = [
    Affine(0.5, 0, 300, 0, -0.5, 5000),
    Affine(2, 0, -7, 0, -3, 11),
    Affine(0.5, 0.1, 300, 0.2, -0.5, 5000),  # rotated: a matrix instead of a scale
]


def place(path: Path, transform: Affine | None, crs: str | None = "EPSG:32633", **more: Any) -> Any:
    """The place of a file of rasterio's."""
    profile: dict[str, Any] = {"driver": "GTiff", "height": 4, "width": 6, "count": 1}
    with rasterio.open(path, "w", dtype="uint8", transform=transform, crs=crs, **profile) as file:
        file.update_tags(**more)
        file.write(np.zeros((1, 4, 6), np.uint8))
    with tifffile.TiffFile(path) as file:
        return place_of(file.pages[0].tags.valueof)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("of", ["Area", "Point"])
def test_a_place_has_rasterios_transform_and_code(
    transform: Affine, of: str, tmp_path: Path
) -> None:
    found = place(tmp_path / "a.tif", transform, AREA_OR_POINT=of)
    np.testing.assert_allclose(found.affine, np.array(transform).reshape(3, 3))
    assert found.code == 32633
    geographic = place(tmp_path / "b.tif", transform, "EPSG:4326")
    assert geographic.code == 4326
    custom = "+proj=lcc +lat_1=49 +lat_2=46 +lat_0=47 +lon_0={} +datum=WGS84"
    here, there = (place(tmp_path / "c.tif", transform, custom.format(lon)) for lon in (13, 14))
    assert here.code is there.code is None
    (key, of_here), (_, of_there) = (  # the false origin's longitude is all that differs
        pair for pair in sorted({*here.keys} ^ {*there.keys})
    )
    assert (key, of_here, of_there) == (3084, (13.0,), (14.0,))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_a_file_does_not_say_is_none(tmp_path: Path) -> None:
    assert place(tmp_path / "a.tif", None, None) is None
    without = place(tmp_path / "b.tif", TRANSFORMS[0], None)
    assert without.code is None
    assert without.affine is not None
    assert place(tmp_path / "c.tif", None).affine is None


def test_a_georeference_without_area_is_none() -> None:
    flat = {34264: [2.0, 0, 0, 7, 4, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]}
    scaled = {33550: (0.0, 0.0, 0.0), 33922: (0.0, 0.0, 0.0, 7.0, 9.0, 0.0)}
    for tags in (flat, scaled):
        assert place_of(tags.get) is None
        found = place_of({**tags, 34735: (1, 1, 0, 1, 3072, 0, 1, 32633)}.get)
        assert found is not None
        assert (found.affine, found.code) == (None, 32633)


def test_the_first_of_several_tiepoints_places_the_pixels() -> None:
    points = (1.0, 2.0, 0.0, 7.0, 9.0, 0.0)
    for more in ((), (5.0, 2.0, 0.0, 15.5, 9.0, 0.0)):
        found = place_of({33550: (2.0, 3.0, 0.0), 33922: points + more}.get)
        assert found is not None
        assert found.affine is not None
        assert found.affine.tolist() == [[2, 0, 5], [0, -3, 15], [0, 0, 1]]


def test_an_incomplete_last_key_of_a_directory_is_none() -> None:
    for rest in ((), (1025,), (1025, 0, 1)):
        found = place_of({34735: (1, 1, 0, 1, 3072, 0, 1, 32633, *rest)}.get)
        assert found is not None
        assert found.keys == ((3072, 32633),)


def here(affine: Any = TRANSFORMS[1], code: int | None = 1, keys: Any = ()) -> Place:
    matrix = None if affine is None else np.array(affine, float).reshape(3, 3)
    return Place(matrix, code, keys)


def test_the_same_place_and_what_is_not_said_are_no_difference() -> None:
    for other in (here(), here(None), here(code=None), here(keys=((3072, 2),))):
        assert here().difference(other, (4, 6)) == ""
        assert other.difference(here(), (4, 6)) == ""


def test_pages_of_a_volume_lie_at_the_place_of_their_rows_and_columns() -> None:
    assert here().difference(here(), (5, 4, 6)) == ""
    wider = here(Affine(2 + 0.003 / 6, 0, -7, 0, -3, 11))  # 0.0015 pixels at the sixth column
    assert "pixels of 2.0005 × 3" in wider.difference(here(), (2, 4, 6))
    assert wider.difference(here(), (6, 4, 2)) == ""


def test_other_places_are_told() -> None:
    assert here().difference(here(code=2), (4, 6)) == "EPSG:1, its target has EPSG:2"
    keys = here(code=None, keys=((3072, 2),)), here(code=None, keys=((3072, 3),))
    assert "coordinate reference system" in keys[0].difference(keys[1], (4, 6))
    moved = here(Affine(2, 0, -7, 0, -3, 14))
    assert moved.difference(here(), (4, 6)) == (
        "pixels of 2 × 3 from (-7, 14) on, its target has pixels of 2 × 3 from (-7, 11) on"
    )


@pytest.mark.parametrize(("share", "equal"), [(0.99, True), (-0.99, True), (1.01, False)])
def test_places_are_equal_up_to_a_thousandth_of_a_pixel_at_every_corner(
    share: float, equal: bool
) -> None:
    off, (height, width) = share * 1e-3, (4, 6)
    moved = [
        Affine(2, 0, -7 + 2 * off, 0, -3, 11),
        Affine(2, 0, -7, 0, -3, 11 + 3 * off),
        Affine(2 + 2 * off / width, 0, -7, 0, -3, 11),
        Affine(2, 0, -7, 0, -3 + 3 * off / height, 11),
        Affine(2, 2 * off / height, -7, 0, -3, 11),
        Affine(2, 0, -7, 3 * off / width, -3, 11),
    ]
    for transform in moved:
        assert (here(transform).difference(here(), (height, width)) == "") == equal
