"""The tables of images of several models, and the one whose score is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from segmetrics.evaluate.extras import tables_of
from segmetrics.evaluate.settings import Evaluation, Settings
from segmetrics.evaluate.warnings import Warnings
from segmetrics.scores import OF_FOREGROUND, USUAL
from segmetrics.statistics import KEYS_OF_IMAGES, ImageCounts, Resampled

#: The names of the kinds of scores in keys of classes.
KINDS = {"IoU": "iou", "Dice": "dice", "Acc": "acc"}


@dataclass(frozen=True, eq=False)
class ModelScores:
    """The tables of all models, with one row per image.

    Args:
        evaluations: what was counted, by model.
        score: the score that is compared, as ``score_key`` names it.
    """

    evaluations: Mapping[str, Evaluation]
    score: str

    @cached_property
    def pixels(self) -> dict[str, ImageCounts]:
        """The counts of pixels, by model."""
        found = {name: result.images for name, result in self.evaluations.items()}
        return {name: images for name, images in found.items() if images is not None}

    @cached_property
    def of_extras(self) -> list[dict[str, Resampled]]:
        """The tables of extras, each by model."""
        tables = {
            name: [
                table
                for extra in result.settings.extras
                for table in tables_of(
                    extra, result.extras[extra.name], result.names, result.warnings
                )
            ]
            for name, result in self.evaluations.items()
        }
        every = zip(*tables.values(), strict=True)
        return [dict(zip(tables, of_models, strict=True)) for of_models in every]

    @cached_property
    def counts(self) -> dict[str, Resampled]:
        """The tables that have the score, by model."""
        for tables in self.of_extras:
            if self.score in next(iter(tables.values())).keys():  # noqa: SIM118  # a table is no mapping
                return tables
        return dict(self.pixels)

    @property
    def of_pixels(self) -> bool:
        """Whether the score is one of pixels, and not of an extra."""
        return isinstance(next(iter(self.counts.values())), ImageCounts)

    @property
    def kind(self) -> str:
        """IoU, Dice or Acc, of classes; IoU if the score is none of pixels."""
        kinds = KINDS.items() if self.of_pixels else ()
        return next((k for k, key in kinds if self.score.startswith((f"m{k}", f"{key}/"))), "IoU")

    @property
    def key(self) -> str:
        """The key of the score in the results of ``evaluate``, the inverse of ``score_key``."""
        task = next(iter(self.evaluations.values())).settings.task
        keys = OF_FOREGROUND if task == "binary" else USUAL
        return next((key for key in keys if KEYS_OF_IMAGES.get(key) == self.score), self.score)

    @property
    def of_image(self) -> str:
        """The score of a single image; of a score over images, that which it is a mean of."""
        return f"m{self.kind}_I" if self.of_pixels and "/" not in self.score else self.score

    def check_finite(self) -> None:
        """Raise for a score that is infinite: such scores have no order."""
        for name, table in self.counts.items():
            everything = torch.ones(1, len(table), dtype=torch.float64)
            if table.statistic(self.score)(everything).isinf():
                why = (
                    "a case has only one of the masks. Give --empty-distance diagonal, or a number."
                )
                if self.score == "NLL":
                    why = "of some pixel the true class has the probability 0. Compare brier."
                raise ValueError(f"--score {self.score} is infinite for {name}, as {why}")


def score_key(score: str, settings: Settings) -> str:
    """The name of a score in ``statistics.ranking``, from that or from a key of ``evaluate``.

    Raises:
        ValueError: no score has that name.
    """
    keys = {
        key: table.is_quality(key)
        for extra in settings.extras
        for table in tables_of(extra, None, (), Warnings())
        for key in table.keys()  # noqa: SIM118  # a table is no mapping
    }
    if score in keys:
        if not keys[score]:
            raise ValueError(f"--score {score}: more of it is neither better nor worse.")
        return score
    key, names = KEYS_OF_IMAGES.get(score, score), tuple(settings.space.names)
    none = torch.zeros(0, len(names), dtype=torch.int64)
    pixels = ImageCounts(none, none, none, class_names=names, ignored=settings.left_out)
    try:
        pixels.statistic(key)
    except ValueError as error:
        whole = [key for key in keys if "/" not in key]
        more = f" Or one of {', '.join(whole)}." if whole else ""
        more = more or " Other scores need --objects, --surfaces or --probabilities."
        raise ValueError(f"--score {score}: {error}{more}") from None
    return key
