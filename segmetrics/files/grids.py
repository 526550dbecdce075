"""Grids: where the voxels of a volume lie in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: ``affine (4, 4)`` maps indices of the array's axes to RAS+ millimetres."""

    affine: NDArray[np.float64]
