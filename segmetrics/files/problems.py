"""The reasons why files are not scored, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["no target", "no prediction", "ambiguous", "format", "unreadable", "channels",
               "values", "scores", "sizes", "axes", "grid", "spacing", "labels", "instances",
               "colors", "frames", "large", "palettes",
               "arrays", "one-hot", "volumes", "segments", "inaccessible"]  # fmt: skip

#: The heading of a list of problems of a kind, and a fix.
KINDS: dict[Kind, tuple[str, str]] = {
    "no target": (
        "predictions without a target",
        "Partners have the same path in both folders, but for the suffix; otherwise say by --match "
        "how their names correspond.",
    ),
    "no prediction": (
        "targets without a prediction",
        "Partners have the same path in both folders, but for the suffix; otherwise say by --match "
        "how their names correspond.",
    ),
    "ambiguous": (
        "files that share a name",
        "Keep one of them, or say by --match which is meant.",
    ),
    "format": (
        "files in a format that is not read as masks",
        "Write masks as PNG, TIFF, NPY, NIfTI, MHA or NRRD, under a suffix that says so. JPEG "
        "changes labels. Files that are no masks are left out by --match.",
    ),
    "inaccessible": (
        "files and folders that cannot be opened",
        "Masks are regular files in folders that may be read. Restore what links lead to; move "
        "pipes and devices away.",
    ),
    "unreadable": (
        "files that cannot be read",
        "Was the disk full, or writing interrupted? Write them anew.",
    ),
    "colors": (
        "masks with unknown colours",
        "Colours are labels where --labels gives the classes' colours, and then exactly. Many "
        "unknown ones: was the mask resized by interpolation, or saved as JPEG?",
    ),
    "frames": (
        "animations",
        "A mask is one image. Write volumes as TIFF, NIfTI or NPY.",
    ),
    "large": (
        "masks too large to be read at once",
        "TIFFs of any size are read in parts, if both masks of a pair are tiled or striped and "
        "only pixels are counted: without --boundary, --iiou, --errors and the like. Other masks "
        "hold up to 2³⁰ pixels.",
    ),
    "palettes": (
        "predictions whose palette gives the target's colours other indices",
        "The indices are the labels. Write predictions with the palette of the targets; converting "
        "colours to an adaptive palette loses the labels.",
    ),
    "channels": (
        "masks with several channels",
        "A mask holds one label a pixel. Convert its colours to indices: save it as a palette or "
        "greyscale image whose values are the labels. Colours are read by --labels with a file "
        "that gives the classes' colours. Scores of classes are read by --probabilities with "
        "--num-classes or --labels, classes first.",
    ),
    "values": (
        "masks whose values are no labels",
        "A mask holds integers, one label a pixel.",
    ),
    "scores": (
        "files that hold no probabilities",
        "--probabilities reads floats in [0, 1], or 8 or 16 bits that stand for them; with "
        "--from-logits floats of any size. Label maps are scored without either.",
    ),
    "arrays": (
        "archives whose mask is not known",
        "Name it by --key, once for each name that predictions or targets use.",
    ),
    "one-hot": (
        "one-hot masks",
        "--one-hot AXIS reads them, where every pixel has exactly one 1 along the axis.",
    ),
    "volumes": (
        "files of several volumes",
        "Write one volume a file; scores become labels by their argmax.",
    ),
    "sizes": (
        "pairs of different sizes",
        "Resize predictions to their targets' size: label maps by nearest neighbour, probabilities "
        "linearly. Files of --probabilities with a channel a class need --num-classes or --labels.",
    ),
    "axes": (
        "pairs whose axes are reversed",
        "SimpleITK arrays are (z, y, x), nibabel's (x, y, z), images are (row, column). Transpose "
        "the predictions before they are written.",
    ),
    "grid": (
        "pairs on different grids",
        "Resample predictions to their targets' grid, by nearest neighbour. To compare the arrays "
        "as they lie: --ignore-grid.",
    ),
    "spacing": (
        "masks with an impossible spacing",
        "A spacing is positive, in the order of the header: x, y, z. Correct the header; --spacing "
        "is for files that have none.",
    ),
    "labels": (
        "masks with unknown labels",
        "Check --labels or --num-classes. A value that does not count is named by --ignore-index; "
        "predictions that hold indices of classes instead of the targets' values need "
        "--preds-are-classes.",
    ),
    "segments": (
        "panoptic masks whose segments are not as they should be",
        "Each segment of a PNG is in its JSON, under its colour's id R + 256 G + 65536 B, and each "
        "segment of the JSON is in the PNG.",
    ),
    "instances": (
        "targets without a mask of instance ids",
        "--iiou reads *_instanceIds.png next to *_labelIds.png.",
    ),
}


class Problem(NamedTuple):
    """Why a file is not scored."""

    kind: Kind
    file: str
    detail: str = ""
    hint: str = ""

    @property
    def fix(self) -> str:
        """A fix."""
        return self.hint or KINDS[self.kind][1]

    @property
    def reason(self) -> str:
        """As text."""
        return self.detail or {
            "no target": "it has no target",
            "no prediction": "it has no prediction",
        }.get(self.kind, KINDS[self.kind][0])


class MaskError(ValueError):
    """A file that is not read as a mask."""

    def __init__(self, kind: Kind, path: Path, detail: str, hint: str = "") -> None:
        super().__init__(f"{path}: {detail}")
        self.problem = Problem(kind, str(path), detail, hint)
