"""The share of FCN-ResNet50's validation time that goes to the metric."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.segmentation import fcn_resnet50

from benchmarks.cases import Case
from benchmarks.contenders import segmetrics, torchmetrics_jaccard
from benchmarks.timing import interleaved

CLASSES = 21


def validation_share(device: str, *, batch: int, side: int, rounds: int) -> dict[str, float]:
    """Median seconds of a batch through the network and of each metric's update.

    ``network to the head`` leaves out the network's own upsampling, which
    ``segmetrics, upsample`` makes unnecessary.
    """
    torch.manual_seed(0)
    network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
    network = network.eval().to(device)
    images = torch.randn(batch, 3, side, side, device=device)

    @torch.inference_mode()
    def whole() -> Tensor:
        out: Tensor = network(images)["out"]
        return out

    @torch.inference_mode()
    def to_the_head() -> Tensor:
        out: Tensor = network.classifier(network.backbone(images)["out"])
        return out

    full = Case("logits fp32", CLASSES, (batch, side, side))
    eighth = Case("logits fp32 at 1/8", CLASSES, (batch, side, side))
    _, target = full.inputs(device)
    logits, low_logits = whole(), to_the_head()
    steps = {
        "network": whole,
        "network to the head": to_the_head,
        "torchmetrics": torchmetrics_jaccard(full, logits, target),
        "segmetrics": segmetrics(full, logits, target),
        "segmetrics, upsample": segmetrics(eighth, low_logits, target),
    }
    return interleaved(logits.sum, steps, device=device, rounds=rounds).contenders


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Each metric's share of network and metric together."""
    network, head = seconds["network"], seconds["network to the head"]
    return {
        name: seconds[name] / (seconds[name] + (head if name.endswith("upsample") else network))
        for name in ("torchmetrics", "segmetrics", "segmetrics, upsample")
    }
