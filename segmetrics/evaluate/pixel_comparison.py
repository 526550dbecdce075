"""Models by a score of their pixels, or of the surfaces, objects and probabilities of an image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from segmetrics import files, report
from segmetrics.evaluate.comparison import Comparison
from segmetrics.evaluate.examples import example_of
from segmetrics.evaluate.extras import Section
from segmetrics.evaluate.model_scores import ModelScores
from segmetrics.evaluate.models import Models
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.writing import counted
from segmetrics.labels import LabelSpace
from segmetrics.statistics import (
    ClassDifferences,
    Conventions,
    Ranking,
    Resampled,
    ScoreDifferences,
    class_differences,
    conventions,
)

#: Images where models differ most, in the report.
EXAMPLES = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelComparison(Comparison):
    """Several models by a score of ``evaluate``.

    Args:
        models: what was counted.
    """

    models: Models

    @property
    def one(self) -> Evaluation:
        """One of the evaluations, which all have the same images."""
        return next(iter(self.models.evaluations.values()))

    @cached_property
    def of_models(self) -> ModelScores:
        """The tables of images of all models."""
        return ModelScores(self.models.evaluations, self.score)

    @property
    def counts(self) -> Mapping[str, Resampled]:
        """The tables that have the score."""
        return self.of_models.counts

    @property
    def run(self) -> dict[str, float]:
        """How much was counted, and how."""
        one = self.one
        return {
            "images_scored": len(one.scored),
            "pixels": one.pixels,
            "seconds": one.seconds,
            "workers": one.workers,
        }

    def how_fast(self) -> str:
        """The amount of data, and the time it took."""
        one, models = self.one, len(self.names)
        return (
            f"{counted(models, 'model')}, {counted(len(one.scored), 'image')}, {one.pixels:,} "
            f"pixels of each counted in {one.seconds:.1f} s ({counted(one.workers, 'worker')})"
        )

    @property
    def key(self) -> str:
        """The key of the score in the results of ``evaluate``."""
        return self.of_models.key

    @property
    def of_image(self) -> str:
        """The score of a single image."""
        return self.of_models.of_image

    @cached_property
    def ranking(self) -> Ranking:
        """The models from the best to the worst."""
        self.of_models.check_finite()
        return super().ranking

    @cached_property
    def conventions(self) -> Conventions | None:
        """A score of pixels under every treatment of absent classes and empty images."""
        if not self.of_models.of_pixels:
            return None
        return conventions(self.ordered(self.of_models.pixels), self.of_models.kind)

    @cached_property
    def differences(self) -> ClassDifferences | None:
        """The classes of all models, less those of the best model."""
        return class_differences(
            self.ordered(self.of_models.pixels),
            self.names[0],
            self.of_models.kind,
            level=self.level,
            groups=self.drawn,
        )

    @cached_property
    def scores(self) -> ScoreDifferences | None:
        """The scores of the extras of all models, less those of the best model."""
        found = [self.score_differences(tables) for tables in self.of_models.of_extras]
        rows = tuple(row for differences in found for row in differences.rows)
        return replace(found[0], rows=rows) if found else None

    @cached_property
    def sections(self) -> list[Section]:
        """What evaluate shows of the extras of the best model: which scores, and notes on them."""
        best = self.models.evaluations[self.names[0]]
        return [
            section
            for extra in best.settings.extras
            for section in extra.sections(best.extras[extra.name], best, None)
        ]

    @property
    def printed_scores(self) -> Collection[str]:
        """The scores of extras that evaluate prints."""
        return {key for section in self.sections for key in section.scores}

    @property
    def notes_of_scores(self) -> Sequence[str]:
        """What evaluate says of these."""
        return [note for section in self.sections for note in section.notes]

    @property
    def space(self) -> LabelSpace | None:
        """The classes of the examples."""
        return BINARY if self.one.settings.task == "binary" else self.one.settings.space

    def examples(self, folder: Path | None) -> Iterator[Mapping[str, report.Example]]:
        """The images on which models differ most, with all predictions."""
        if self.one.settings.task == "multilabel":
            return  # an example is one label map
        chosen = self.most_different()[:EXAMPLES]
        images = files.find_images(folder, [image for image, _ in chosen]) if folder else {}
        for image, scores in chosen:
            found = {
                name: example_of(self.models.evaluations[name], image, value, images.get(image))
                for name, value in scores.items()
            }
            shown = {name: example for name, example in found.items() if example is not None}
            if len(shown) == len(found):
                yield shown
