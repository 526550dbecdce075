"""NIfTI, read by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segmetrics.files.masks import Buffer, Reading, Stored
from segmetrics.files.problems import MaskError


def read_nifti(path: Path, _: Reading, buffer: Buffer) -> Stored:
    """A volume."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(
            f"{path}: NIfTI needs nibabel. Install it with `pip install segmetrics[medical]`."
        ) from error
    volume: Any = nibabel.load(path)
    if volume.get_data_dtype().fields:
        raise MaskError("channels", path, "colours")
    values = np.asarray(volume.dataobj)
    return Stored(values.squeeze(-1) if values.ndim == 4 and values.shape[-1] == 1 else values)
