"""Links into the documentation of torch and torchmetrics, without asking the network.

Sphinx's intersphinx reads an inventory: which name stands on which page. Those of torch and
torchmetrics are large and far away, so the names that our pages link are listed here, and written
as inventories when the site is built. A test looks that every name exists.
"""

from __future__ import annotations

import zlib
from pathlib import Path

TORCH = "https://docs.pytorch.org/docs/stable/"
TORCHMETRICS = "https://lightning.ai/docs/torchmetrics/stable/"
#: Site → page → names on it. ``$`` in a page stands for the name.
NAMES = {
    TORCH: {
        "tensors.html": ["torch.Tensor"],
        "data.html": [
            "torch.utils.data.DataLoader",
            "torch.utils.data.distributed.DistributedSampler",
        ],
        "distributed.html": ["torch.distributed.all_reduce"],
        "generated/$.html": [
            "torch.compile",
            "torch.inference_mode",
            "torch.nn.functional.interpolate",
            "torch.nn.Module",
            "torch.nn.parallel.DistributedDataParallel",
        ],
    },
    TORCHMETRICS: {
        "references/metric.html": ["torchmetrics.Metric"],
        "pages/overview.html": ["torchmetrics.MetricCollection"],
        "classification/jaccard_index.html": ["torchmetrics.JaccardIndex"],
        "classification/calibration_error.html": ["torchmetrics.CalibrationError"],
        "segmentation/mean_iou.html": ["torchmetrics.segmentation.MeanIoU"],
        "segmentation/dice.html": ["torchmetrics.segmentation.DiceScore"],
        "segmentation/generalized_dice.html": ["torchmetrics.segmentation.GeneralizedDiceScore"],
        "segmentation/hausdorff_distance.html": ["torchmetrics.segmentation.HausdorffDistance"],
        "detection/panoptic_quality.html": ["torchmetrics.detection.PanopticQuality"],
    },
}
FUNCTIONS = {"torch.compile", "torch.distributed.all_reduce", "torch.nn.functional.interpolate"}


def mapping(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventories, and say which site has which."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for site, pages in NAMES.items():
        name = "torchmetrics" if "torchmetrics" in site else "torch"
        path = folder / f"{name}.inv"
        path.write_bytes(inventory(name, pages))
        found[name] = (site, str(path))
    return found


def inventory(project: str, pages: dict[str, list[str]]) -> bytes:
    """An ``objects.inv``, version 2."""
    lines = [
        f"{name} py:{'function' if name in FUNCTIONS else 'class'} 1 {page.replace('$', name)}#$ -"
        for page, names in pages.items()
        for name in names
    ]
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    return head.encode() + zlib.compress("\n".join([*lines, ""]).encode())
