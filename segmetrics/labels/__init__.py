"""The meaning of mask values: classes, names, colours, ignored values, groups and regions.

Metrics take a :class:`LabelSpace` as ``num_classes``: ``MeanIoU(labels.VOC)``. Those of PASCAL VOC
2012, Cityscapes and ADE20K are here; others are read from YAML or JSON.
"""

from segmetrics.labels.checks import Color
from segmetrics.labels.datasets import (
    ADE20K,
    ADE20K_VOID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    CITYSCAPES_VOID,
    VOC,
    VOC_VOID,
)
from segmetrics.labels.files import gives_colors
from segmetrics.labels.space import LabelSpace, palette

__all__ = [
    "ADE20K",
    "ADE20K_VOID",
    "CITYSCAPES",
    "CITYSCAPES_TRAIN_IDS",
    "CITYSCAPES_VOID",
    "VOC",
    "VOC_VOID",
    "Color",
    "LabelSpace",
    "gives_colors",
    "palette",
]
