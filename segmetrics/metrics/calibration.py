"""Scores of probabilities: how far a confidence can be trusted, and what it costs to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from segmetrics.counting import raise_if_bad
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs, SumMetric
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.probabilities import BAD_KINDS, Probabilities, count, messages
from segmetrics.probabilities.calibration import (
    Bins,
    CalibrationErrorRecipe,
    CalibrationRecipe,
    MeanErrorRecipe,
    Norm,
    brier_recipe,
    calibration_error_recipe,
    explained_probability,
    nll_recipe,
)
from segmetrics.probabilities.inputs import MOST_PIXELS, Binning
from segmetrics.scores import Average


class ProbabilityMetric(SumMetric):
    """A metric of probabilities. The state holds bins of confidences and sums of errors.

    All of it is int64: of a bin its pixels, those that are right, and the sum of the confidences,
    and the sums of squared errors and log losses, in multiples of 2**-24. That leaves room for
    2**38 pixels, and values are equal bit by bit over batches and processes, whatever the order.
    Probabilities are computed in fp32. Without numba, CPUs take torch's softmax and sigmoid, whose
    last bit may depend on the size and the layout of a batch. Metrics with equal settings share one
    state in a ``MetricCollection``.

    Inputs of ``update`` and ``forward``:
        ``preds``: scores ``(N, C, ...)`` in fp32, fp64, fp16 or bf16. Binary: ``(N, ...)`` or
        ``(N, 1, ...)``. ``target``: integer or bool labels ``(N, ...)``; one-hot ``(N, C, ...)``.
        Binary: ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: ``(N, C, ...)``. ``...`` is any number
        of spatial dimensions. An empty batch changes nothing.
    """

    higher_is_better = False
    counting: Probabilities

    def __init__(
        self,
        reading: Probabilities,
        num_classes: int | LabelSpace | None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(**metric_kwargs)
        self.counting = reading
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, reading, self.label_space)
        self._add_sum(f"probabilities_{reading.name}", reading.cells + len(BAD_KINDS))

    @explained_probability
    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count a batch."""
        self._add(self._batch(preds, target))

    def _batch(self, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        return (count(preds, target, self.counting),)

    def _check(self, *states: Tensor) -> None:
        check(states[0], self.counting)

    def _names(self) -> list[str]:
        """The classes' names, numbers where none were given."""
        return self.class_names or [str(label) for label in range(self.counting.num_classes)]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = counting_arguments(self.counting, self.label_space)
        for name in ("threshold", "aggregation_level"):  # there are no such arguments
            del arguments[name]
        names = self.class_names, default_names(self.label_space)
        return arguments | {"class_names": names}


class ErrorMetric(ProbabilityMetric):
    """A metric of probabilities that reports one recipe's score."""

    def __init__(
        self,
        recipe: CalibrationRecipe,
        num_classes: int | LabelSpace | None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        super().__init__(recipe.reading, num_classes, class_names, **metric_kwargs)
        self.recipe = recipe
        self.per_class = bool(recipe.shape)

    def _value(self, *states: Tensor) -> Tensor:
        return self.recipe.of(states[0]).float().to(self.device)

    def _entries(self) -> list[str | None]:
        kept = self.recipe.kept.tolist()
        return [name if keep else None for name, keep in zip(self._names(), kept, strict=True)]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        default = "macro" if self.recipe.classes > 1 else self.recipe.average
        return super()._arguments() | {"average": (self.recipe.average, default)}


def check(state: Tensor, reading: Probabilities) -> None:
    """Raise for bad pixels, and where a sum may have overflowed."""
    raise_if_bad(reading.bad(state), reading, messages=messages(reading))
    most = int(reading.sums(state).pixels.max())
    if most > MOST_PIXELS:
        raise ValueError(
            f"the sums over {most} pixels may have overflowed: a metric of probabilities counts at "
            f"most {MOST_PIXELS}. Use one for each part of the data set."
        )


def bins_of(metric: ProbabilityMetric, recipe: CalibrationErrorRecipe) -> Bins:
    """The bins of a metric over all processes, without a dimension of classes if there is one."""
    with metric._synced():
        metric._check(*metric._states)
        found = Bins.of(recipe.table(metric._states[0]))
    one = len(found.pixels) == 1
    return Bins(*(part.squeeze(0) for part in found)) if one else found


def draw_bins(
    bins: Bins, reading: Probabilities, names: Sequence[str], title: str, ax: Any
) -> tuple[Any, Any]:
    """Draw bins as a reliability diagram, those of several classes as lines."""
    from segmetrics.plotting import lines, reliability

    of_class = reading.classwise or reading.task != "multiclass"
    axes = ("probability", "share of the class") if of_class else ("confidence", "accuracy")
    if bins.pixels.ndim == 1:
        return reliability(*bins, axes, title, ax=ax)
    curves = [
        (name, confidence[pixels > 0], accuracy[pixels > 0])
        for name, pixels, confidence, accuracy in zip(names, *bins, strict=True)
    ]
    return lines(curves, axes, title=title, guide=True, ax=ax)


@explained_probability
class CalibrationError(ErrorMetric):
    """Calibration error: the gap between how confident the model is and how often it is right.

    In [0, 1], best 0. Pixels are binned by their confidence, the largest probability; the gap of a
    bin is that between its mean confidence and the share of its pixels that is right. Guo et al.,
    "On Calibration of Modern Neural Networks", ICML 2017: ``norm="l1"`` is the expected calibration
    error (ECE), ``"max"`` the maximum one (MCE), ``"l2"`` the root mean square. For
    ``task="binary"`` and for every channel of ``"multilabel"`` the confidence is the probability of
    the foreground, and right means foreground, as in torchmetrics.

    Args:
        norm: ``"l1"`` weighs the gaps by the pixels of their bins, ``"l2"`` takes the root of their
            weighted mean square, ``"max"`` the largest.
        n_bins: number of bins.
        binning: ``"width"``: bin i of n holds confidences from i / n up to (i + 1) / n, the last
            one 1.0 too. ``"mass"``: bins hold about equally many pixels (Nixon et al., CVPR
            workshops 2019); they are cut between cells that are 1/64 of min(p, 1 - p) wide.
        classwise: whether the probability of every class is held against how often the pixel is of
            that class, and the classes' errors are averaged (Kull et al., NeurIPS 2019).
        average: over the classes of ``classwise=True`` and ``task="multilabel"``: ``"macro"``,
            ``"weighted"`` by target pixels, ``"micro"`` (their bins pooled), or ``"none"``
            (``None``) for one error a class.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import CalibrationError
        >>> probabilities = torch.tensor([[[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]])
        >>> target = torch.tensor([[0, 0, 1, 255]])
        >>> CalibrationError(2, n_bins=10, ignore_index=255)(probabilities, target)
        tensor(0.3333)
    """

    recipe: CalibrationErrorRecipe

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        norm: Norm = "l1",
        n_bins: int = 15,
        binning: Binning = "width",
        classwise: bool = False,
        average: Average | None = "macro",
        from_logits: bool = False,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = calibration_error_recipe(
            num_classes,
            norm=norm,
            n_bins=n_bins,
            binning=binning,
            classwise=classwise,
            average=average,
            from_logits=from_logits,
            ignore_index=ignore_index,
            task=task,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)

    def bins(self) -> Bins:
        """The bins over all batches and processes; like ``compute``, every process must call it.

        Returns:
            ``(pixels, confidence, accuracy)``, each ``(n_bins,)``, or ``(C, n_bins)`` where classes
            are scored one by one: how many pixels a bin holds in int64, and in float64 their mean
            confidence and the share that is right, nan for an empty bin.
        """
        return bins_of(self, self.recipe)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the reliability diagram: the accuracy of every bin over its confidence.

        Bins below the diagonal are overconfident. Grey bars are the share of the pixels that a bin
        holds. Where classes are scored one by one, every class is a line. Needs matplotlib. Given
        values are drawn as by torchmetrics. Like ``compute``, every process must call it, unless
        values are given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        if val is not None:
            return self._plot(val, ax)
        name = {"l1": "ECE", "l2": "RMS", "max": "MCE"}[self.recipe.norm]
        title = name if self.per_class else f"{name} {self.compute().item():.4f}"
        return draw_bins(self.bins(), self.counting, self._names(), title, ax)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {
            "norm": (self.recipe.norm, "l1"),
            "n_bins": (self.recipe.n_bins, 15),
            "binning": (self.counting.binning, "width"),
            "classwise": (self.counting.classwise, False),
        }


@explained_probability
class BrierScore(ErrorMetric):
    """Brier score: the mean squared error of the probabilities, best 0.

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
    1950. For several classes their sum, in [0, 2]; for ``task="binary"`` and for every channel of
    ``"multilabel"`` that of the foreground, in [0, 1].

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import BrierScore
        >>> probabilities, target = torch.tensor([[0.9, 0.8, 0.3]]), torch.tensor([[1, 0, 0]])
        >>> BrierScore(task="binary")(probabilities[None], target[None])
        tensor(0.2467)
    """

    recipe: MeanErrorRecipe
    plot_upper_bound = 2.0

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        average: Average | None = "macro",
        from_logits: bool = False,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = brier_recipe(
            num_classes,
            average=average,
            from_logits=from_logits,
            ignore_index=ignore_index,
            task=task,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)


@explained_probability
class NegativeLogLikelihood(ErrorMetric):
    """Negative log likelihood: the mean of -ln p of the true class, the log loss.

    In [0, inf], nats, best 0. Good, "Rational decisions", Journal of the Royal Statistical Society
    B 1952. It is infinite if the true class of any pixel has a probability of 0 (or a loss of 2**15
    nats); scikit-learn clips there. Of logits it is PyTorch's ``cross_entropy``.

    Args:
        temperatures: temperatures that divide the logits, in one pass, for
            ``segmetrics.statistics.best_temperature``; every one costs another exponential of
            every score. Needs ``from_logits=True``; ``None`` is 1 alone.

    Returns (``compute`` and ``forward``):
        float32 scalar, or ``(C,)`` for ``average="none"``; nan if no pixel was counted. For several
        temperatures it has a last dimension of their number, in rising order.

    Example:
        >>> import torch
        >>> from segmetrics import NegativeLogLikelihood
        >>> probabilities = torch.tensor([[[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]]])
        >>> target = torch.tensor([[0, 0, 1, 255]])
        >>> NegativeLogLikelihood(2, ignore_index=255)(probabilities, target)
        tensor(0.5108)
    """

    recipe: MeanErrorRecipe
    plot_upper_bound = None  # type: ignore[assignment]  # there is none

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        temperatures: Sequence[float] | None = None,
        average: Average | None = "macro",
        from_logits: bool = False,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        recipe = nll_recipe(
            num_classes,
            temperatures=temperatures,
            average=average,
            from_logits=from_logits,
            ignore_index=ignore_index,
            task=task,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(recipe, num_classes, class_names, **metric_kwargs)
        self.temperatures = recipe.reading.temperatures

    def _entries(self) -> list[str | None]:
        names: list[str | None] = [type(self).__name__]
        if self.per_class:
            names = super()._entries()
        if not self.recipe.several_temperatures:
            return names
        return [
            f"{name}/{temperature:g}"  # no class is left out: none is ignored by its index
            for name in names
            for temperature in self.temperatures
        ]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"temperatures": (self.temperatures, (1.0,))}
