"""Warnings about counts that can be scored but look wrong, with the probable cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from segmetrics.counting.sparse import SparseMatrix
from segmetrics.evaluate.counter import RAMPS, UNCOUNTED, ZEROS, Int64Array
from segmetrics.evaluate.ledger import Ledger
from segmetrics.evaluate.settings import Settings
from segmetrics.files import Pair

#: Files that a warning lists.
SHOWN = 3
#: Mean accuracy and factor from which predictions are far better under another meaning.
GOOD, FAR_BETTER = 0.5, 2
SAME_VALUES = (
    "Do predictions and targets hold the same values? Labels that begin at 0 in one folder and at "
    "1 in the other look like this, and indices of classes among ids (--preds-are-classes)."
)


def missing_predictions(pairs: Sequence[Pair]) -> list[str]:
    """``pair/class`` of classes without a prediction, where each has its own file."""
    return [
        f"{pair.name}/{masks.name}"
        for pair in pairs
        for masks in pair.classes
        if masks.preds is None
    ]


def implausible(settings: Settings, pairs: Sequence[Pair], counted: Ledger) -> Iterator[str]:
    """Warnings about the counts of pairs.

    Raises:
        ValueError: nothing but options says that a value does not count, and without it every
            target is empty: it is probably the foreground.
    """
    sums, confusion = counted.sums, counted.confusion
    hits, predicted, target = counted.layout.marginals(confusion)
    foreground = target if settings.task == "multilabel" else target[1:]
    yield from _of_missing(pairs)
    if settings.task == "binary" or (settings.task == "multiclass" and len(target) == 2):
        yield from _of_files_of_classes(pairs)
    if sums[UNCOUNTED] and target.any() and not foreground.any():
        yield from _of_lost_foreground(settings)
    if settings.task == "binary" and target[1] and not predicted[1]:
        yield from _of_abstentions(settings, int(target.sum() - predicted.sum()))
    if sums[ZEROS]:
        yield (
            "--ignore-index 0 leaves out every pixel whose target is 0, and all false alarms "
            "there. To leave class 0 out of means only: --no-background."
        )
    if sums[RAMPS]:
        masks = "1 mask holds" if sums[RAMPS] == 1 else f"{sums[RAMPS]:,} masks hold"
        yield (
            f"{masks} values between 0 and the largest, and all count as foreground. Resized by "
            "interpolation? Resize masks by nearest neighbour. Probabilities? Write masks by a "
            "threshold."
        )
    if settings.task == "multilabel":
        if predicted.any() and target.any() and not hits.any():
            yield "Not a single pixel of any class is right. Do both folders name classes alike?"
    elif target.any():
        yield from _of_confusion(settings, confusion)


def _of_missing(pairs: Sequence[Pair]) -> Iterator[str]:
    if missing := missing_predictions(pairs):
        shown = ", ".join(missing[:SHOWN])
        more = f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else ""
        what = "1 prediction is" if len(missing) == 1 else f"{len(missing):,} predictions are"
        yield f"{what} missing and scored as empty masks: {shown}{more}."


def _of_files_of_classes(pairs: Sequence[Pair]) -> Iterator[str]:
    """Whether binary masks are named as classes, several in the folder of each case."""
    classes: defaultdict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        case, _, name = pair.name.rpartition("/")
        classes[case].add(name)
    every = set[str]().union(*classes.values())
    named = all(not any(map(str.isdigit, name)) for name in every)
    repeated = all(len(some) > 1 and 2 * len(some) > len(every) for some in classes.values())
    if named and repeated and "" not in classes:
        shown = ", ".join(pair.name for pair in pairs[:SHOWN])
        yield (
            f"All files count as one class. Are they masks of one class each ({shown})? Then give "
            "--match '{key}/{class}' '{key}/{class}'."
        )


def _of_lost_foreground(settings: Settings) -> Iterator[str]:
    ignored = [value for value in settings.space.ignore_index if value]
    if not ignored or (settings.counting.ids and settings.task == "multiclass"):
        return
    values = " or ".join(map(str, ignored))
    lost = f"every target pixel is background or {values}, which does not count"
    if settings.task == "multilabel":
        fix = f"If {values} is the foreground, leave out --ignore-index"
    else:
        fix = (
            f"If {values} is the foreground, the scores have lost it: give --binary and no "
            "--ignore-index"
        )
    numbered = tuple(map(str, range(settings.space.num_classes)))
    if settings.task != "multiclass" or settings.space.names == numbered:
        raise ValueError(
            f"{lost}. {fix}. If it marks void pixels, no target has a foreground: to score them "
            "all the same, name classes and `ignore_index` in a file for --labels."
        )
    yield f"{lost[0].upper()}{lost[1:]}. {fix}."


def _of_abstentions(settings: Settings, abstained: int) -> Iterator[str]:
    if abstained:
        values = " or ".join(map(str, settings.space.ignore_index))
        yield (
            f"No pixel is predicted as foreground, but {abstained:,} as {values}, which does not "
            "count. Is that the predictions' foreground? Then they need another value for it."
        )


def _of_confusion(settings: Settings, confusion: Int64Array | SparseMatrix) -> Iterator[str]:
    """Whether predictions would be far better if their values meant something else."""
    target = confusion.sum(1)
    recall = _mean_recall(confusion.diagonal(), target)
    for meaning, class_of_column in _other_meanings(settings):
        hits = np.zeros(len(target), np.int64)
        pairs = [(c, column) for column, c in enumerate(class_of_column) if c is not None]
        rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
        np.add.at(hits, rows, confusion[rows, columns])
        other = _mean_recall(hits, target)
        if np.count_nonzero(hits) > 1 and other >= GOOD and other > FAR_BETTER * recall:
            yield f"Mean accuracy is {recall:.3f}. It would be at least {other:.3f} {meaning}"
            return
    number = int(target.sum())
    accuracy = int(confusion.diagonal().sum()) / number
    chance = float((target / number) @ (confusion.sum(0)[:-1] / number))
    if not accuracy or accuracy < chance / FAR_BETTER:
        what = f"Pixel accuracy is {accuracy:.3f}, chance alone would give {chance:.3f}"
        yield f"{what if accuracy else 'Not a single pixel is right'}. {SAME_VALUES}"


def _mean_recall(hits: Int64Array, target: Int64Array) -> float:
    there = target > 0
    return float((hits[there] / target[there]).mean())


def _other_meanings(settings: Settings) -> Iterator[tuple[str, list[int | None]]]:
    """Other meanings of predicted values, and the class of each column under them."""
    counting, number = settings.counting, settings.counting.labels
    if counting.ids and settings.task == "multiclass":
        columns: list[int | None] = [None] * number
        for value, c in zip(counting.ids, counting.classes_of_ids, strict=True):
            column, meant = (c, value) if counting.map_preds else (value, c)
            if 0 <= column < number and 0 <= meant < number:
                columns[column] = meant
        if counting.map_preds:
            yield "if predictions held indices of classes: --preds-are-classes.", columns
        else:
            yield "if predictions held ids as targets do, without --preds-are-classes.", columns
    elif number == 2:
        yield "with 0 and 1 swapped: is one of the folders inverted?", [1, 0]
    else:
        hint = "Do labels begin at 0 in one folder and at 1 in the other?"
        classes = list(range(number))
        yield f"if predicted values were larger by one. {hint}", [*classes[1:], None]
        yield f"if predicted values were smaller by one. {hint}", [None, *classes[:-1]]
