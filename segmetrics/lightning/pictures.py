"""Drawing the confusion matrix and the worst images of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segmetrics.counting import Counting, plain
from segmetrics.counting.inputs import read
from segmetrics.labels import LabelSpace
from segmetrics.overlays import Picture, errors, overlay
from segmetrics.plotting import heat_map
from segmetrics.report import Example

GAP = 4  # white pixels between the pictures of an image


def label_maps(preds: Tensor, target: Tensor, counting: Counting) -> Tensor:
    """Target and prediction of one image as they are counted, ``(2, ...)`` of class indices.

    -1 marks no class: ignored in the target, abstained in the prediction.
    """
    pixels = read(preds, target, counting)
    shape = (1, 1, *pixels.target.shape[2:])
    maps = torch.full((2, *shape), -1, device=target.device)
    for box in plain.boxes(pixels, counting):
        for label_map, codes in zip(maps, plain.codes_of(pixels, box, counting), strict=True):
            label_map[box] = codes.where(codes < counting.labels, -1)
    return maps[:, 0, 0]


def confusion_picture(matrix: Tensor, names: Sequence[str]) -> Picture:
    """A confusion matrix as a heat map."""
    return drawn_figure(heat_map(matrix, names, title="confusion matrix")[0])


def drawn_figure(figure: Any) -> Picture:
    """The pixels of a matplotlib figure, which is closed."""
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # whichever backend the user's figures have
    canvas.draw()
    picture: Picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


def example_picture(example: Example, space: LabelSpace) -> Picture:
    """Image, target, prediction and errors in one row."""
    image, target, preds = example.image, example.target, example.preds
    assert image is not None
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    return np.hstack(
        [
            *(image, gap, overlay(image, target, space)),
            *(gap, overlay(image, preds, space)),
            *(gap, errors(preds, target, target < 0, image)),
        ]
    )
