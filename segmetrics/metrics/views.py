"""Scores by key, each also as a metric of its own, for loggers that want one a key."""

from __future__ import annotations

import sys
from collections.abc import Callable, ItemsView, Iterable
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric

from segmetrics.metrics.base import SumMetric


class KeyedMetric(SumMetric):
    """A metric whose value is a flat dict of scalars; Lightning's ``log_dict`` takes it as is.

    It has no ``higher_is_better``, so that ``MetricTracker``, which would otherwise fail in
    ``best_metric``, asks for ``maximize``: wrap it in a ``MetricCollection`` and pass
    ``maximize=True``. ``MetricCollection.plot`` looks for one value a metric: plot it by itself,
    ``collection["SegmentationMetrics"].plot()``, or pass ``together=True``.
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as torchmetrics says it
    views: nn.ModuleList

    def _add_views(self, keys: Iterable[str]) -> None:
        self.views = nn.ModuleList(ScoreView(self, key) for key in keys)

    def items(self) -> ItemsView[str, Metric]:
        """The keys, each with a metric of its own score: what Lightning's ``log_dict`` takes."""
        return {view.key: view for view in self.views if isinstance(view, ScoreView)}.items()


class ScoreView(Metric):
    """One score of a metric with keys.

    It has no state: it asks its parent, which computes once, and resets it.
    """

    full_state_update = False
    __jit_unused_properties__ = [  # noqa: RUF012  # not annotated: torch.jit would evaluate it
        *Metric.__jit_unused_properties__,
        "_parent",
        "_forward_cache",
    ]

    def __init__(self, parent: SumMetric, key: str) -> None:
        self.__dict__["parent"] = parent  # no submodule: it is the other way round
        super().__init__()
        self.key = key

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the parent is updated, once for all its scores."""
        raise TypeError(
            f"{self.key!r} is a view of a {type(self._parent).__name__}. Update that, once for all "
            "its keys."
        )

    def compute(self) -> Tensor:
        """The parent's value of this key."""
        self._parent._note_loader(sys._getframe(1))
        value: Tensor = self._parent.compute()[self.key]
        return value

    def reset(self) -> None:
        """Reset the parent."""
        self._parent.reset()

    @property
    def _parent(self) -> SumMetric:
        parent: SumMetric = self.__dict__["parent"]
        return parent

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        return compute  # the parent warns, syncs and caches

    @property  # type: ignore[override]  # an attribute there
    def _forward_cache(self) -> Tensor | None:
        values = self._parent._forward_cache
        return None if values is None else values[self.key]

    @_forward_cache.setter
    def _forward_cache(self, value: object) -> None:
        """Ignored: the parent keeps it."""
