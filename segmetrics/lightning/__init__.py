"""Lightning: a callback that logs scores, the confusion matrix and the worst images of an epoch."""

from segmetrics.lightning.callback import Pick, SegmentationCallback

__all__ = ["Pick", "SegmentationCallback"]
