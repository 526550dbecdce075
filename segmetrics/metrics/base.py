"""The base of all metrics: how states are updated, synced, restored, and moved."""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from inspect import get_annotations
from types import FrameType
from typing import Any, Generic, TypedDict, TypeVar, cast

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError
from typing_extensions import Self

from segmetrics._help import unknown
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.distributed import sum_over_processes
from segmetrics.recipes import AggregationLevel

#: Elements of which torch gives one thread at least so many.
SHARED = 2**15

Function = TypeVar("Function", bound=Callable[..., Any])
Value = TypeVar("Value")


def uncompiled(function: Function) -> Function:
    """Exclude a function from the graphs of ``torch.compile``.

    Surfaces are measured by kernels of other compilers, on arrays whose size depends on the data,
    and a growing list of images would recompile every update.
    """
    reason = (
        "metrics of images, boundaries and surfaces are not compiled. Call their `update` outside "
        "of the compiled function, or compile without `fullgraph=True`."
    )
    return cast(Function, torch.compiler.disable(function, reason=reason))


class MetricKwargs(TypedDict, total=False):
    """The arguments of ``torchmetrics.Metric``."""

    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    dist_sync_fn: Callable[..., Any] | None
    distributed_available_fn: Callable[..., bool] | None
    sync_on_compute: bool
    compute_with_cache: bool


def _sum(state: Tensor, added: Tensor) -> Tensor:
    """The sum; of a large state on the CPU by NumPy.

    torch would share it among its threads, and wait for each, on a busy machine for milliseconds.
    """
    large = state.device.type == "cpu" and state.numel() > SHARED
    if not large or torch.compiler.is_compiling():
        return state + added
    return torch.from_numpy(state.numpy() + added.numpy())


class Fixed(Generic[Value]):
    """A read-only argument of a metric: assigning it would not change what is counted."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, metric: SumMetric, owner: type | None = None) -> Value:
        if metric is None:  # on the class
            raise AttributeError(self.name)
        counting = vars(metric).get("counting")
        if hasattr(counting, self.name):
            value: Value = getattr(counting, self.name)
        elif self.name in (arguments := metric._arguments()):
            value = arguments[self.name][0]  # type: ignore[assignment]
        else:
            raise AttributeError(f"`{type(metric).__name__}` has no `{self.name}`.")
        return value

    def __set__(self, metric: SumMetric, value: object) -> None:
        kind = type(metric).__name__
        raise AttributeError(
            f"`{self.name}` is fixed when a metric is made. Make another: "
            f"`{kind}(..., {self.name}={value!r})`."
        )


class SumMetric(Metric):
    """A metric whose states are sums of tensors over batches.

    A failing update leaves the metric as it was, and a sync is one all-reduce. A step that updates
    a metric of counted pixels compiles to one graph, also with ``fullgraph=True``. ``ImageScores``,
    boundaries and surfaces cause a graph break.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    #: Whether the value has one number a class: a vector, even of one class.
    per_class = False
    #: The arguments of ``update`` and ``forward``.
    _inputs: tuple[str, ...] = ("preds", "target")

    # arguments as they take effect: ``ignore_index`` includes the values of the label space
    num_classes, task, threshold = Fixed[int](), Fixed[Task](), Fixed[float]()
    ignore_index, from_logits = Fixed[tuple[int, ...]](), Fixed[bool]()
    upsample, input_format = Fixed[Upsample | None](), Fixed[InputFormat | None]()
    average, include_background = Fixed[str](), Fixed[bool]()
    zero_division, aggregation_level = Fixed[float](), Fixed[AggregationLevel]()

    #: The dataloaders for which Lightning has called ``compute`` since the last reset.
    _loaders: tuple[int, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep ``torch.jit.script`` of a module that owns a metric from compiling the metric.

        It would evaluate string annotations out of their scope, and call properties.
        """
        super().__init_subclass__(**kwargs)
        cls.__jit_unused_properties__ = [
            name for name in dir(cls) if isinstance(getattr(cls, name, None), property)
        ]
        annotations = get_annotations(cls)
        cls.__annotations__ = {k: v for k, v in annotations.items() if not isinstance(v, str)}

    @abstractmethod
    def _batch(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """The summands of a batch, one a state."""

    @abstractmethod
    def _value(self, *states: Tensor) -> Any:
        """The value that states give, without synchronizing a GPU."""

    def _check(self, *states: Tensor) -> None:
        """Raise the errors that ``update`` could not raise."""

    @property
    def _states(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, name) for name in self._defaults)

    def _add_sum(self, name: str, size: int) -> None:
        self.add_state(name, torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        self._add(self._batch(*args, **kwargs))

    def compute(self) -> Any:
        """The value over all batches and processes.

        All processes must call it, as it sums over them. A process without an update since its last
        call returns the cached value at once: if only some processes do, the others wait for ever.

        Batches that were gathered already must not be summed again. If every process is updated
        with the batches of all, as after ``accelerator.gather_for_metrics``, make the metric with
        ``sync_on_compute=False``. Otherwise every pixel counts once for each process.
        """
        states = self._states
        self._check(*states)
        return self._value(*states)

    def compute_scalars(self) -> dict[str, float | None]:
        """The value of ``compute`` as Python floats by key, for ``json.dumps``; nan is ``None``.

        Like ``compute``, every process must call it.

        Returns:
            The keys of ``compute`` if it has keys. Otherwise one score has the name of the metric's
            class as its key, scores of classes have the classes' names, without those left out, and
            cells of a confusion matrix have ``"<target>/<prediction>"``.

        Example:
            >>> from segmetrics import MeanIoU
            >>> metric = MeanIoU(3, average="none", class_names=["sky", "road", "car"])
            >>> metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))
            >>> metric.compute_scalars()
            {'sky': 1.0, 'road': 1.0, 'car': None}
        """
        value = self.compute()
        if isinstance(value, dict):
            keys: list[str | None] = list(value)
            value = torch.stack(list(value.values()))
        else:
            keys = self._entries() if value.ndim else [type(self).__name__]
        numbers = zip(keys, map(float, value.flatten().tolist()), strict=True)
        return {key: None if x != x else x for key, x in numbers if key is not None}

    def _entries(self) -> list[str | None]:
        """A name for each element of a value, ``None`` for a class that is left out."""
        raise NotImplementedError

    @torch.jit.unused
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and return its own value."""
        if self._is_synced:
            raise TorchMetricsUserError(
                "The metric is synced: call `unsync` before it is updated again."
            )
        if len(args) > len(self._inputs):
            inputs = ", ".join(self._inputs)
            raise TypeError(f"`{type(self).__name__}` scores {inputs}, got {len(args)} arguments.")
        for keyword in kwargs:
            if keyword not in self._inputs:
                raise TypeError(unknown(type(self).__name__, keyword, self._inputs))
        batch = self._batch(*args, **kwargs)
        total = self._over_processes(batch) if self.dist_sync_on_step else batch
        self._add(batch)
        self._mark_updated()
        self._forward_cache = self._value(*total)
        return self._forward_cache

    def _add(self, batch: tuple[Tensor, ...]) -> None:
        states = self._states
        if batch[0].device != states[0].device:
            raise ValueError(
                f"the inputs are on {batch[0].device}, the metric is on {states[0].device}. "
                f"Move the metric with `.to({str(batch[0].device)!r})`."
            )
        # assigned, not added in place, so that returned references keep their values
        self._assign([_sum(state, added) for state, added in zip(states, batch, strict=True)])

    def _assign(self, states: Sequence[Tensor]) -> None:
        # not by ``nn.Module.__setattr__``, whose search for parameters takes a while
        attributes = vars(self)
        for name, state in zip(self._defaults, states, strict=True):
            attributes[name] = state

    def _mark_updated(self) -> None:
        attributes = vars(self)
        attributes["_computed"] = None
        if torch.compiler.is_compiling():  # a count that is read is a guard: calls would recompile
            attributes["_update_count"] = 1
        else:
            attributes["_update_count"] += 1

    def _wrap_update(self, update: Callable[..., None]) -> Callable[..., None]:
        @wraps(update)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            update(*args, **kwargs)  # reads inputs without their gradients
            self._mark_updated()

        return wrapped

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        squeezed = super()._wrap_compute(compute)  # torchmetrics squeezes (1,)

        @wraps(compute)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._note_loader(sys._getframe(1))
            value = squeezed(*args, **kwargs)
            scalar = isinstance(value, Tensor) and value.ndim == 0
            return value.view(1) if self.per_class and scalar else value

        return wrapped

    def _note_loader(self, caller: FrameType) -> None:
        """Warn, once, if Lightning computes the value of a second dataloader without a reset.

        Lightning does not pass the index of the dataloader, but the frame that calls ``compute``
        has it. The locals of other frames are not read, as that keeps them alive.
        """
        if not caller.f_globals.get("__name__", "").endswith("logger_connector.result"):
            return
        logged = getattr(caller.f_locals.get("self"), "meta", None)
        loader = getattr(logged, "dataloader_idx", None)
        if loader is None or loader in self._loaders:
            return
        self._loaders = (*self._loaders, loader)
        if len(self._loaders) == 2:
            warnings.warn(
                f"one {type(self).__name__} is logged for several dataloaders. It is not reset "
                "between them, so its value is that of all the dataloaders so far. Use a metric "
                "for each, or `segmetrics.lightning.SegmentationCallback`, which scores each "
                "dataloader by itself.",
                stacklevel=3,
            )

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        if len(self._loaders) < 2:  # not warned yet
            self._loaders = ()

    def _over_processes(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A batch's part of the states, summed over processes as the states would be."""
        states = self._states
        self._assign(batch)
        try:
            with self.sync_context(self.dist_sync_fn):
                return self._states
        finally:
            self._assign(states)

    @contextmanager
    def sync_context(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[..., Any] | None = None,
    ) -> Iterator[None]:
        """Sync within a block. Unlike torchmetrics' own, it unsyncs if the block raises."""
        self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
        try:
            yield
        finally:
            self.unsync(self._is_synced and should_unsync)

    def _synced(self) -> AbstractContextManager[None]:
        """A block in which the states are summed over processes."""
        todo = not self._is_synced
        return self.sync_context(
            self.dist_sync_fn, should_sync=todo and self._to_sync, should_unsync=todo
        )

    def _sync_dist(
        self,
        dist_sync_fn: Callable[..., Any] = gather_all_tensors,
        process_group: Any | None = None,
    ) -> None:
        if dist_sync_fn is not gather_all_tensors:  # the user's
            super()._sync_dist(dist_sync_fn, process_group)
            return
        self._assign(sum_over_processes(self._states, process_group or self.process_group))

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        super()._reduce_states(incoming_state)
        self._restored()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        known = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        if known:
            self._assign([state.to(self.device) for state in self._states])
            self._restored()

    def _restored(self) -> None:
        """Count a state from elsewhere as an update, and drop the cached value."""
        self._computed = None
        self._update_count = max(self._update_count, 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        """Move to a device, without a change of dtype."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        super()._apply(moved, exclude_state)
        return self

    def _repr_html_(self) -> str:
        """The scores of this process so far, as a notebook shows them."""
        from segmetrics._notebook import of_metric

        return of_metric(self)

    def _of_classes_here(self) -> Tensor | None:
        """The scores of all classes in this process, whatever the average; ``None`` if unknown."""
        return None

    def __repr__(self) -> str:
        """The arguments that differ from their defaults."""
        shown = {k: (repr(v), repr(default)) for k, (v, default) in self._arguments().items()}
        text = ", ".join(f"{k}={v}" for k, (v, default) in shown.items() if v != default)
        return f"{type(self).__name__}({text})"

    def _arguments(self) -> dict[str, tuple[object, object]]:
        """The arguments that ``repr`` shows, each with its default."""
        return {}
