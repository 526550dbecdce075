"""Files: masks on disk become label maps, and folders become pairs of them. No torch here.

``formats.py`` is the table of formats, one file each; a reader gives the ``Stored`` values and
``meaning.py`` makes labels of them. ``pairing.py`` finds which prediction belongs to which target;
``names.py`` makes names of files text.
"""

from segmetrics.files.agreement import check_palettes, check_place
from segmetrics.files.alignment import aligned, with_aligned_scores
from segmetrics.files.extents import united
from segmetrics.files.formats import FORMATS, load_kernels, load_readers, read
from segmetrics.files.grids import Grid
from segmetrics.files.masks import Buffer, LabelMap, Reading, Stored
from segmetrics.files.meaning import VOID, to_binary
from segmetrics.files.names import printable, valid
from segmetrics.files.pairing import (
    CITYSCAPES,
    ClassFiles,
    Match,
    Pair,
    find_classes,
    find_images,
    find_pairs,
    with_instances,
)
from segmetrics.files.parts import Rows, parts, read_rows, read_thinned
from segmetrics.files.problems import KINDS, Kind, MaskError, Problem

__all__ = [
    "CITYSCAPES",
    "FORMATS",
    "KINDS",
    "VOID",
    "Buffer",
    "ClassFiles",
    "Grid",
    "Kind",
    "LabelMap",
    "MaskError",
    "Match",
    "Pair",
    "Problem",
    "Reading",
    "Rows",
    "Stored",
    "aligned",
    "check_palettes",
    "check_place",
    "find_classes",
    "find_images",
    "find_pairs",
    "load_kernels",
    "load_readers",
    "parts",
    "printable",
    "read",
    "read_rows",
    "read_thinned",
    "to_binary",
    "united",
    "valid",
    "with_aligned_scores",
    "with_instances",
]
