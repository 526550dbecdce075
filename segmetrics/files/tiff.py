"""TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from segmetrics.files.images import check_mode
from segmetrics.files.masks import Buffer, Reading, Stored


def read_tiff(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """The pages of a TIFF: one is an image, several are a volume."""
    with Image.open(path) as image:
        pages = []
        for page in ImageSequence.Iterator(image):
            check_mode(path, page.mode)
            pages.append(np.asarray(page))
    return Stored(pages[0] if len(pages) == 1 else np.stack(pages))
