"""Rankings of several models on the same images, and their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, isinf
from typing import Any, Literal

import torch
from torch import Tensor

from segmetrics._arguments import one_of
from segmetrics.statistics.bootstrap import Bootstrap, share_as_extreme
from segmetrics.statistics.intervals import printed, sample
from segmetrics.statistics.pairing import Groups, canonical_order, paired
from segmetrics.statistics.resampled import PerImage, Resampled, table_of
from segmetrics.statistics.tables import Table, Tabular, layout
from segmetrics.statistics.weighting import Statistic, Sums, mean_of

RankingMethod = Literal["mean-then-rank", "rank-then-mean"]

EQUAL = 1e-12  # smaller differences of scores are rounding errors


@dataclass(frozen=True)
class RankedModel:
    """A model in a ranking.

    ``value`` is its score, or its mean rank; ``low`` and ``high`` hold for all models at once.
    ``rank`` is its rank by value; models with equal values share the better rank. ``best`` and
    ``worst`` are the ranks that the tests leave open: one more than the number of models that are
    significantly better, and the number of models less those that are significantly worse.
    ``level_with`` are the models from which it does not differ significantly. ``rank_shares`` are
    the shares of the resamples in which it has rank 1, 2, ...
    """

    name: str
    value: float
    low: float
    high: float
    rank: int
    best: int
    worst: int
    level_with: tuple[str, ...]
    rank_shares: tuple[float, ...]


@dataclass(frozen=True)
class ModelPair:
    """Two models of a ranking, the better one first.

    ``difference`` is ``a − b`` of the values; ``low`` and ``high`` hold for all pairs at once.
    ``p`` is the p-value of this pair alone, ``p_holm`` is adjusted for all pairs.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    significant: bool


@dataclass(frozen=True)
class Ranking(Tabular):
    """Models from the best to the worst; prints as a table, and as a table has one row a model.

    ``tau``, ``tau_low`` and ``tau_high`` are the mean and the central share ``level`` of Kendall's
    tau-b between this ranking and that of each resample: 1 if all resamples give the same ranking.
    """

    score: str
    method: RankingMethod
    level: float
    models: tuple[RankedModel, ...]
    pairs: tuple[ModelPair, ...]
    tau: float
    tau_low: float
    tau_high: float
    images: int
    groups: int | None = None

    def columns(self) -> dict[str, list[Any]]:
        """One row a model, the best first; ``rank_1`` and so on are shares of the resamples."""
        names = ("rank", "name", "value", "low", "high", "best", "worst")
        columns = {name: [getattr(model, name) for model in self.models] for name in names}
        columns["model"] = columns.pop("name")
        columns["level_with"] = [", ".join(model.level_with) for model in self.models]
        for place in range(len(self.models)):
            columns[f"rank_{place + 1}"] = [model.rank_shares[place] for model in self.models]
        return columns

    def by_pair(self) -> Table:
        """One row a pair of models."""
        names = ("a", "b", "difference", "low", "high", "p", "p_holm", "significant")
        return Table({name: [getattr(pair, name) for pair in self.pairs] for name in names})

    def __str__(self) -> str:
        ranks = self.method == "rank-then-mean"
        value = "mean rank" if ranks else printed(self.score)
        digits = 2 if ranks else 3
        table = layout(
            {
                "rank": [str(model.rank) for model in self.models],
                "model": [model.name for model in self.models],
                value: [f"{model.value:.{digits}f}" for model in self.models],
                "interval": [
                    f"[{model.low:.{digits}f}, {model.high:.{digits}f}]" for model in self.models
                ],
                "place": [
                    f"{model.best}" if model.best == model.worst else f"{model.best}–{model.worst}"
                    for model in self.models
                ],
                "held": [
                    f"{100 * model.rank_shares[model.rank - 1]:.0f} %" for model in self.models
                ],
                "level with": [_listed(model.level_with) for model in self.models],
            },
            right=("rank", value, "held"),
        )
        what = f"ranks of the images by {printed(self.score)}" if ranks else printed(self.score)
        return (
            f"{what} of {len(self.models)} models "
            f"({sample(self.level, self.images, self.groups)})\n{table}\n"
            f"intervals: for all models at once; held: share of resamples with that rank\n"
            f"place, level with: sign flips, Holm over {len(self.pairs)} "
            f"{'pair' if len(self.pairs) == 1 else 'pairs'}\n"
            f"Kendall's tau of the ranking to its resamples: {self.tau:.2f} "
            f"[{self.tau_low:.2f}, {self.tau_high:.2f}]"
        )


def ranking(
    models: Mapping[str, PerImage],
    score: str = "mIoU_D",
    *,
    method: RankingMethod = "mean-then-rank",
    level: float = 0.95,
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> Ranking:
    """Rank models that were scored on the same images, with the uncertainty of the ranking.

    All models are scored on the same resamples of the images. They give intervals that hold for all
    models at once (percentile intervals, widened equally in rank until the share ``level`` of the
    resamples lies within all of them), the distribution of ranks, and Kendall's tau. Each pair of
    models is compared by sign flips, as in ``compare``. P-values are adjusted by Holm: the
    probability that any pair of equal models is called different is at most ``1 − level``. More
    than ``n_resamples`` flips are drawn if the number of pairs needs them.

    Args:
        models: an ``ImageScores``, its ``image_counts()`` or another table with one row an image
            (``Resampled``) by the name of the model, two or more. All must have the same images
            with the same targets and classes. If a lower score is better, as for distances, the
            lowest ranks first.
        score: as in ``confidence_interval``. Sign flips of scores of the worst images
            (``"mIoU_I_10"``) are the slowest.
        method: ``"mean-then-rank"`` ranks the models by their score. ``"rank-then-mean"`` ranks
            them on every image, by the score of the image, and then by the mean of these ranks, so
            that every image has the same weight. Equal scores share the better rank; a model
            without a score on an image, where others have one, has the worst. ``score`` must not be
            a score of worst images.
        level: the coverage of the intervals, and 1 minus the level of significance.
        n_resamples: number of bootstrap resamples.
        groups: the patient or video sequence of each image, as in ``confidence_interval``: they are
            resampled and exchanged as a whole.
        seed: the same seed gives the same ranking, whatever the order of images and models.

    Raises:
        TypeError: ``models`` is not a mapping from names.
        ValueError: fewer than two models or images; images, targets or classes that differ; a
            score that a model does not have.

    Source: Wiesenfarth et al., "Methods and open-source toolkit for analyzing and visualizing
    challenge results", Scientific Reports 11 (2021). Intervals: Mandel and Betensky, "Simultaneous
    confidence intervals based on the percentile bootstrap approach", Computational Statistics &
    Data Analysis 52 (2008). Places: Al Mohamad, Goeman and van Zwet, "Simultaneous confidence
    intervals for ranks", Journal of Multivariate Analysis 188 (2022).

    Example:
        >>> import torch
        >>> from segmetrics.statistics import ImageCounts
        >>> draw = torch.Generator().manual_seed(0)
        >>> hits = torch.randint(50, 90, (60, 1), generator=draw)
        >>> def model(better):
        ...     tp = hits + better + torch.randint(-8, 9, hits.shape, generator=draw)
        ...     return ImageCounts(tp, 0 * tp, 100 - tp)
        >>> print(ranking({"unet": model(0), "segformer": model(5), "deeplab": model(0)}, "mIoU_I"))
        mIoU_I of 3 models (95 %, 60 images)
        rank  model      mIoU_I  interval        place   held  level with
           1  segformer   0.729  [0.691, 0.770]  1      100 %  –
           2  deeplab     0.696  [0.658, 0.736]  2–3     72 %  unet
           3  unet        0.690  [0.651, 0.730]  2–3     71 %  deeplab
        intervals: for all models at once; held: share of resamples with that rank
        place, level with: sign flips, Holm over 3 pairs
        Kendall's tau of the ranking to its resamples: 0.81 [0.33, 1.00]
    """
    one_of("method", method, ("mean-then-rank", "rank-then-mean"))
    counts = aligned(models)
    # by name, so that the result does not depend on the order of models
    names = sorted(counts)
    order = canonical_order(*(counts[name] for name in names))
    bootstrap = Bootstrap.of(
        counts[names[0]], order, groups, level, "percentile", n_resamples, seed
    )
    ordered = [counts.pop(name).images(order) for name in names]  # frees each table after its copy
    better = 1 if ordered[0].higher_is_better(score) else -1
    if method == "rank-then-mean":
        image_ranks = _image_ranks(better * torch.stack([c.values(score) for c in ordered], 1))
        scores: list[Statistic] = [mean_of(ranks) for ranks in image_ranks.split(1, 1)]
        better = -1
    else:
        scores = [c.statistic(score) for c in ordered]

    values, resampled = bootstrap.together(scores)
    if undefined := [n for n, value in zip(names, values.tolist(), strict=True) if value != value]:
        raise ValueError(f"`score={score!r}` is undefined for {', '.join(map(repr, undefined))}.")
    if infinite := [n for n, value in zip(names, values.tolist(), strict=True) if isinf(value)]:
        raise ValueError(
            f"`score={score!r}` is infinite for {', '.join(map(repr, infinite))}, and infinite "
            "scores have no order. Give missing masks a finite distance."
        )
    if not len(resampled):
        raise ValueError(
            f"`score={score!r}` is undefined in all of the {n_resamples} resamples. Give more "
            "images."
        )
    taus = _kendall(better * values, better * resampled)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    tau_low, tau_high = taus.quantile(tails).tolist()
    ranks = ranks_of(better * values)
    # from the best to the worst, and the better one of a pair first
    place = sorted(range(len(names)), key=lambda m: (ranks[m].item(), names[m]))
    pairs = list(combinations(place, 2))
    p = _p_values(bootstrap, scores, values, pairs, score, ordered)
    compared = _compared(names, values, resampled, pairs, p, level)
    low, high = simultaneous(resampled, level)
    resampled_ranks = ranks_of(better * resampled)
    ranked = [
        _ranked(
            names[m],
            (values[m].item(), low[m].item(), high[m].item()),
            int(ranks[m]),
            resampled_ranks[:, m].bincount(minlength=len(names) + 1)[1:].double(),
            compared,
        )
        for m in place
    ]
    return Ranking(
        score=score,
        method=method,
        level=level,
        models=tuple(ranked),
        pairs=tuple(compared),
        tau=taus.mean().item(),
        tau_low=tau_low,
        tau_high=tau_high,
        images=len(order),
        groups=bootstrap.number_of_groups,
    )


def _listed(names: Sequence[str]) -> str:
    """Names in a cell, or their number if there are many."""
    return f"{len(names)} others" if len(names) > 3 else ", ".join(names) or "–"


def aligned(models: Mapping[str, PerImage]) -> dict[str, Resampled]:
    """The tables of the models, with images in the same order.

    Raises:
        TypeError: not a mapping from names.
        ValueError: fewer than two models, or images, targets or classes that differ.
    """
    if not isinstance(models, Mapping):
        raise TypeError(
            f"`models` must be a mapping from name to counts, got {type(models).__name__}."
        )
    if len(models) < 2:
        raise ValueError(f"`models` must be at least two, got {len(models)}.")
    if strange := [name for name in models if not isinstance(name, str)]:
        raise TypeError(f"`models` must have strings as names, got {strange[0]!r}.")
    counts = {name: table_of(scores, f"models[{name!r}]") for name, scores in models.items()}
    (name, first), *others = counts.items()
    found = {name: first}
    for other, its in others:
        pair = (f"models[{name!r}]", f"models[{other!r}]")
        _, found[other] = paired(first, its, pair)
    return found


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted for all of them by Holm's step-down method.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = list(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = largest
    return adjusted


def simultaneous(resampled: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Bounds ``(K,)`` of resampled values ``(B, K)`` that hold for all K at once.

    Trims the same number of values at both ends of every column, so that the share ``level`` of
    the rows lies within all bounds. For one column this is the percentile interval.
    """
    ordered = resampled.sort(0).values
    columns, values = ordered.t().contiguous(), resampled.t().contiguous()
    below = torch.searchsorted(columns, values, right=True)
    above = len(resampled) - torch.searchsorted(columns, values)
    depth = torch.minimum(below, above).amin(0).sort().values
    outside = (1 - level) * len(resampled) + EQUAL
    # never narrower than the percentile interval, which ties at an end could cause
    cut = min(int(depth[int(outside)]) - 1, int(outside / 2))
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def ranks_of(values: Tensor) -> Tensor:
    """Ranks ``(..., M)``, 1 for the largest value; equal values share the better rank."""
    return 1 + (values.unsqueeze(-2) > values.unsqueeze(-1) + EQUAL).sum(-1)


def _image_ranks(values: Tensor) -> Tensor:
    """Ranks of the models on every image ``(N, M)``; nan where no model has a score."""
    defined = ~values.isnan()
    ranks = ranks_of(values.where(defined, -torch.inf)).double()
    return ranks.where(defined.any(1, keepdim=True), torch.nan)


def _kendall(values: Tensor, resampled: Tensor) -> Tensor:
    """Kendall's tau-b of values ``(M,)`` to each of ``(B, M)``; 0 if all are ties."""
    first, second = torch.triu_indices(values.numel(), values.numel(), 1)

    def signs(of: Tensor) -> Tensor:
        difference = of[..., first] - of[..., second]
        return difference.sign().where(difference.abs() > EQUAL, 0.0)

    ours, theirs = signs(values), signs(resampled)
    pairs = (ours.abs().sum() * theirs.abs().sum(-1)).sqrt()
    return (ours * theirs).sum(-1) / pairs.clamp(min=1)


def _compared(
    names: Sequence[str],
    values: Tensor,
    resampled: Tensor,
    pairs: Sequence[tuple[int, int]],
    p: Sequence[float],
    level: float,
) -> list[ModelPair]:
    """All pairs, with bounds and p-values adjusted for all of them."""
    first, second = torch.tensor(pairs).t()
    low, high = simultaneous(resampled[:, first] - resampled[:, second], level)
    rows = zip(pairs, low.tolist(), high.tolist(), p, holm(p), strict=True)
    return [
        ModelPair(
            a=names[a],
            b=names[b],
            difference=(values[a] - values[b]).item(),
            low=least,
            high=most,
            p=alone,
            p_holm=adjusted,
            significant=adjusted <= 1 - level + EQUAL,
        )
        for (a, b), least, most, alone, adjusted in rows
    ]


def _ranked(
    name: str,
    interval: tuple[float, float, float],
    rank: int,
    drawn: Tensor,
    pairs: Sequence[ModelPair],
) -> RankedModel:
    """One model, with the results of its pairs."""
    better = [pair.a for pair in pairs if pair.b == name]
    worse = [pair.b for pair in pairs if pair.a == name]
    level_with = [pair for pair in pairs if name in (pair.a, pair.b) and not pair.significant]
    rivals = tuple(pair.b if pair.a == name else pair.a for pair in level_with)
    value, low, high = interval
    return RankedModel(
        name=name,
        value=value,
        low=low,
        high=high,
        rank=rank,
        best=1 + len(set(better).difference(rivals)),
        worst=len(drawn) - len(set(worse).difference(rivals)),
        level_with=rivals,
        rank_shares=tuple((drawn / drawn.sum()).tolist()),
    )


def _p_values(
    bootstrap: Bootstrap,
    scores: Sequence[Statistic],
    values: Tensor,
    pairs: Sequence[tuple[int, int]],
    score: str,
    counts: Sequence[Resampled],
) -> list[float]:
    """The p-value of every pair by sign flips."""
    enough = ceil(
        2 * len(pairs) / (1 - bootstrap.level)
    )  # fewer could not reach significance after Holm
    bootstrap = replace(bootstrap, n_resamples=max(bootstrap.n_resamples, enough))
    found = [(values[a] - values[b]).item() for a, b in pairs]
    sums = [one for one in scores if isinstance(one, Sums)]
    if len(sums) < len(scores):
        return [
            bootstrap.sign_flip(counts[a].stacked(counts[b]).statistic(score), difference)
            for (a, b), difference in zip(pairs, found, strict=True)
        ]
    flips, sampled = bootstrap.exchanges()
    everything = [one.parts.sum(0) for one in sums]
    differences: list[list[Tensor]] = [[] for _ in pairs]
    for block in flips:
        # the sums of exchanged images, once a model instead of once a pair
        moved = [block @ one.parts for one in sums]
        for (a, b), those in zip(pairs, differences, strict=True):
            change = moved[b] - moved[a]
            ours, theirs = everything[a] + change, everything[b] - change
            those.append(sums[a].score(ours) - sums[b].score(theirs))
    return [
        share_as_extreme(torch.cat(those), difference, sampled=sampled)
        for those, difference in zip(differences, found, strict=True)
    ]
