"""Help explains every argument there and then, and a wrong call is answered with the right one."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import Metric

import segmetrics
from segmetrics import (
    BoundaryF1Score,
    FBetaScore,
    HausdorffDistance,
    ImageScores,
    LabelSpace,
    MeanIoU,
    SegmentationMetrics,
    SurfaceDice,
    SurfaceMetrics,
    errors,
    functional,
    labels,
    lightning,
    overlays,
    report,
    statistics,
)
from segmetrics.distributed import ExactDistributedSampler
from segmetrics.functional import confusion_matrix, mean_iou
from segmetrics.integrations.transformers import ComputeMetrics
from segmetrics.metrics.base import MetricKwargs

METRICS = [
    each
    for name in segmetrics.__all__
    if isinstance(each := getattr(segmetrics, name), type) and issubclass(each, Metric)
]
FUNCTIONS = [
    each
    for name, each in vars(functional).items()
    if inspect.isfunction(each) and each.__module__.endswith(".functional")
]
STATISTICS = [statistics.confidence_interval, statistics.compare]
METHODS = [MeanIoU.update, BoundaryF1Score.update, ImageScores.update, SurfaceDice.update]
OTHERS: list[Callable[..., Any]] = [
    *(LabelSpace, labels.palette, overlays.colored, overlays.overlay, overlays.errors),
    *(report.write, report.write_comparison, report.Example, statistics.ImageCounts),
    *(statistics.ranking, statistics.slices, statistics.sample_size, statistics.class_differences),
    statistics.score_differences,
    *(errors.error_types, errors.trimap_iou, ExactDistributedSampler),
    ComputeMetrics,
]


def named(each: Any) -> str:
    return str(each.__qualname__)


def explanations(doc: str) -> dict[str, str]:
    """What a docstring says of each argument under ``Args``."""
    (args,) = re.findall(r"^Args:\n((?:\n|    .*\n)*)", doc, re.MULTILINE)
    entries = re.split(r"^    (?=\S)", args, flags=re.MULTILINE)[1:]
    split = [entry.split(": ", 1) for entry in entries]
    return {
        name.lstrip("*"): " ".join(text.split())
        for names, text in split
        for name in names.split(", ")
    }


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "each", [*METRICS, *FUNCTIONS, *METHODS, *STATISTICS, lightning.SegmentationCallback], ids=named
)
def test_every_argument_is_explained_with_its_default(each: Callable[..., Any]) -> None:
    doc = inspect.getdoc(each) or ""
    explained = explanations(doc)
    parameters = dict(inspect.signature(each).parameters)
    parameters.pop("self", None)
    assert list(explained) == list(parameters)
    for name, parameter in parameters.items():
        assert len(explained[name]) > 20
        if parameter.default is not parameter.empty:
            assert explained[name].endswith(f"Default: {parameter.default!r}.")
        else:
            assert "Default:" not in explained[name]
    assert ("Inputs of ``update``" in doc) == (each in METRICS)
    assert not re.search(r"as in :|as in ``|those of :class|\bas in `", doc)


@pytest.mark.parametrize("each", OTHERS, ids=named)
def test_every_argument_of_the_rest_is_explained(each: Callable[..., Any]) -> None:
    explained = explanations(inspect.getdoc(each) or "")
    assert set(inspect.signature(each).parameters) <= set(explained)
    assert all(len(text) > 5 for text in explained.values())


@pytest.mark.parametrize("each", [*METRICS, *FUNCTIONS], ids=named)
def test_help_has_shapes_range_errors_source_and_an_example(each: Callable[..., Any]) -> None:
    doc = inspect.getdoc(each) or ""
    assert "(N, " in doc, "shapes"
    assert "fp16" in doc or "integers ``(N, ..., 2)``" in doc, "dtypes"
    assert re.search(r"[Ii]n \[-?[01], (1|inf|pixels)\]", doc), "range"
    assert re.search(r"^Returns", doc, re.MULTILINE)
    assert "TypeError:" in doc
    assert "ValueError:" in doc
    assert re.search(r"\b(19|20)\d\d\b", doc), "source"
    assert ">>> " in doc
    assert max(map(len, doc.splitlines())) <= 96  # 100 with the indentation of help()


def test_help_of_a_metric_says_nothing_of_modules_of_torch() -> None:
    command = "import segmetrics; help(segmetrics.MeanIoU)"
    shown = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout
    text = shown.decode()
    assert "Initialize internal Module state" not in text
    assert text.index("ignore_index: one label or several") < text.index("Method resolution order")


def test_python_may_strip_docstrings() -> None:
    command = "from segmetrics import TverskyIndex; print(TverskyIndex(2, alpha=1.0))"
    run = [sys.executable, "-OO", "-c", command]
    shown = subprocess.run(run, capture_output=True, check=True).stdout.decode()
    assert shown.startswith("TverskyIndex(num_classes=2, alpha=1.0")


def test_signatures_name_every_argument() -> None:
    """Also those that a class passes on as ``**arguments`` to a base class, which spells them."""
    for metric in METRICS:
        parameters = inspect.signature(metric).parameters
        assert {p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD} == {"metric_kwargs"}
        assert parameters["metric_kwargs"].annotation == "Unpack[MetricKwargs]"
    assert list(inspect.signature(FBetaScore).parameters)[:3] == [
        "num_classes", "beta", "ignore_index",
    ]  # fmt: skip


def test_the_arguments_of_torchmetrics_are_those_that_it_takes() -> None:
    source = inspect.getsource(Metric.__init__)
    assert set(MetricKwargs.__annotations__) == set(re.findall(r'kwargs\.pop\("(\w+)"', source))


# --- wrong calls ----------------------------------------------------------------------------------

LABELS = torch.zeros(1, 4, 4, dtype=torch.int64)
COUNTS = statistics.ImageCounts(*torch.ones(3, 2, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MeanIoU(21, ignor_index=255), "Did you mean `ignore_index`? It takes num_classes"),
        (lambda: MeanIoU(num_clases=21), "`MeanIoU` has no argument `num_clases`. Did you mean"),
        (lambda: MeanIoU(21, reduction="none"), "Did you mean `average`?"),
        (lambda: MeanIoU(21, sync_on_comput=False), "Did you mean `sync_on_compute`?"),
        (lambda: MeanIoU(21, nonsense=1), "no argument `nonsense`. It takes num_classes, "),
        (lambda: MeanIoU(21, metric_kwargs={}), "no argument `metric_kwargs`"),
        (lambda: MeanIoU(21, validate_args=False), "always checked"),
        (lambda: FBetaScore(21, betta=2), "Did you mean `beta`?"),
        (lambda: HausdorffDistance(2, percentil=95), "Did you mean `percentile`?"),
        (lambda: SurfaceMetrics(2, tolerance=1, prefx="a"), "Did you mean `prefix`?"),
        (lambda: BoundaryF1Score(2, tolerence=1), "Did you mean `tolerance`?"),
        (lambda: SegmentationMetrics(2, classnames=["a", "b"]), "Did you mean `class_names`?"),
        (lambda: ImageScores(2, presense="either"), "Did you mean `presence`?"),
        (lambda: mean_iou(LABELS, LABELS, 2, ignor_index=1), "`mean_iou` has no argument"),
        (lambda: MeanIoU(2)(LABELS, LABELS, spacing=1), "It takes preds, target."),
        (lambda: MeanIoU(2).update(LABELS, traget=LABELS), "Did you mean `target`?"),
        (lambda: ImageScores(2)(LABELS, LABELS, image_id=["a"]), "Did you mean `image_ids`?"),
        (lambda: HausdorffDistance(2)(LABELS, LABELS, space=1), "preds, target, spacing"),
    ],
)
def test_an_unknown_argument_is_answered_with_the_nearest(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MeanIoU(21, 255), "`ignore_index=255`"),
        (lambda: MeanIoU(21, "micro"), "`average='micro'`"),
        (lambda: MeanIoU(21, [0, 255], "samplewise"), "`ignore_index=[0, 255], aggregation_level"),
        (lambda: MeanIoU(21, object()), "Pass the others by name: ignore_index, average"),
        (lambda: SegmentationMetrics(2, 255), "`ignore_index=255`"),
        (lambda: SegmentationMetrics(2, ["a", "b"]), "`class_names=['a', 'b']`"),
        (lambda: ImageScores(2, "either"), "`presence='either'`"),
        (lambda: HausdorffDistance(2, 95), "`percentile=95`"),
        (lambda: HausdorffDistance(2, 95, percentile=95), "`empty_distance=95`"),
        (lambda: mean_iou(LABELS, LABELS, 21, 255), "`ignore_index=255`"),
        (lambda: confusion_matrix(LABELS, LABELS, 2, "true"), "`normalize='true'`"),
        (lambda: statistics.confidence_interval(COUNTS, "mIoU_D", 0.9), "`level=0.9`"),
    ],
)
def test_an_argument_by_position_is_answered_with_its_name(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


WEIGHTED: list[Callable[..., object]] = [
    lambda **w: MeanIoU(2, **w),
    lambda **w: SegmentationMetrics(2, **w),
    lambda **w: ImageScores(2, **w),
    lambda **w: SurfaceDice(2, tolerance=1, **w),
    lambda **w: mean_iou(LABELS, LABELS, 2, **w),
    lambda **w: confusion_matrix(LABELS, LABELS, 2, **w),
    lambda **w: MeanIoU(2)(LABELS, LABELS, **w),
    lambda **w: MeanIoU(2).update(LABELS, LABELS, **w),
    lambda **w: HausdorffDistance(2)(LABELS, LABELS, **w),
    lambda **w: ImageScores(2).update(LABELS, LABELS, **w),
]


@pytest.mark.parametrize("name", ["weight", "weights", "class_weights", "sample_weight"])
@pytest.mark.parametrize("call", WEIGHTED)
def test_weights_are_refused_with_the_reason(call: Callable[..., object], name: str) -> None:
    with pytest.raises(TypeError, match=f'takes no `{name}`: .*exact integers.*average="none"'):
        call(**{name: torch.ones(1, 4, 4)})


def test_a_refused_call_changes_nothing() -> None:
    metric = MeanIoU(2)
    metric.update(LABELS, LABELS)
    with pytest.raises(TypeError):
        metric(LABELS, LABELS, weight=1)
    with pytest.raises(TypeError):
        metric.update(LABELS, LABELS, weight=1)
    assert metric.update_count == 1


def test_users_may_derive_a_metric_with_arguments_of_its_own() -> None:
    """What the metric itself does not take is for the class that is derived from it to know."""
    metric = Scaled(2, scale=3.0, ignore_index=255)
    metric.update(LABELS, LABELS)
    assert pickle.loads(pickle.dumps(metric)).clone().compute() == 3
    with pytest.raises(TypeError, match="Did you mean `ignore_index`"):
        Scaled(2, scale=3.0, ignoreindex=255)


class Scaled(MeanIoU):
    def __init__(self, *args: Any, scale: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale

    def compute(self) -> Any:
        return self.scale * super().compute()
