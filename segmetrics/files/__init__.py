"""Files: masks on disk become label maps, and folders become pairs of them. No torch here.

``formats.py`` is the table of formats, one file each; a reader gives the ``Stored`` values and
``meaning.py`` makes labels of them. ``pairing.py`` finds which prediction belongs to which target;
``names.py`` makes names of files text.
"""

from segmetrics.files.formats import FORMATS, read
from segmetrics.files.grids import Grid
from segmetrics.files.masks import Buffer, LabelMap, Reading, Stored
from segmetrics.files.names import printable, valid
from segmetrics.files.pairing import (
    CITYSCAPES,
    Match,
    Pair,
    find_images,
    find_pairs,
    with_instances,
)
from segmetrics.files.problems import KINDS, Kind, MaskError, Problem

__all__ = [
    "CITYSCAPES",
    "FORMATS",
    "KINDS",
    "Buffer",
    "Grid",
    "Kind",
    "LabelMap",
    "MaskError",
    "Match",
    "Pair",
    "Problem",
    "Reading",
    "Stored",
    "find_images",
    "find_pairs",
    "printable",
    "read",
    "valid",
    "with_instances",
]
