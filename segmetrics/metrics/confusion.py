"""The confusion matrix as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import one_of
from segmetrics._help import explained
from segmetrics.counting import Counting
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import CountingMetric
from segmetrics.recipes import exact
from segmetrics.scores import Normalize


@explained
class ConfusionMatrix(CountingMetric):
    """Confusion matrix: rows are the target, columns the prediction, as in scikit-learn.

    Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5
    (``n_ij``). Abstentions, predictions of an ignored value outside ``[0, C)``, are counted in
    :attr:`abstained` instead.

    Args:
        normalize: ``None`` for counts; ``"true"`` for shares of the row, abstained pixels
            included, ``"pred"`` of the column, ``"all"`` of all counted pixels, in float32. An
            empty row or column gives 0.

    Returns (``compute`` and ``forward``):
        ``(C, C)`` in int64, in [0, pixels], or in float32 in [0, 1] with ``normalize``. Binary
        ``(2, 2)``, multilabel ``(C, 2, 2)``. Zeros if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import ConfusionMatrix
        >>> target, preds = torch.tensor([[0, 0, 1, 255]]), torch.tensor([[0, 1, 255, 1]])
        >>> confusion = ConfusionMatrix(2, ignore_index=255)
        >>> confusion.update(preds, target)
        >>> confusion.compute()
        tensor([[1, 1],
                [0, 0]])
        >>> confusion.abstained
        tensor([0, 1])
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as in torchmetrics

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        normalize: Normalize | None = None,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        threshold: float = 0.5,
        from_logits: bool = False,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        one_of("normalize", normalize, (None, "true", "pred", "all"))
        counting = Counting.of(
            num_classes,
            ignore_index=ignore_index,
            task=task,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            input_format=input_format,
        )
        super().__init__(counting, num_classes, class_names, **metric_kwargs)
        self.normalize = normalize

    def _score(self, counts: Tensor) -> Tensor:
        if self.normalize:
            counts = exact(counts)
        return scores.normalized(self.counting.matrices(counts), self.normalize)

    def _report(self, score: Tensor) -> Tensor:
        return super()._report(score) if self.normalize else score

    def _entries(self) -> list[str | None]:
        labels = ["0", "1"] if self.counting.task != "multiclass" else self._names()
        channels = [f"{name}/" for name in self._names()]
        heads = channels if self.counting.task == "multilabel" else [""]
        return [f"{head}{row}/{column}" for head, row, column in product(heads, labels, labels)]

    def _arguments(self) -> dict[str, tuple[object, object]]:
        return super()._arguments() | {"normalize": (self.normalize, None)}

    @property
    def abstained(self) -> Tensor:
        """Counted pixels of each class for which no class was predicted, over all processes.

        ``(C,)`` in int64, ``(C, 2)`` for multilabel. Like ``compute``, every process must read it.
        """
        with self._synced():
            return self.counting.matrices(self._states[0])[..., -1].clone()

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the matrix as an annotated heat map, counts coloured by their share of the row.

        Needs matplotlib. For multilabel there is one matrix a channel: index ``compute()``. Like
        ``compute``, every process must call it, unless a value is given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them, which are drawn in a
                row; by default that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure; for a sequence as many.

        Returns:
            The matplotlib figure and axes; for a sequence an array of axes.
        """
        from segmetrics.plotting import heat_map, row_of_axes

        if isinstance(val, Sequence):
            axes = row_of_axes(len(val), ax)
            figures = [self.plot(matrix, each)[0] for matrix, each in zip(val, axes, strict=True)]
            return figures[0], axes
        matrix = self.compute() if val is None else val
        if matrix.ndim != 2:
            raise ValueError(
                f"`plot` draws one matrix (C, C), got {tuple(matrix.shape)}. "
                "Pass one channel's: `plot(metric.compute()[channel])`."
            )
        names = self._names() if len(matrix) == self.counting.num_classes else ["0", "1"]
        unit = {"pred": "share of the prediction", "all": "share of all pixels"}
        colours = unit.get(self.normalize or "true", "share of the target")
        return heat_map(matrix, names, title="confusion matrix", colours=colours, ax=ax)
