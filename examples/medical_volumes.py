"""Score two raters of CT volumes by Python and by the command: the same numbers.

    python examples/medical_volumes.py --folder data/medical_volumes

draws a small data set of abdomens and scores it, in a few seconds. It needs the command and
nibabel: `pip install ".[cli,medical]"`.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from segmetrics import SegmentationMetrics, SurfaceMetrics
from segmetrics.labels import LabelSpace

ORGANS = {"liver": 1, "tumour": 2, "kidney": 3, "spleen": 4}
# Regions overlap with organs and with each other: the whole liver is the liver with its tumour.
LABELS = {"background": 0, **ORGANS, "whole liver": [1, 2], "organs": [1, 2, 3, 4]}
RATERS = ("careful", "hasty")
SCORES = ("dice", "hd95", "assd", "nsd")
CASES = 6
#: Surfaces closer than this agree: about the distance between two raters, in mm.
TOLERANCE = 2.0

Volume, Vector = NDArray[np.uint8], NDArray[np.float64]


class Organ(NamedTuple):
    """A bumpy ellipsoid, in mm."""

    label: int
    centre: Vector
    radii: Vector
    phase: Vector


def main() -> None:
    """Draw the data set, and score each rater twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("data/medical_volumes"))
    folder = parser.parse_args().folder
    write_dataset(folder)
    for rater in RATERS:
        print(f"\n=== The {rater} rater, by Python")
        by_python = score(folder, rater)
        show(by_python)
        print(f"\n=== The {rater} rater, by the command")
        by_command = score_by_command(folder, rater)
        assert by_python.keys() == by_command.keys()
        worst = max(abs(by_python[key] - by_command[key]) for key in by_python)
        print(f"\nBoth give the same {len(by_python)} numbers, to within {worst:.0e}.")
        assert worst < 1e-4


# --- By Python ------------------------------------------------------------------------------------


def score(folder: Path, rater: str) -> dict[str, float]:
    """The scores of every organ and region, each the mean over cases."""
    space = LabelSpace.read(folder / "dataset.json")
    # Samplewise: the Dice of each case, averaged over cases. By default the voxels of all cases are
    # pooled, and a large liver weighs more than a small one.
    overlap = SegmentationMetrics(space, aggregation_level="samplewise", include_background=False)
    # Where only one mask has an organ there is no distance: the diagonal of the volume stands in.
    # By default it is infinite, and so is the mean, as soon as one tumour is missed.
    surfaces = SurfaceMetrics(
        space,
        percentile=95,
        tolerance=TOLERANCE,
        include_background=False,
        empty_distance="diagonal",
    )
    for target_file in sorted((folder / "labels").glob("*.nii.gz")):
        target, spacing = load(target_file)
        preds, _ = load(folder / rater / target_file.name)
        overlap.update(preds, target)
        surfaces.update(preds, target, spacing)  # every case has its own spacing

    found = overlap.compute_scalars() | surfaces.compute_scalars()
    keys = ("dice", "hausdorff", "average_surface_distance", "surface_dice")
    return {
        f"{score}/{name}": found[f"{key}{kind}/{name}"]
        for kind, names in (("", ORGANS), ("_region", space.regions))
        for name in names
        for score, key in zip(SCORES, keys, strict=True)
    }


def load(file: Path) -> tuple[torch.Tensor, tuple[float, ...]]:
    """A batch of one volume, and the distance between its voxels in mm.

    Files say how their axes lie in the patient. nibabel brings all of them to one orientation, so
    that a prediction that was stored in another one still lies over its target.
    """
    image = nibabel.as_closest_canonical(nibabel.load(file))
    labels = torch.from_numpy(np.ascontiguousarray(image.dataobj))
    return labels[None], image.header.get_zooms()


def show(scores: dict[str, float]) -> None:
    """Print a line an organ and region."""
    print(f"{'':12}{'Dice':>8}{'HD95':>10}{'ASSD':>10}{'NSD':>8}")
    for name in (key.split("/")[1] for key in scores if key.startswith("dice/")):
        dice, hd95, assd, nsd = (scores[f"{kind}/{name}"] for kind in SCORES)
        print(f"{name:12}{dice:8.3f}{hd95:7.3f} mm{assd:7.3f} mm{nsd:8.3f}")


# --- By the command -------------------------------------------------------------------------------


def score_by_command(folder: Path, rater: str) -> dict[str, float]:
    """The same from one line in a shell; spacing and orientation are read off the files.

    `--csv FILE` adds a row a case and organ, `--html FILE` a report, `--confidence 0.95` intervals,
    and with `--format nnunet` the JSON is what nnU-Net's own evaluation writes.
    """
    results = folder / f"{rater}.json"
    command = ["segmetrics", "evaluate", folder / rater, folder / "labels"]
    command += ["--labels", folder / "dataset.json", "--no-background"]
    command += ["--surfaces", "--tolerance", TOLERANCE, "--empty-distance", "diagonal"]
    command += ["--json", results]
    arguments = list(map(str, command))
    print("$ " + " ".join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", *arguments], check=True)

    rows = json.loads(results.read_text())["case_means"]
    return {f"{score}/{row['class']}": row[score] for row in rows for score in SCORES}


# --- The data set ---------------------------------------------------------------------------------


def write_dataset(folder: Path) -> None:
    """Write targets, two raters' masks and `dataset.json`, unless they are there already."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("labels", *RATERS):
        (partial / name).mkdir(parents=True)
    dataset = {"labels": LABELS, "file_ending": ".nii.gz", "regions_class_order": [1, 2, 3, 4, 5]}
    (partial / "dataset.json").write_text(json.dumps(dataset, indent=1))
    for case in range(CASES):
        rng = np.random.default_rng(case)
        # Scanners differ: pixels of 0.7 to 0.9 mm and slices of 3 to 5 mm.
        in_plane, between = rng.uniform(0.7, 0.9), rng.choice([3.0, 4.0, 5.0])
        spacing = np.array([in_plane, in_plane, between])
        size = np.array([96, 84, 30])
        organs = draw_organs(rng, size * spacing)
        masks = {
            "labels": rasterised(organs, size, spacing),
            # Every outline is half a millimetre too large.
            "careful": rasterised(organs, size, spacing, grown=0.5, moved=rng.normal(0, 0.4, 3)),
            # About a slice off, too small, and small tumours are overlooked.
            "hasty": rasterised(
                organs, size, spacing, grown=-1.5, moved=np.array([0, 1.5, 4]), overlooked=7.0
            ),
        }
        for name, mask in masks.items():
            # The hasty rater's tool stores other axes; the header says which.
            axes = "LPS" if name == "hasty" else "RAS"
            write_volume(partial / name / f"case_{case:02}.nii.gz", mask, spacing, axes)
    partial.rename(folder)


def draw_organs(rng: np.random.Generator, extent: Vector) -> list[Organ]:
    """The organs of a patient. Later ones lie on top of earlier ones."""
    places = {"liver": (0.68, 0.5, 0.6), "kidney": (0.35, 0.3, 0.35), "spleen": (0.2, 0.6, 0.65)}
    radii = {"liver": (18, 16, 38), "kidney": (7, 7, 18), "spleen": (7, 11, 16)}
    organs = [
        Organ(
            label=ORGANS[name],
            centre=extent * places[name] + rng.normal(0, 2, 3),
            radii=radii[name] * rng.uniform(0.85, 1.1, 3),
            phase=rng.uniform(0, 2 * np.pi, 3),
        )
        for name in places
    ]
    if rng.random() < 0.8:  # a tumour in the liver
        centre = organs[0].centre + rng.uniform(-7, 7, 3)
        radii_of_tumour = np.full(3, rng.uniform(5, 9))
        organs.append(
            Organ(ORGANS["tumour"], centre, radii_of_tumour, rng.uniform(0, 2 * np.pi, 3))
        )
    return organs


def rasterised(
    organs: list[Organ],
    size: Vector,
    spacing: Vector,
    *,
    grown: float = 0.0,
    moved: Vector | float = 0.0,
    overlooked: float = 0.0,
) -> Volume:
    """A label map as a rater draws it: grown and moved by some mm, smaller organs overlooked."""
    places = np.moveaxis(np.indices(size), 0, -1) * spacing
    labels = np.zeros(size, np.uint8)
    for organ in organs:
        if organ.radii.max() < overlooked:
            continue
        away = places - organ.centre - moved
        bumps = 1 + 0.06 * np.sin(away / 5 + organ.phase).sum(-1)
        inside = np.linalg.norm(away / (organ.radii + grown), axis=-1) < bumps
        labels[inside] = organ.label
    return labels


def write_volume(file: Path, labels: Volume, spacing: Vector, axes: str) -> None:
    """Write labels (x, y, z) towards right, anterior and superior, with other axes in the file."""
    affine = np.diag([*spacing, 1.0])
    image = nibabel.Nifti1Image(labels, affine)
    nibabel.save(image.as_reoriented(nibabel.orientations.axcodes2ornt(axes)), file)


if __name__ == "__main__":
    main()
