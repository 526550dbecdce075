"""Several processes count what one process counts: real gloo groups over stored label maps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassStatScores
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from processes import Collectives, run_processes
from segmetrics import ConfusionMatrix, DiceScore, MeanIoU, PixelAccuracy, SegmentationMetrics
from segmetrics.distributed import ExactDistributedSampler

C = 5
SIZES = (1, 2, 3, 4)
MAPS = (7, 2)  # no multiple of 2, 3 or 4 processes; fewer than 3 or 4


# --- stored label maps ----------------------------------------------------------------------------

TASKS: dict[str, dict[str, Any]] = {
    "labels": {"num_classes": C, "ignore_index": [254, 255]},
    "scores": {"num_classes": C, "ignore_index": 255},
    "binary": {"task": "binary", "ignore_index": 255},
    "multilabel": {"num_classes": C, "task": "multilabel", "ignore_index": 255},
}


def store(folder: Path) -> None:
    """Write predictions and targets of every task, map by map; void and abstained pixels too."""
    random = np.random.default_rng(0)
    for number in range(max(MAPS)):
        target = random.integers(0, C, (24, 31))
        masks = random.integers(0, 2, (C, 24, 31))
        preds = np.where(random.random(target.shape) < 0.5, target, random.integers(0, C))
        scores = random.random((C, 24, 31), np.float32)
        void = random.random(target.shape) < 0.2
        stored = {
            "labels_preds": np.where(random.random(target.shape) < 0.1, 254, preds),
            "labels_target": np.where(void, 255, target),
            "scores_preds": scores,
            "scores_target": np.where(void, 255, target),
            "binary_preds": scores[0],
            "binary_target": np.where(void, 255, masks[0]),
            "multilabel_preds": scores,
            "multilabel_target": np.where(void, 255, masks),
        }
        np.savez(folder / f"{number}.npz", **stored)


class StoredMaps(Dataset[tuple[np.ndarray, np.ndarray]]):
    def __init__(self, folder: Path, task: str, number: int) -> None:
        self.folder, self.task, self.number = folder, task, number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        with np.load(self.folder / f"{index}.npz") as stored:
            return stored[f"{self.task}_preds"], stored[f"{self.task}_target"]


def batches(folder: Path, task: str, number: int) -> DataLoader[Any]:
    maps = StoredMaps(folder, task, number)
    return DataLoader(maps, batch_size=2, sampler=ExactDistributedSampler(maps))


def updated(metric: Any, folder: Path, task: str, number: int) -> Any:
    for preds, target in batches(folder, task, number):
        metric.update(preds, target)
    return metric


# --- what every process does and reports ----------------------------------------------------------


def worker(rank: int, folder: Path) -> None:
    """Be a member of groups of 4, 3, 2 processes and of one alone, and write down what comes."""
    torch.set_num_threads(1)
    for size in sorted(SIZES, reverse=True):
        if rank >= size:
            continue
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/group-of-{size}",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=60),
        )
        report = {name: check(folder) for name, check in CHECKS.items()}
        torch.save(report, folder / f"report-{size}-{rank}.pt")
        dist.destroy_process_group()


def confusion(folder: Path) -> Any:
    report = {}
    for task, settings in TASKS.items():
        for number in MAPS:
            metric = updated(ConfusionMatrix(**settings), folder, task, number)
            report[task, number] = (metric.compute(), metric.abstained, metric.update_count)
    return report


def all_scores(folder: Path) -> Any:
    report = {}
    for task, settings in TASKS.items():
        for number in MAPS:
            for level in ("global", "samplewise"):
                metric = SegmentationMetrics(**settings, aggregation_level=level)
                updated(metric, folder, task, number)
                with Collectives() as collectives:
                    value = metric.compute()
                    metric.compute()
                states = synced_states(metric)
                report[task, number, level] = (value, states, collectives.names)
    return report


def synced_states(metric: Any) -> list[Tensor]:
    with metric.sync_context():
        return [state.clone() for state in metric.metric_state.values()]


def collectives_of_others(folder: Path) -> Any:
    """What torchmetrics' own sync takes for a metric of four states, and a collection of ours."""
    report = {}
    collection = MetricCollection([MeanIoU(C), DiceScore(C), PixelAccuracy(C)])
    for metric in (MulticlassStatScores(C, average="none"), collection):
        for preds, target in batches(folder, "scores", 7):
            metric.update(preds, target.where(target != 255, 0))
        with Collectives() as collectives:
            metric.compute()
        report[type(metric).__name__] = collectives.names
    return report


def sync_by_hand(folder: Path) -> Any:
    metric = updated(ConfusionMatrix(**TASKS["labels"]), folder, "labels", 7)
    ((name, before),) = metric.metric_state.items()
    metric.sync()
    synced, abstained = getattr(metric, name), metric.abstained
    refused = raises(TorchMetricsUserError, lambda: metric(torch.zeros(1, 3).long(), 0))
    metric.unsync()
    after = getattr(metric, name)
    updated(metric, folder, "labels", 2)
    return {
        "before": before,
        "synced": synced,
        "abstained": abstained,
        "after": after,
        "refused": refused,
        "computed": metric.compute(),
    }


def raises(kind: type[Exception], call: Callable[[], object]) -> str:
    """The message of what a call raises."""
    try:
        call()
    except kind as error:
        return str(error)
    return ""


def sync_on_step(folder: Path) -> Any:
    """Every process scores its own map: the step's value is that of all of them."""
    metric = MeanIoU(**TASKS["labels"], dist_sync_on_step=True)
    preds, target = StoredMaps(folder, "labels", 7)[dist.get_rank()]
    with Collectives() as collectives:
        step = metric(torch.tensor(preds)[None], torch.tensor(target)[None])
    return {
        "step": step,
        "collectives": collectives.names,
        "local": next(iter(metric.metric_state.values())),
        "total": metric.compute(),
    }


def own_sync_function(folder: Path) -> Any:
    """A ``dist_sync_fn`` of the user is what is called, in ``compute`` and for a step."""
    calls = []

    def gather(tensor: Tensor, group: Any = None) -> list[Tensor]:
        calls.append(tensor.shape)
        return gather_all_tensors(tensor, group)

    metric = MeanIoU(**TASKS["labels"], dist_sync_fn=gather)
    alone = MeanIoU(**TASKS["labels"], dist_sync_fn=lambda tensor, group=None: [tensor])
    step = MeanIoU(**TASKS["labels"], dist_sync_fn=gather, dist_sync_on_step=True)
    for each in (metric, alone):
        updated(each, folder, "labels", 7)
    preds, target = StoredMaps(folder, "labels", 7)[dist.get_rank()]
    return {
        "gathered": metric.compute(),
        "alone": alone.compute(),
        "step": step(torch.tensor(preds)[None], torch.tensor(target)[None]),
        "calls": len(calls),
    }


def process_group(folder: Path) -> Any:
    """A metric of the first two processes is none of the others' business."""
    first = dist.new_group(range(min(2, dist.get_world_size())))
    metric = ConfusionMatrix(**TASKS["labels"], process_group=first)
    updated(metric, folder, "labels", 7)
    return metric.compute() if dist.get_rank() < 2 else None


def without_sync(folder: Path) -> Any:
    metric = ConfusionMatrix(**TASKS["labels"], sync_on_compute=False)
    updated(metric, folder, "labels", 7)
    with Collectives() as collectives:
        value = metric.compute()
    return value, collectives.names


def bad_pixels_of_one_process(folder: Path) -> Any:
    """As a GPU would leave them: counted apart, in the first process only."""
    metric = updated(ConfusionMatrix(**TASKS["labels"]), folder, "labels", 7)
    ((name, before),) = metric.metric_state.items()
    if dist.get_rank() == 0:
        bad = torch.zeros_like(before)
        bad[metric.counting.cells :] = 3
        metric.merge_state({name: bad})
    local = getattr(metric, name).clone()
    message = raises(ValueError, metric.compute)
    return {"message": message, "as_it_was": torch.equal(getattr(metric, name), local)}


def plotted(folder: Path) -> Any:
    """A plot of the classes' scores is of all processes, too."""
    if find_spec("matplotlib") is None:
        return None
    metric = updated(MeanIoU(**TASKS["labels"]), folder, "labels", 7)
    _, ax = metric.plot()
    return [float(bar.get_width()) for bar in ax.patches]


def default_share(folder: Path) -> Any:
    return list(ExactDistributedSampler(range(11)))


CHECKS: dict[str, Callable[[Path], Any]] = {
    check.__name__: check
    for check in (
        confusion,
        all_scores,
        collectives_of_others,
        sync_by_hand,
        sync_on_step,
        own_sync_function,
        process_group,
        without_sync,
        bad_pixels_of_one_process,
        plotted,
        default_share,
    )
}


# --- one process, for comparison ------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    store(folder)
    run_processes(worker, max(SIZES), folder)
    return folder


@pytest.fixture(params=SIZES, ids=lambda size: f"{size} processes")
def reports(request: pytest.FixtureRequest, folder: Path) -> list[dict[str, Any]]:
    """What every process of a group has written down."""
    return [torch.load(folder / f"report-{request.param}-{r}.pt") for r in range(request.param)]


def longhand(folder: Path, task: str, maps: range) -> tuple[np.ndarray, np.ndarray]:
    """The confusion matrix and the abstained pixels, counted in NumPy."""
    matrices = []
    for number in maps:
        preds, target = StoredMaps(folder, task, len(maps))[number]
        labels = C if task in ("labels", "scores") else 2
        if task == "scores":
            preds = preds.argmax(0)
        elif task != "labels":
            preds = preds > 0.5
        channels = zip(preds, target, strict=True) if task == "multilabel" else [(preds, target)]
        matrix = np.zeros((C if task == "multilabel" else 1, labels, labels + 1), np.int64)
        for channel, (p, t) in enumerate(channels):
            for row in range(labels):
                predicted = np.where(p == 254, labels, p)[t == row].astype(int)
                matrix[channel, row] = np.bincount(predicted, minlength=labels + 1)
        matrices.append(matrix if task == "multilabel" else matrix[0])
    total = np.sum(matrices, axis=0)
    return total[..., :-1], total[..., -1]


def equal(one: Tensor, other: Any) -> bool:
    return torch.equal(one, torch.as_tensor(other))


@pytest.mark.parametrize("number", MAPS)
@pytest.mark.parametrize("task", TASKS)
def test_the_confusion_matrix_is_that_of_one_process_bit_by_bit(
    reports: list[dict[str, Any]], folder: Path, task: str, number: int
) -> None:
    matrix, abstained = longhand(folder, task, range(number))
    one_process = updated(ConfusionMatrix(**TASKS[task]), folder, task, number)
    assert equal(one_process.compute(), matrix)
    for report in reports:
        counted, kept_back, _ = report["confusion"][task, number]
        assert equal(counted, matrix)
        assert equal(kept_back, abstained)
    updates = [report["confusion"][task, number][2] for report in reports]
    shares = [len(range(rank, number, len(reports))) for rank in range(len(reports))]
    assert updates == [-(-share // 2) for share in shares]  # batches of two, none repeated


@pytest.mark.parametrize("level", ["global", "samplewise"])
@pytest.mark.parametrize("number", MAPS)
@pytest.mark.parametrize("task", TASKS)
def test_all_scores_take_one_collective_and_are_those_of_one_process(
    reports: list[dict[str, Any]], folder: Path, task: str, number: int, level: str
) -> None:
    metric = SegmentationMetrics(**TASKS[task], aggregation_level=level)
    updated(metric, folder, task, number)
    for report in reports:
        value, states, collectives = report["all_scores"][task, number, level]
        assert collectives == ["allreduce_"]
        torch.testing.assert_close(states, list(metric.metric_state.values()), rtol=0, atol=0)
        torch.testing.assert_close(value, metric.compute(), rtol=0, atol=0, equal_nan=True)
        assert value == reports[0]["all_scores"][task, number, level][0]


def test_torchmetrics_own_sync_takes_more_collectives(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        others = report["collectives_of_others"]
        assert len(others["MulticlassStatScores"]) > 4
        assert others["MetricCollection"] == ["allreduce_"] * 3  # one a metric


def test_a_sync_by_hand_can_be_taken_back(reports: list[dict[str, Any]], folder: Path) -> None:
    matrix, abstained = longhand(folder, "labels", range(7))
    more, _ = longhand(folder, "labels", range(2))
    checks = [report["sync_by_hand"] for report in reports]
    for check in checks:
        counts = check["synced"][: C * (C + 1)].view(C, C + 1)
        assert equal(counts[:, :-1], matrix)
        assert equal(check["abstained"], abstained)
        assert "call `unsync`" in check["refused"]
        assert equal(check["after"], check["before"])
        assert equal(check["computed"], matrix + more)
    assert equal(sum(check["before"] for check in checks), checks[0]["synced"])


def test_a_step_is_synced_where_asked_and_the_state_stays_local(
    reports: list[dict[str, Any]], folder: Path
) -> None:
    maps = StoredMaps(folder, "labels", 7)
    together, alone = MeanIoU(**TASKS["labels"]), MeanIoU(**TASKS["labels"])
    for rank, report in enumerate(reports):
        preds, target = (torch.tensor(array)[None] for array in maps[rank])
        together.update(preds, target)
        alone.reset()
        alone.update(preds, target)
        assert equal(report["sync_on_step"]["local"], next(iter(alone.metric_state.values())))
        assert report["sync_on_step"]["collectives"] == ["allreduce_"]
    for report in reports:
        assert report["sync_on_step"]["step"] == together.compute()
        assert report["sync_on_step"]["total"] == together.compute()


def test_a_sync_function_of_the_user_is_honoured(
    reports: list[dict[str, Any]], folder: Path
) -> None:
    whole = updated(MeanIoU(**TASKS["labels"]), folder, "labels", 7).compute()
    for rank, report in enumerate(reports):
        check = report["own_sync_function"]
        assert check["gathered"] == whole
        assert check["step"] == report["sync_on_step"]["step"]
        assert check["calls"] == 2  # `compute`, and the step
        share = MeanIoU(**TASKS["labels"])
        for number in range(rank, 7, len(reports)):
            preds, target = StoredMaps(folder, "labels", 7)[number]
            share.update(torch.tensor(preds)[None], torch.tensor(target)[None])
        assert check["alone"] == share.compute()


def test_a_process_group_limits_the_sum(reports: list[dict[str, Any]], folder: Path) -> None:
    shares = [report["without_sync"][0] for report in reports]
    for report in reports[:2]:
        assert equal(report["process_group"], sum(shares[:2]))


def test_without_sync_on_compute_nothing_is_sent(
    reports: list[dict[str, Any]], folder: Path
) -> None:
    assert [report["without_sync"][1] for report in reports] == [[]] * len(reports)
    shares = [report["without_sync"][0] for report in reports]
    assert equal(sum(shares), longhand(folder, "labels", range(7))[0])


def test_bad_pixels_of_one_process_raise_in_all_and_leave_each_its_own_state(
    reports: list[dict[str, Any]],
) -> None:
    for report in reports:
        check = report["bad_pixels_of_one_process"]
        assert "3 pixels of `target` are 255" in check["message"]
        assert check["as_it_was"]


def test_a_plot_shows_the_scores_over_all_processes(
    reports: list[dict[str, Any]], folder: Path
) -> None:
    pytest.importorskip("matplotlib")
    metric = updated(MeanIoU(**TASKS["labels"], average="none"), folder, "labels", 7)
    for report in reports:
        assert report["plotted"] == pytest.approx(sorted(metric.compute().tolist()))


def test_a_sampler_knows_its_process(reports: list[dict[str, Any]]) -> None:
    shares = [report["default_share"] for report in reports]
    assert shares == [list(range(rank, 11, len(reports))) for rank in range(len(reports))]


# --- the sampler ----------------------------------------------------------------------------------

POSITIONS = {
    "samples": st.integers(0, 40),
    "replicas": st.integers(1, 9),
    "shuffle": st.booleans(),
    "seed": st.integers(0, 2**40),
    "epoch": st.integers(0, 100),
}


@given(**POSITIONS)
def test_every_sample_is_on_exactly_one_process(
    samples: int, replicas: int, shuffle: bool, seed: int, epoch: int
) -> None:
    shares = []
    for rank in range(replicas):
        sampler = ExactDistributedSampler(
            range(samples), replicas, rank, shuffle=shuffle, seed=seed
        )
        sampler.set_epoch(epoch)
        share = list(sampler)
        assert len(sampler) == len(share) == len(list(sampler))
        shares.append(share)
    assert sorted(index for share in shares for index in share) == list(range(samples))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


@given(**POSITIONS)
def test_an_order_depends_on_seed_and_epoch_and_on_nothing_else(
    samples: int, replicas: int, shuffle: bool, seed: int, epoch: int
) -> None:
    def order(number: int, epoch: int) -> list[int]:
        """The samples in the order in which the processes together meet them."""
        shares = []
        for rank in range(number):
            sampler = ExactDistributedSampler(
                range(samples), number, rank, shuffle=shuffle, seed=seed
            )
            sampler.set_epoch(epoch)
            shares.append(list(sampler))
        return [shares[i % number][i // number] for i in range(samples)]

    torch.manual_seed(epoch)  # which must not matter
    assert order(replicas, epoch) == order(1, epoch)
    if not shuffle:
        assert order(replicas, epoch) == list(range(samples))
    elif samples > 20:
        assert order(replicas, epoch) != order(replicas, epoch + 1)
        assert order(replicas, epoch) != list(range(samples))


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("epoch", [None, 3])
def test_the_order_is_that_of_torchs_own_sampler(seed: int | None, epoch: int | None) -> None:
    given = {} if seed is None else {"seed": seed}
    for rank in range(3):  # 12 samples, so that torch repeats none
        samplers = (
            ExactDistributedSampler(range(12), 3, rank, shuffle=True, **given),
            DistributedSampler(range(12), 3, rank, shuffle=True, **given),  # type: ignore[arg-type]
        )
        if epoch is not None:
            for sampler in samplers:
                sampler.set_epoch(epoch)
        own, of_torch = map(list, samplers)
        assert own == of_torch


def test_without_processes_the_sampler_gives_all() -> None:
    loader = DataLoader(range(7), sampler=ExactDistributedSampler(range(7)), batch_size=3)  # type: ignore[arg-type]
    assert torch.cat(list(loader)).tolist() == list(range(7))
    assert len(loader) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_replicas": 0}, ValueError, "`num_replicas` must be at least 1, got 0"),
        ({"num_replicas": 2, "rank": 2}, ValueError, r"`rank` must be in \[0, 2\), got 2"),
        ({"num_replicas": 2, "rank": -1}, ValueError, r"`rank` must be in \[0, 2\), got -1"),
        ({"rank": 1}, ValueError, r"`rank` must be in \[0, 1\), got 1"),
        ({"num_replicas": 2.0}, TypeError, r"`num_replicas` must be an int, got 2\.0"),
        ({"shuffle": 1}, TypeError, "`shuffle` must be a bool, got 1"),
        ({"seed": "0"}, TypeError, "`seed` must be an int, got '0'"),
    ],
)
def test_wrong_arguments_of_the_sampler_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ExactDistributedSampler(range(7), **arguments)


def test_only_the_length_of_the_data_set_is_used() -> None:
    class Sized:
        def __len__(self) -> int:
            return 3

    assert list(ExactDistributedSampler(Sized())) == [0, 1, 2]
