"""Scores of subgroups of the images, and whether they differ by more than chance."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor

from segmetrics.statistics.bootstrap import Bootstrap, share_as_extreme
from segmetrics.statistics.intervals import Interval, confidence_interval, printed, sample
from segmetrics.statistics.pairing import Groups, canonical_order, groups_of, sort_key
from segmetrics.statistics.resampled import PerImage, Resampled, table_of
from segmetrics.statistics.tables import Tabular, layout, native, read_columns
from segmetrics.statistics.weighting import Statistic

#: Intervals of fewer images (or groups of images) are too narrow, so such slices are marked.
SMALL = 30


@dataclass(frozen=True)
class Slices(Tabular):
    """Scores of subgroups; prints as a table, and as a table has one row a subgroup.

    Names follow fairlearn's ``MetricFrame``. ``by`` are the names of the columns of metadata.
    ``by_group`` has the interval of every value, or of every tuple of values if several columns are
    crossed. ``difference`` is that between the best and the ``worst`` group, ``ratio`` the lowest
    score over the highest; groups without a score are in neither. ``p_value`` is the probability
    that random groups of these sizes differ at least as much. ``small`` are the groups of fewer
    than 30 images, whose intervals are too narrow.
    """

    score: str
    by: tuple[str, ...]
    overall: Interval
    by_group: Mapping[Hashable, Interval]
    difference: float
    ratio: float
    worst: Hashable
    p_value: float
    small: tuple[Hashable, ...]

    def columns(self) -> dict[str, list[Any]]:
        """One row a group."""
        keys = [_key(label, len(self.by)) for label in self.by_group]
        columns: dict[str, list[Any]] = {
            name: [key[i] for key in keys] for i, name in enumerate(self.by)
        }
        columns["images"] = [interval.images for interval in self.by_group.values()]
        for name in ("estimate", "low", "high"):
            columns[name] = [getattr(interval, name) for interval in self.by_group.values()]
        columns["small"] = [label in self.small for label in self.by_group]
        return columns

    def __str__(self) -> str:
        rows = [*self.by_group.values(), self.overall]
        keys = [_key(label, len(self.by)) for label in self.by_group]
        keys.append(("all", *[""] * (len(self.by) - 1)))
        what = printed(self.score)
        table = layout(
            {
                **{name: [_text(key[i]) for key in keys] for i, name in enumerate(self.by)},
                "images": [str(row.images) for row in rows],
                what: [f"{row.estimate:.3f}" for row in rows],
                "interval": [
                    f"[{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else "–"
                    for row in rows
                ],
                "": ["few images" if label in self.small else "" for label in self.by_group] + [""],
            },
            right=("images", what),
        )
        worst = ", ".join(_text(part) for part in _key(self.worst, len(self.by)))
        level, images, groups = self.overall.level, self.overall.images, self.overall.groups
        return (
            f"{what} by {' and '.join(self.by)} ({sample(level, images, groups)})\n{table}\n"
            f"difference {self.difference:.3f}, ratio {self.ratio:.3f}, worst: {worst}, "
            f"p = {self.p_value:.2g} (permutation)"
        )


def slices(
    counts: PerImage,
    by: object,
    score: str = "mIoU_D",
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> Slices:
    """Score subgroups of the images, and test whether they differ by more than chance.

    The p-value is from a permutation test: the share of permutations of the images' labels for
    which the difference between the best and the worst group is at least as large, the original
    labels included. Small groups differ much by chance and weaken the test: merge them where that
    makes sense.

    Args:
        counts: an ``ImageScores``, its ``image_counts()`` or another table with one row an image
            (``Resampled``).
        by: the metadata that split the images.

            - a mapping from image id to a value; tuples as values cross several properties.
            - a data frame (pandas, polars, or any other with the Arrow PyCapsule interface) with
              the ids in a column, or an index, named ``image``. All other columns are crossed, so
              select the columns first.
            - for images without ids a column or a sequence, or a data frame without ``image``, in
              the order of the images.

            Every image needs a row; rows of images that were not scored raise a warning. A missing
            value (None, nan) is a group of its own.
        score: as in ``confidence_interval``.
        level: the coverage of each interval.
        n_resamples: number of bootstrap resamples, and of permutations.
        groups: the patient or video sequence of each image, as in ``confidence_interval``. Groups
            are resampled and permuted as a whole. If a patient is in several subgroups, labels are
            permuted within patients.
        seed: the seed of resamples and permutations.

    Raises:
        TypeError: metadata without ids for images with ids, or the reverse.
        ValueError: images without metadata, fewer than two groups, or a group for every image.

    Warns:
        UserWarning: metadata of images that were not scored.

    Source: Weerts et al., "Fairlearn", JMLR 24 (2023) for the vocabulary; Davison and Hinkley,
    *Bootstrap Methods and their Application* (1997), section 4.3 for permutation tests.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import ImageCounts
        >>> tp = torch.tensor([[80], [90], [85], [60], [55], [50], [88], [58]])
        >>> scores = ImageCounts(tp, 0 * tp, 100 - tp)
        >>> scanner = ["new", "new", "new", "old", "old", "old", "new", "old"]
        >>> print(slices(scores, scanner, "mIoU_I"))
        mIoU_I by group (95 %, 8 images)
        group  images  mIoU_I  interval
        new         4   0.857  [0.820, 0.890]  few images
        old         4   0.557  [0.520, 0.590]  few images
        all         8   0.708  [0.599, 0.814]
        difference 0.300, ratio 0.650, worst: old, p = 0.035 (permutation)
    """
    images = table_of(counts, "counts")
    overall = confidence_interval(
        images, score, level=level, n_resamples=n_resamples, groups=groups, seed=seed
    )
    names, labels = _labels(images, by)
    members: dict[Hashable, list[int]] = {}
    for image in sorted(range(len(labels)), key=lambda i: _order(labels[i])):
        members.setdefault(labels[image], []).append(image)
    if len(members) < 2:
        raise ValueError(
            f"`by` must split the images into at least two groups, but all {len(images)} are "
            f"{labels[0]!r}."
        )
    if len(members) == len(images) > 2:
        raise ValueError(
            f"`by` has another value for every one of the {len(images)} images. Cut continuous "
            "values into ranges first."
        )
    unit = range(len(images)) if groups is None else groups_of(images, groups)
    by_group, small = {}, []
    for label, those in members.items():
        units = [unit[image] for image in those]
        if len(set(units)) < SMALL:
            small.append(label)
        # images without ids have their groups in their own order
        within = groups if groups is None or images.ids is not None else units
        some = images.images(torch.tensor(those))
        if len(set(units)) > 1:
            by_group[label] = confidence_interval(
                some, score, level=level, n_resamples=n_resamples, groups=within, seed=seed
            )
        else:
            by_group[label] = _without_interval(some, score, level, grouped=groups is not None)
    order = canonical_order(images)
    bootstrap = Bootstrap.of(images, order, groups, level, "percentile", n_resamples, seed)
    place = {label: i for i, label in enumerate(members)}
    member = torch.tensor([place[label] for label in labels])[order]
    differences = _permuted_differences(
        bootstrap, member, len(members), images.images(order).statistic(score)
    )
    scores = {label: i.estimate for label, i in by_group.items() if i.estimate == i.estimate}
    end_of = min if images.higher_is_better(score) else max
    worst = end_of(scores, key=scores.__getitem__, default=None)
    least, largest = (end(scores.values(), default=nan) for end in (min, max))
    return Slices(
        score=score,
        by=names,
        overall=overall,
        by_group=by_group,
        difference=largest - least,
        ratio=least / largest if largest else nan,
        worst=worst,
        p_value=share_as_extreme(differences, largest - least, sampled=True),
        small=tuple(small),
    )


def _without_interval(images: Resampled, score: str, level: float, *, grouped: bool) -> Interval:
    """The score of a single image, or of a single group of images, without an interval."""
    everything = torch.ones(1, len(images), dtype=torch.float64)
    value = images.statistic(score)(everything).item()
    groups = 1 if grouped else None
    return Interval(score, value, nan, nan, level, "percentile", len(images), groups)


def _permuted_differences(
    bootstrap: Bootstrap, member: Tensor, groups: int, score: Statistic
) -> Tensor:
    """The difference between the best and the worst group for every permutation of labels."""
    found = []
    for permuted in _permutations(bootstrap, member):
        scores = torch.stack([score((permuted == group).double()) for group in range(groups)], 1)
        undefined = scores.isnan()
        best = scores.masked_fill(undefined, -torch.inf).amax(1)
        found.append(best - scores.masked_fill(undefined, torch.inf).amin(1))
    return torch.cat(found)


def _permutations(bootstrap: Bootstrap, member: Tensor) -> Iterator[Tensor]:
    """Permuted labels ``(B, N)``: of whole units, or within units that have several labels."""
    unit, units = bootstrap.unit, bootstrap.units
    of_unit = torch.zeros(units, dtype=member.dtype).index_put_((unit,), member)
    whole = bool((of_unit[unit] == member).all())
    by_unit = unit.argsort(stable=True)
    generator = torch.Generator().manual_seed(bootstrap.seed)
    for block in bootstrap.blocks(bootstrap.n_resamples):
        shape = (len(block), units if whole else len(unit))
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
        if whole:
            yield of_unit[drawn.argsort(1)][:, unit]
        else:
            labels = torch.empty(shape, dtype=member.dtype)
            labels[:, by_unit] = member[(unit + drawn).argsort(1)]
            yield labels


# --- Metadata -------------------------------------------------------------------------------------


def _labels(counts: Resampled, by: object) -> tuple[tuple[str, ...], list[Hashable]]:
    """The names of the columns, and the label of every image."""
    names: tuple[str, ...] = ("group",)
    if isinstance(name := getattr(by, "name", None), str) and name:
        names = (name,)  # of a Series
    by = _plain(by, with_ids=counts.ids is not None)
    columns = None if isinstance(by, Mapping | Sequence) else read_columns(by)
    if columns is not None:
        names, by = _by_image(columns, counts)
    if isinstance(by, Mapping):
        if counts.ids is None:
            raise TypeError(
                "`by` names images, but the images have no ids. Pass `image_ids` to `update`, or "
                "one value an image."
            )
        if missing := [image for image in counts.ids if image not in by]:
            raise ValueError(
                f"`by` lacks {len(missing)} of {len(counts)} images, among them {missing[:3]}."
            )
        scored = set(counts.ids)
        if extra := [image for image in by if image not in scored]:
            warnings.warn(
                f"`by` names {len(extra)} images that were not scored, among them {extra[:3]}.",
                UserWarning,
                stacklevel=3,
            )
        by = [by[image] for image in counts.ids]
        return _crossed(names, by)
    if not isinstance(by, Sequence) or isinstance(by, str):
        raise TypeError(
            "`by` must be a mapping from image id to value, a data frame or one value an image, "
            f"got {type(by).__name__}."
        )
    if counts.ids is not None:
        raise TypeError(
            "`by` must say which image a value belongs to where images have ids, since their order "
            "is not that of the data set. Pass a mapping, or a data frame with a column `image`."
        )
    if len(by) != len(counts):
        raise ValueError(f"`by` must be {len(counts)} long, as images, got {len(by)}.")
    return _crossed(names, list(by))


def _plain(by: Any, *, with_ids: bool) -> Any:
    """A column as a list, or a pandas Series as a mapping if the images have ids."""
    if isinstance(by, Mapping) or hasattr(by, "columns"):
        return by
    if hasattr(by, "index") and hasattr(by, "items"):
        return dict(by.items()) if with_ids else list(by)
    for name in ("to_list", "tolist"):
        if hasattr(by, name):
            return getattr(by, name)()
    return by


def _by_image(
    columns: dict[str, list[Any]], counts: Resampled
) -> tuple[tuple[str, ...], dict[Any, Any] | list[Any]]:
    """A data frame as a mapping from image id, or as a list of values without ids."""
    ids = columns.pop("image", None)
    if not columns:
        raise ValueError("`by` must have a column to split by, beyond `image`.")
    if counts.ids is not None and ids is None:
        raise TypeError(
            "`by` must have the ids of the images in a column named `image`, it has "
            f"{', '.join(columns)}."
        )
    values = list(columns.values())
    rows: list[Any] = values[0] if len(values) == 1 else list(zip(*values, strict=True))
    if ids is None:
        return tuple(columns), rows
    if twice := len(ids) - len(set(ids)):
        raise ValueError(f"`by` must have one row an image, but {twice} rows repeat an image.")
    return tuple(columns), dict(zip(ids, rows, strict=True))


def _crossed(names: tuple[str, ...], values: list[Any]) -> tuple[tuple[str, ...], list[Hashable]]:
    """Values as labels, missing ones as None. Tuples have one value a column."""
    labels = [
        tuple(native(part) for part in value) if isinstance(value, tuple) else native(value)
        for value in values
    ]
    lengths = {len(label) if isinstance(label, tuple) else 0 for label in labels}
    if len(lengths) > 1:
        raise ValueError("`by` must have a tuple of one length for every image, or for none.")
    length = lengths.pop()
    if length and length != len(names):
        names = tuple(f"group {i + 1}" for i in range(length))
    return names, labels


def _key(label: Hashable, columns: int) -> tuple[Any, ...]:
    """A label as the values of its columns."""
    return label if columns > 1 and isinstance(label, tuple) else (label,)


def _order(label: Hashable) -> tuple[Any, ...]:
    parts = label if isinstance(label, tuple) else (label,)
    return tuple(sort_key(part) if part is not None else ("~",) for part in parts)


def _text(value: object) -> str:
    return "(none)" if value is None else str(value)
