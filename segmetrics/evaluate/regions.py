"""``--region-channels``: predictions have a channel for each region, and regions may overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from segmetrics.counting import Counting
from segmetrics.counting.codes import IGNORED, target_codes, to_int64
from segmetrics.evaluate.unknown import unknown_labels
from segmetrics.files import VOID, LabelMap, Pair
from segmetrics.labels import LabelSpace

if TYPE_CHECKING:
    from segmetrics.evaluate.settings import Settings


@dataclass(frozen=True)
class Regions:
    """Sets of classes of the targets' label maps, each scored as one mask.

    Args:
        space: what values of targets mean.
        classes: the classes of each region, in the order of the predictions' channels.
    """

    space: LabelSpace
    classes: Mapping[str, tuple[int, ...]]

    def describe(self) -> dict[str, object]:
        """The settings that affect the counts, in JSON."""
        mapped = sorted((self.space.id_to_class or {}).items())
        return {
            "regions": {name: list(classes) for name, classes in self.classes.items()},
            "values of regions": [self.space.num_classes, list(self.space.ignore_index), mapped],
        }

    def masks(
        self, preds: LabelMap, target: LabelMap, pair: Pair, *, logits: bool
    ) -> Iterator[tuple[str, LabelMap, LabelMap]]:
        """The binary masks of one region after the other.

        Raises:
            MaskError: the target holds values that are neither a class nor ignored.
        """
        assert preds.scores is not None
        counting = Counting.of(self.space, input_format="index")
        codes = target_codes(to_int64(target.values), counting)
        if codes.max(initial=0) > counting.labels + IGNORED:
            raise unknown_labels(preds, target, pair, counting)
        channels = preds.scores.reshape(len(self.classes), *codes.shape)
        for (name, classes), scores in zip(self.classes.items(), channels, strict=True):
            values = np.zeros(counting.labels + IGNORED + 1, np.uint8)
            values[list(classes)], values[counting.labels + IGNORED] = 1, VOID
            predicted = (scores > (0 if logits else 0.5)).view(np.uint8)
            yield (
                name,
                preds._replace(values=predicted, scores=scores),
                target._replace(values=values[codes]),
            )


def of_regions(settings: Settings, regions: Mapping[str, tuple[int, ...]]) -> Settings:
    """The settings of masks of one region each, instead of label maps.

    Raises:
        ValueError: options that contradict each other, or no regions.
    """
    if settings.task != "multiclass":
        raise ValueError("--region-channels applies to regions of label maps. Leave it out.")
    if not settings.background:
        raise ValueError("--no-background: regions have no class 0 in means. Leave it out.")
    if not regions:
        raise ValueError(
            "--region-channels needs regions: those of --labels FILE, such as nnU-Net's "
            "dataset.json, or --region NAME=CLASSES."
        )
    return replace(
        settings,
        space=LabelSpace(list(regions)),
        task="multilabel",
        regions=Regions(settings.space, regions),
    )
