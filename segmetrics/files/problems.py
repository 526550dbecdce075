"""What keeps a file from being scored, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["no target", "no prediction", "ambiguous", "format", "unreadable", "channels",
               "values", "sizes", "labels", "instances"]  # fmt: skip

#: How a list of problems of a kind begins, and the likely mend.
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
        "images in a format that is not read as masks",
        "Write masks as PNG, TIFF, NPY, NPZ or NIfTI. JPEG changes labels; its masks are lost.",
    ),
    "unreadable": (
        "files that cannot be read",
        "Was the disk full, or writing interrupted? Write them anew.",
    ),
    "channels": (
        "masks with several channels",
        "A mask holds one label a pixel. Convert its colours to indices: save it as a palette or "
        "greyscale image whose values are the labels.",
    ),
    "values": (
        "masks whose values are no labels",
        "A mask holds integers. Scores become labels by their argmax over the classes.",
    ),
    "sizes": (
        "pairs of different sizes",
        "Resize predictions to their targets' size, by nearest neighbour.",
    ),
    "labels": (
        "masks with unknown labels",
        "Check --labels or --num-classes. A value that does not count is named by --ignore-index; "
        "predictions that hold indices of classes instead of the targets' values need "
        "--preds-are-classes.",
    ),
    "instances": (
        "targets without a mask of instance ids",
        "--iiou reads *_instanceIds.png beside *_labelIds.png.",
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
        """What is likely to help."""
        return self.hint or KINDS[self.kind][1]

    @property
    def reason(self) -> str:
        """In words."""
        return self.detail or {
            "no target": "it has no target",
            "no prediction": "it has no prediction",
        }.get(self.kind, KINDS[self.kind][0])


class MaskError(ValueError):
    """A file that is not read as a mask."""

    def __init__(self, kind: Kind, path: Path, detail: str, hint: str = "") -> None:
        super().__init__(f"{path}: {detail}")
        self.problem = Problem(kind, str(path), detail, hint)
