"""Metrics with keys: a score for each key, and a metric for each score, for loggers."""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from copy import deepcopy
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import Self

from segmetrics.metrics.base import SumMetric

if TYPE_CHECKING:
    # the type that ``log_dict`` expects; at run time Mapping would override ``==`` of metrics
    class _Views(SumMetric, Mapping[str, Metric]):
        def __eq__(self, other: object) -> Any: ...
        def __iter__(self) -> Iterator[str]: ...  # type: ignore[override]
        def __getitem__(self, key: str) -> Metric: ...  # type: ignore[override]
else:
    _Views = SumMetric

#: The time in which Lightning logs one key of one step, by ``benchmarks --parts logging``.
MILLISECONDS = 0.16


class KeyedMetric(_Views):
    """A metric whose value is a flat dict of scalars, which Lightning's ``log_dict`` takes.

    It is a mapping from each key to a metric of that score.

    ``higher_is_better`` is None, so that ``MetricTracker``, whose ``best_metric`` would fail,
    requires ``maximize``: wrap it in a ``MetricCollection`` and pass ``maximize=True``.
    ``MetricCollection.plot`` expects one value a metric: plot the metric itself with
    ``collection["SegmentationMetrics"].plot()``, or pass ``together=True``.
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as in torchmetrics
    views: nn.ModuleList
    prefix: str

    #: The number of updates at the last call of ``items``, and whether the warning was given.
    _updates_when_logged = 0
    _warned = False

    @abstractmethod
    def _keys(self) -> list[str]:
        """The keys, with the prefix."""

    def _add_views(self) -> None:
        self.views = nn.ModuleList(ScoreView(self, key) for key in self._keys())

    @property
    def _by_key(self) -> dict[str, Metric]:
        return {view.key: view for view in self.views if isinstance(view, ScoreView)}

    def items(self) -> ItemsView[str, Metric]:
        """The keys, each with the metric of its score, as Lightning's ``log_dict`` takes them."""
        self._warn_if_logged_in_every_step()
        return self._by_key.items()

    def keys(self) -> KeysView[str]:
        """The keys of ``compute``, without computing."""
        return self._by_key.keys()

    def values(self) -> ValuesView[Metric]:
        """The metrics of the scores, one a key."""
        return self._by_key.values()

    def __getitem__(self, key: str) -> Metric:  # type: ignore[override]
        """The metric of one key, for ``self.log("mIoU", self.seg["mIoU"])``."""
        views = self._by_key
        if key not in views:
            near = get_close_matches(str(key), views, 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise KeyError(f"{key!r} is not a key.{meant} The keys: {', '.join(views)}.")
        return views[key]

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self.views)

    def clone(self, prefix: str | None = None) -> Self:
        """A copy with its own state, whose keys may have another prefix.

        Args:
            prefix: put in front of every key instead of this metric's own; ``None`` keeps that.
        """
        copy = deepcopy(self)
        if prefix is not None:
            copy.prefix = checked_prefix(prefix)
            copy._computed = copy._forward_cache = None  # they have the old keys
            copy._add_views()
        return copy

    def reset(self) -> None:
        """Forget everything that was counted."""
        super().reset()
        self._updates_when_logged = 0

    def _plot_classes(
        self,
        val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None,
        ax: Any,
        *,
        of_classes: str,
        mean: str,
        title: str,
    ) -> tuple[Any, Any]:
        """Bars of the keys that begin with ``of_classes`` and a line at ``mean``; else all keys."""
        from segmetrics.plotting import bars

        if isinstance(val, Sequence):
            return self._plot(val, ax)
        values = self.compute() if val is None else val
        head = self.prefix + of_classes
        shown = {k.removeprefix(head): v for k, v in values.items() if k.startswith(head)}
        line = (mean, values[self.prefix + mean].item()) if shown else None
        if not shown:
            shown, title = values, type(self).__name__
        return bars(torch.stack(list(shown.values())), list(shown), title=title, line=line, ax=ax)

    def _warn_if_logged_in_every_step(self) -> None:
        """Warn of the cost: Lightning copies and moves every metric that is logged."""
        if not self._warned and 0 < self._updates_when_logged < self._update_count:
            self._warned = True
            warnings.warn(
                f"The {len(self)} keys of {type(self).__name__} are logged in every step, which "
                f"costs Lightning about {MILLISECONDS * len(self):.1f} ms each time. Call "
                "`self.log_dict(...)` in `on_validation_epoch_end` instead: the values are the "
                "same, and a step costs the update alone.",
                stacklevel=4,
            )
        self._updates_when_logged = self._update_count


class ThresholdMetric(KeyedMetric):
    """A metric with keys of which some are thresholds.

    These stay float64: float32 may be on the other side of a score, and is 1 for large logits.
    """

    def _of_keys(self, values: Iterable[Tensor]) -> dict[str, Tensor]:
        """Float64 scalars by key, as they are handed out; float32 where there is no float64."""
        exact = torch.stack([value.double() for value in values])
        rounded = exact.float().to(self.device)
        exact = rounded if self.device.type == "mps" else exact.to(self.device)
        return {
            key: one if self._is_threshold(key) else other
            for key, one, other in zip(self._keys(), exact, rounded, strict=True)
        }

    def _is_threshold(self, key: str) -> bool:
        return key.removeprefix(self.prefix).startswith("best_threshold")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        """Move to a device, perhaps without float64. ``compute`` makes values anew there."""
        self._computed = self._forward_cache = None
        return super()._apply(fn, exclude_state)


def checked_prefix(prefix: str | None) -> str:
    """The prefix of keys as a string, which ``MetricCollection`` reads."""
    if not isinstance(prefix, str | None):
        raise TypeError(f"`prefix` must be a string, got {prefix!r}.")
    return prefix or ""


class ScoreView(Metric):
    """One score of a metric with keys.

    It has no state. ``compute`` and ``reset`` go to the parent, which computes once for all views.
    """

    full_state_update = False
    __jit_unused_properties__ = [  # noqa: RUF012  # not annotated: torch.jit would evaluate it
        *Metric.__jit_unused_properties__,
        "_parent",
        "_forward_cache",
    ]

    def __init__(self, parent: SumMetric, key: str) -> None:
        self.__dict__["parent"] = parent  # not a submodule: the parent owns the views
        super().__init__()
        self.key = key

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Raise: the parent is updated, once for all its scores."""
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
        """Reset the parent, unless another view has done so."""
        if self._parent.update_called or self._parent._computed is not None:
            self._parent.reset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r} of {type(self._parent).__name__})"

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
