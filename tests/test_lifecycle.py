"""What torchmetrics promises of a metric holds: forward, reset, copies, checkpoints, arithmetic."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segmetrics
from processes import run_processes
from segmetrics import (
    CalibrationError,
    CohenKappa,
    ConfusionMatrix,
    DiceScore,
    FBetaScore,
    GeneralizedDiceScore,
    MatthewsCorrCoef,
    MeanIoU,
    PixelAccuracy,
    Precision,
    Recall,
    SegmentationMetrics,
    Specificity,
    TverskyIndex,
)

PUBLIC = {name: getattr(segmetrics, name) for name in segmetrics.__all__}
C = 4
NAMES = ["road", "car", "person", "sky"]

#: one metric of every class, in most settings that change what the state is
METRICS: dict[str, Callable[[], Any]] = {
    "MeanIoU": lambda: MeanIoU(C, ignore_index=255),
    "MeanIoU none": lambda: MeanIoU(C, average="none", ignore_index=[1, 255]),
    "MeanIoU samplewise": lambda: MeanIoU(C, aggregation_level="samplewise", ignore_index=255),
    "MeanIoU binary": lambda: MeanIoU(task="binary", ignore_index=255),
    "MeanIoU multilabel": lambda: MeanIoU(C, task="multilabel", ignore_index=255),
    "DiceScore": lambda: DiceScore(C, average="weighted", ignore_index=255),
    "GeneralizedDiceScore": lambda: GeneralizedDiceScore(C, ignore_index=255),
    "TverskyIndex": lambda: TverskyIndex(C, alpha=0.3, beta=0.7, ignore_index=255),
    "FBetaScore": lambda: FBetaScore(C, beta=2.0, average="micro", ignore_index=255),
    "Precision": lambda: Precision(C, include_background=False, ignore_index=255),
    "Recall": lambda: Recall(C, average="none", aggregation_level="samplewise", ignore_index=255),
    "Specificity": lambda: Specificity(C, ignore_index=255),
    "PixelAccuracy": lambda: PixelAccuracy(C, ignore_index=255),
    "CohenKappa": lambda: CohenKappa(C, ignore_index=255),
    "MatthewsCorrCoef": lambda: MatthewsCorrCoef(C, ignore_index=255),
    "ConfusionMatrix": lambda: ConfusionMatrix(C, ignore_index=255),
    "ConfusionMatrix true": lambda: ConfusionMatrix(C, normalize="true", ignore_index=255),
    "SegmentationMetrics": lambda: SegmentationMetrics(C, class_names=NAMES, ignore_index=255),
    "SegmentationMetrics samplewise": lambda: SegmentationMetrics(
        C, aggregation_level="samplewise", ignore_index=255
    ),
    "SegmentationMetrics binary": lambda: SegmentationMetrics(task="binary", ignore_index=255),
}


@pytest.fixture(params=METRICS)
def new(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return METRICS[request.param]


def batch(metric: Any, seed: int, images: int = 3) -> tuple[Tensor, Tensor]:
    """Predictions that are often right, void pixels, and one image of nothing else."""
    generator = torch.Generator().manual_seed(seed)
    task = metric.counting.task
    shape = (images, C, 9, 7) if task == "multilabel" else (images, 9, 7)
    target = torch.randint(C if task == "multiclass" else 2, shape, generator=generator)
    other = torch.randint(C if task == "multiclass" else 2, shape, generator=generator)
    preds = torch.where(torch.rand(shape, generator=generator) < 0.6, target, other)
    target[torch.rand(shape, generator=generator) < 0.2] = 255
    target[-1] = 255
    return preds, target


def leaves(value: Any) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value]


def assert_same(value: Any, expected: Any, **tolerance: float) -> None:
    assert type(value) is type(expected)
    if isinstance(value, dict):
        assert list(value) == list(expected)
    options = {"rtol": 0.0, "atol": 0.0} | tolerance
    torch.testing.assert_close(value, expected, equal_nan=True, **options)


def everything(metric: Any) -> dict[str, Any]:
    """All that a metric remembers."""
    counters = ("_update_count", "_computed", "_forward_cache", "_is_synced", "_to_sync", "_cache")
    kept = {name: copy.deepcopy(getattr(metric, name)) for name in counters}
    return kept | {name: state.clone() for name, state in metric.metric_state.items()}


# --- forward and reset ----------------------------------------------------------------------------


def test_forward_returns_the_batch_alone_and_adds_it(new: Callable[[], Any]) -> None:
    metric, batches = new(), [batch(new(), seed) for seed in range(3)]
    for preds, target in batches:
        alone = new()
        alone.update(preds, target)
        assert_same(metric(preds, target), alone.compute())
    whole = new()
    whole.update(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    assert_same(metric.compute(), whole.compute(), atol=1e-7)
    assert metric.update_count == 3


def test_a_step_that_syncs_gives_the_metric_back_its_own_state() -> None:
    labels = torch.tensor([[0, 1, 1]])
    metric = ConfusionMatrix(
        2,
        dist_sync_on_step=True,
        dist_sync_fn=lambda state, group: [state, state],
        distributed_available_fn=lambda: True,
    )
    for step in (1, 2):
        assert metric(labels, labels).trace() == 6
        assert metric._states[0].sum() == 3 * step


def test_reset_forgets_everything(new: Callable[[], Any]) -> None:
    metric = new()
    metric(*batch(metric, 0))
    metric.compute()
    metric.reset()
    fresh = new()
    assert not metric.update_called
    for state, default in zip(
        metric.metric_state.values(), fresh.metric_state.values(), strict=True
    ):
        assert_same(state, default)
    again = batch(metric, 1)
    assert_same(metric(*again), fresh(*again))
    assert_same(metric.compute(), fresh.compute())


def test_states_that_were_handed_out_stay_as_they_were(new: Callable[[], Any]) -> None:
    metric = new()
    metric.update(*batch(metric, 0))
    handed_out = metric.metric_state
    before = {name: state.clone() for name, state in handed_out.items()}
    metric.update(*batch(metric, 1))
    metric.reset()
    assert_same(handed_out, before)


def test_an_empty_batch_changes_nothing(new: Callable[[], Any]) -> None:
    metric = new()
    metric.update(*batch(metric, 0))
    expected = metric.compute()
    preds, target = batch(metric, 1)
    metric.update(preds[:0], target[:0])
    assert_same(metric.compute(), expected)


# --- before the first update, and the cache -------------------------------------------------------


def test_compute_before_update_is_nan_with_a_warning(new: Callable[[], Any]) -> None:
    metric = new()
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        value = metric.compute()
    for leaf in leaves(value):
        if isinstance(metric, ConfusionMatrix):
            assert not leaf.any()
        else:
            assert leaf.isnan().all()


def test_compute_is_remembered_until_the_next_update(new: Callable[[], Any]) -> None:
    metric = new()
    metric.update(*batch(metric, 0))
    first = metric.compute()
    assert metric.compute() is first
    metric.update(*batch(metric, 1))
    second = metric.compute()
    assert second is not first
    assert any(not torch.equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))
    metric.reset()
    metric.update(*batch(metric, 0))
    assert_same(metric.compute(), first)


def test_the_cache_can_be_turned_off() -> None:
    metric = MeanIoU(C, ignore_index=255, compute_with_cache=False)
    metric.update(*batch(metric, 0))
    assert metric.compute() is not metric.compute()


def test_what_compute_returned_is_no_part_of_the_state() -> None:
    metric = ConfusionMatrix(C, ignore_index=255, compute_with_cache=False)
    forwarded = metric(*batch(metric, 0))
    expected = metric.compute().clone()
    forwarded.zero_()
    metric.compute().zero_()
    metric.abstained.fill_(7)
    assert_same(metric.compute(), expected)


# --- a failing call -------------------------------------------------------------------------------

MISTAKES: dict[str, Callable[[Tensor, Tensor], tuple[Any, Any]]] = {
    "a bad label": lambda preds, target: (preds, target.clone().fill_(77)),
    "a bad prediction": lambda preds, target: (preds.clone().fill_(-3), target),
    "other sizes": lambda preds, target: (preds[..., :-1], target),
    "a float target": lambda preds, target: (preds, target.float()),
    "no tensor": lambda preds, target: (preds.tolist(), target),
    "a missing argument": lambda preds, target: (preds,),  # type: ignore[return-value]
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=list(MISTAKES))
@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_failing_call_leaves_all_as_it_was(
    new: Callable[[], Any], call: str, mistake: Callable[[Tensor, Tensor], tuple[Any, Any]]
) -> None:
    metric = new()
    metric(*batch(metric, 0))
    metric.compute()
    before = everything(metric)
    with pytest.raises((TypeError, ValueError)):
        getattr(metric, call)(*mistake(*batch(metric, 1)))
    after = everything(metric)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0, equal_nan=True)


def test_bad_pixels_that_a_device_left_uncounted_raise_in_compute_until_reset() -> None:
    """On a GPU a bad label is counted apart; here such counts come from a merged state."""
    metric = MeanIoU(2)
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))
    (name, counts), *_ = metric.metric_state.items()
    bad = torch.zeros_like(counts)
    bad[metric.counting.cells + 1] = 5  # behind the counts: targets of 255
    metric.merge_state({name: bad})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"5 pixels of `target` are 255.*`ignore_index=255`"):
            metric.compute()
    metric.reset()
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    assert metric.compute() == 0.25


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["update", "forward"])
@pytest.mark.parametrize("scores", [False, True], ids=["labels", "scores"])
def test_inputs_are_neither_changed_nor_kept(
    new: Callable[[], Any], call: str, scores: bool
) -> None:
    metric = new()
    preds, target = batch(metric, 0)
    if scores and metric.counting.task == "multiclass":
        preds = nn.functional.one_hot(preds, C).movedim(-1, 1).float().requires_grad_()
    elif scores:
        preds = preds.float().requires_grad_()
    copies, versions = (preds.detach().clone(), target.clone()), (preds._version, target._version)
    getattr(metric, call)(preds, target)
    assert_same((preds.detach(), target), copies)
    assert (preds._version, target._version) == versions

    value = metric.compute()
    assert not any(state.requires_grad for state in metric.metric_state.values())
    assert not any(leaf.requires_grad for leaf in leaves(value))
    with torch.no_grad():
        preds.fill_(0)
    target.fill_(0)
    metric._computed = None
    assert_same(metric.compute(), value)

    references = weakref.ref(preds), weakref.ref(target)
    del preds, target
    assert [reference() for reference in references] == [None, None]


def test_a_reset_under_inference_mode_does_not_lock_the_state(new: Callable[[], Any]) -> None:
    """Lightning validates, and resets, under inference mode."""
    metric, fresh = new(), new()
    with torch.inference_mode():
        metric.update(*batch(metric, 0))
        metric.compute()
        metric.reset()
    metric.update(*batch(metric, 1))
    fresh.update(*batch(metric, 1))
    assert_same(metric.compute(), fresh.compute())


# --- copies and checkpoints -----------------------------------------------------------------------


def through_a_file(metric: Any, tmp_path: Path) -> Any:
    torch.save(metric, tmp_path / "metric.pt")
    return torch.load(tmp_path / "metric.pt", weights_only=False)


COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "clone": lambda metric, _: metric.clone(),
    "deepcopy": lambda metric, _: copy.deepcopy(metric),
    "pickle": lambda metric, _: pickle.loads(pickle.dumps(metric)),
    "torch.save": through_a_file,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=list(COPIES))
def test_a_copy_has_the_state_and_a_life_of_its_own(
    new: Callable[[], Any], duplicate: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    metric, reference = new(), new()
    for seed in range(2):
        reference.update(*batch(metric, seed))
    metric.update(*batch(metric, 0))
    value = metric.compute()
    twin = duplicate(metric, tmp_path)
    assert_same(twin.compute(), value)
    twin.update(*batch(metric, 1))
    assert_same(twin.compute(), reference.compute())
    assert_same(metric.compute(), value)
    if isinstance(metric, SegmentationMetrics):  # its views ask the copy
        for key, view in twin.items():
            assert_same(view.compute(), twin.compute()[key])
        next(iter(dict(twin.items()).values())).reset()
        assert not twin.update_called
    assert metric.update_called


def test_the_state_is_in_the_state_dict_once_persistent_and_only_there(
    new: Callable[[], Any],
) -> None:
    metric = nn.ModuleDict({"metric": new()})
    metric["metric"].update(*batch(metric["metric"], 0))
    assert not metric.state_dict()
    metric["metric"].persistent(True)
    saved = metric.state_dict()
    assert saved.keys() == {f"metric.{name}" for name in metric["metric"].metric_state}

    restored = nn.ModuleDict({"metric": new()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a restored state is no missing update
        with pytest.warns(UserWarning, match="before the ``update``"):
            restored["metric"].compute()
        restored.load_state_dict(saved)
        assert_same(restored["metric"].compute(), metric["metric"].compute())
    assert_same(saved, metric.state_dict())


def test_a_state_dict_of_other_settings_is_refused() -> None:
    metric, other = MeanIoU(C, ignore_index=255), MeanIoU(C, ignore_index=254)
    metric.update(*batch(metric, 0))
    metric.persistent(True)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        other.load_state_dict(metric.state_dict())
    assert not other.update_called


def go_on(_: int, folder: Path) -> None:
    """The second half of the epoch."""
    result = {}
    for name, saved in torch.load(folder / "half.pt").items():
        metric = METRICS[name]()
        metric.load_state_dict(saved)
        metric.update(*batch(metric, 1))
        result[name] = (metric.compute(), metric.metric_state)
    torch.save(result, folder / "whole.pt")


def test_a_checkpoint_in_mid_epoch_goes_on_in_a_new_process_to_the_same_bits(
    tmp_path: Path,
) -> None:
    expected, halves = {}, {}
    for name, new in METRICS.items():
        metric = new()
        metric.persistent(True)
        metric.update(*batch(metric, 0))
        halves[name] = metric.state_dict()
        metric.update(*batch(metric, 1))
        expected[name] = (metric.compute(), metric.metric_state)
    torch.save(halves, tmp_path / "half.pt")
    run_processes(go_on, 1, tmp_path)
    result = torch.load(tmp_path / "whole.pt")
    assert result.keys() == expected.keys()
    for name, (value, states) in result.items():
        assert_same(value, expected[name][0])
        assert_same(states, expected[name][1])


# --- merging and arithmetic -----------------------------------------------------------------------


@pytest.mark.parametrize("as_dict", [False, True], ids=["metric", "dict"])
def test_merged_parts_are_the_whole(new: Callable[[], Any], as_dict: bool) -> None:
    parts, whole = [new() for _ in range(3)], new()
    for seed in range(4):
        whole.update(*batch(whole, seed))
        parts[seed % 2].update(*batch(whole, seed))  # the last part sees nothing
    merged = parts.pop()
    for part in parts:
        merged.merge_state(part.metric_state if as_dict else part)
    assert_same(merged.compute(), whole.compute(), atol=1e-7)
    merged.update(*batch(whole, 5))
    whole.update(*batch(whole, 5))
    assert_same(merged.compute(), whole.compute(), atol=1e-7)


def test_a_merge_voids_the_cached_value() -> None:
    one, other = (MeanIoU(C, ignore_index=255) for _ in range(2))
    one.update(*batch(one, 0))
    other.update(*batch(one, 1))
    before = one.compute()
    one.merge_state(other)
    assert one.compute() != before


def test_a_merge_with_other_settings_is_refused() -> None:
    metric = MeanIoU(C, ignore_index=255)
    metric.update(*batch(metric, 0))
    before = everything(metric)
    with pytest.raises(ValueError, match="to be present in incoming state"):
        metric.merge_state(MeanIoU(C, ignore_index=254))
    with pytest.raises(ValueError, match="to be an instance of MeanIoU"):
        metric.merge_state(DiceScore(C, ignore_index=255))
    assert_same(everything(metric), before)


def test_metrics_can_be_calculated_with() -> None:
    iou, per_class = MeanIoU(C, ignore_index=255), MeanIoU(C, average="none", ignore_index=255)
    accuracy = PixelAccuracy(C, ignore_index=255)
    combined = (2 * iou + accuracy) / 3
    spread = per_class[1] - iou
    for seed in range(2):
        combined.update(*batch(iou, seed))
        spread.update(*batch(iou, seed))
    fresh = MeanIoU(C, ignore_index=255)
    fresh.update(*batch(iou, 0))
    fresh.update(*batch(iou, 1))
    # `iou` is part of both, so it has seen every batch twice: a mean of counts does not change
    assert_same(iou.compute(), fresh.compute())
    assert_same(combined.compute(), (2 * iou.compute() + accuracy.compute()) / 3)
    assert_same(spread.compute(), per_class.compute()[1] - iou.compute())
    assert combined(*batch(iou, 3)).isfinite()
    combined.reset()
    assert not iou.update_called


# --- dtypes and devices ---------------------------------------------------------------------------

CONVERSIONS: dict[str, Callable[[nn.Module], Any]] = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "float": lambda module: module.float(),
    "double": lambda module: module.double(),
    "to(float16)": lambda module: module.to(torch.float16),
    "to(cpu, bfloat16)": lambda module: module.to("cpu", torch.bfloat16),
    "type": lambda module: module.type(torch.float16),
    "set_dtype": lambda module: module["metric"].set_dtype(torch.float16),  # type: ignore[operator]
}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=list(CONVERSIONS))
def test_converting_a_model_leaves_counts_and_sums_exact(
    new: Callable[[], Any], convert: Callable[[nn.Module], Any]
) -> None:
    metric, reference = new(), new()
    metric.update(*batch(metric, 0))
    reference.update(*batch(metric, 0))
    convert(nn.ModuleDict({"model": nn.Linear(2, 2), "metric": metric}))
    for _ in range(2):  # what is counted by now, and what a reset starts from
        states, expected = metric.metric_state, reference.metric_state
        assert all(state.dtype in (torch.int64, torch.float64) for state in states.values())
        assert_same(states, expected)
        metric.update(*batch(metric, 1))
        reference.update(*batch(metric, 1))
        value = metric.compute()
        assert_same(value, reference.compute())
        metric.reset()
        reference.reset()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", METRICS if torch.cuda.is_available() else ["all"])
def test_a_metric_moves_between_devices_with_its_state(name: str) -> None:
    metric, reference = METRICS[name](), METRICS[name]()
    for seed, device in enumerate(["cpu", "cuda", "cpu"]):
        metric.to(device)
        metric.update(*(tensor.to(device) for tensor in batch(metric, seed)))
        reference.update(*batch(metric, seed))
        value = metric.compute()
        assert all(leaf.device.type == device for leaf in leaves(value))
        assert all(state.device.type == device for state in metric.metric_state.values())
        moved = {k: v.cpu() for k, v in value.items()} if isinstance(value, dict) else value.cpu()
        assert_same(moved, reference.compute(), atol=1e-7)


# --- what else a metric says ----------------------------------------------------------------------


def test_abstained_pixels_are_counted_next_to_the_confusion_matrix() -> None:
    target = torch.tensor([[0, 0, 1, 2, 2, 255, 254]])
    preds = torch.tensor([[0, 255, 254, 2, 255, 255, 0]])
    metric = ConfusionMatrix(3, ignore_index=[254, 255])
    metric.update(preds, target)
    metric.update(preds, target)
    assert metric.compute().tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 2]]
    assert metric.abstained.tolist() == [2, 2, 2]
    metric.reset()
    assert metric.abstained.tolist() == [0, 0, 0]


def test_abstained_pixels_of_multilabel_are_counted_for_each_channel() -> None:
    target = torch.tensor([[[1, 0, 255], [1, 1, 0]]])
    preds = torch.tensor([[[255, 0, 255], [255, 255, 255]]])
    metric = ConfusionMatrix(2, task="multilabel", ignore_index=255)
    metric.update(preds, target)
    assert metric.abstained.tolist() == [[0, 1], [1, 2]]
    assert metric.compute().tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_repr_is_the_call_that_makes_such_a_metric(new: Callable[[], Any]) -> None:
    metric = new()
    made = eval(repr(metric), PUBLIC)
    assert type(made) is type(metric)
    assert repr(made) == repr(metric)
    assert made.metric_state.keys() == metric.metric_state.keys()
    assert_same(made(*batch(metric, 0)), metric(*batch(metric, 0)))


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(MeanIoU(21)) == "MeanIoU(num_classes=21)"
    assert repr(MeanIoU(task="binary")) == "MeanIoU(task='binary')"
    shown = repr(TverskyIndex(2, alpha=0.3, class_names=["road", "car"], zero_division=1))
    assert shown == (
        "TverskyIndex(num_classes=2, class_names=['road', 'car'], zero_division=1.0, "
        "alpha=0.3, beta=0.5)"
    )
    shown = repr(CalibrationError(2, classwise=True, average="none"))
    assert shown == "CalibrationError(num_classes=2, average='none', classwise=True)"
    assert repr(CalibrationError(task="binary")) == "CalibrationError(task='binary')"
    shown = repr(SegmentationMetrics(3, per_class=False, prefix="val/", include_background=False))
    assert shown == (
        "SegmentationMetrics(num_classes=3, include_background=False, per_class=False, "
        "prefix='val/')"
    )


def test_counts_past_what_floats_hold_stay_exact() -> None:
    """float32 would stop at 2**24, float64 at 2**53."""
    metric = ConfusionMatrix(2)
    ((name, counts),) = metric.metric_state.items()
    start = torch.zeros_like(counts)
    start[0] = 2**53
    metric.merge_state({name: start})
    metric.half()
    for _ in range(3):
        metric.update(torch.tensor([[0]]), torch.tensor([[0]]))
    assert metric.compute()[0, 0].item() == 2**53 + 3


# --- the import -----------------------------------------------------------------------------------

HEAVY = (
    *("numba", "triton", "matplotlib", "plotly", "scipy", "pandas", "sklearn", "monai"),
    *("pytorch_lightning", "lightning", "torchvision", "PIL", "cv2"),
)

IMPORT = f"""
import sys, torchmetrics
for name in {HEAVY}:
    sys.modules[name] = None  # importing it raises, be it loaded by torchmetrics or not
before = set(sys.modules)
import segmetrics, segmetrics.distributed, segmetrics.functional
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(" ".join(sorted(new - set(sys.stdlib_module_names))))
print(segmetrics.MeanIoU(21), segmetrics.SegmentationMetrics(21))
"""


@pytest.fixture(scope="module")
def imported() -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_import_and_construction_need_nothing_heavy(imported: list[str]) -> None:
    assert imported[1:] == ["MeanIoU(num_classes=21) SegmentationMetrics(num_classes=21)"]


def test_import_loads_nothing_beyond_torch_and_torchmetrics(imported: list[str]) -> None:
    assert imported[0].split() == ["segmetrics"]


def test_the_command_does_not_wait_for_torchmetrics() -> None:
    pytest.importorskip("typer")
    pytest.importorskip("numba")
    code = "import sys, segmetrics.evaluate.command; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_the_test_batches_hold_what_the_tests_rely_on() -> None:
    preds, target = batch(MeanIoU(C), 0)
    assert set(np.unique(target)) == {*range(C), 255}
    assert (target[-1] == 255).all()
    assert 0.5 < (preds == target)[target != 255].float().mean() < 0.9
