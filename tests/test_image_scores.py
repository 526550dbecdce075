"""Image-level scores: against loops written longhand, and the same over processes and lives."""

import copy
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch import distributed as dist
from torchmetrics import MetricCollection

import longhand
from processes import run_processes
from segmetrics import DiceScore, MeanIoU, Recall
from segmetrics.metrics.image import ImageScores
from segmetrics.statistics import (
    KEYS,
    compare,
    confidence_interval,
    conventions,
    ranking,
    sample_size,
    slices,
)

C = 4


def maps(images: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and targets of 4 classes with void pixels, of varying quality."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, C, (images, 1, 3), generator=generator)
    target = target.repeat_interleave(4, 1).repeat_interleave(4, 2)
    noise = torch.randint(0, C, target.shape, generator=generator)
    quality = torch.rand(images, 1, 1, generator=generator)
    preds = target.where(torch.rand(target.shape, generator=generator) < quality, noise)
    return preds, target.where(torch.rand(target.shape, generator=generator) < 0.9, 255)


def filled(ids: bool = True, **arguments: Any) -> ImageScores:
    preds, target = maps()
    metric = ImageScores(C, ignore_index=255, **arguments)
    metric.update(preds, target, names(7) if ids else None)
    return metric


def names(images: int) -> list[str]:
    return [f"{chr(ord('a') + i)}.png" for i in reversed(range(images))]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@st.composite
def label_maps(draw: Any, labels: int, void: bool) -> tuple[np.ndarray, np.ndarray]:
    """Few images of few pixels: absent classes, empty images and single images are common."""
    images, pixels = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    values = [*range(labels), *([255] if void else [])]

    def drawn(allowed: list[int]) -> np.ndarray:
        size = images * pixels
        flat = draw(st.lists(st.sampled_from(allowed), min_size=size, max_size=size))
        return np.array(flat).reshape(images, 1, pixels)

    return drawn(values[:labels]), drawn(values)


def check(metric: ImageScores, expected: dict[str, float], preds: Any, target: Any) -> None:
    metric.update(torch.from_numpy(preds), torch.from_numpy(target))
    ours = metric.compute()
    assert set(ours) == set(expected)
    for key, value in expected.items():
        assert ours[key].item() == pytest.approx(value, abs=1e-6, nan_ok=True), key


@given(
    label_maps(C, void=True),
    st.sampled_from(["target", "either"]),
    st.booleans(),
    st.sampled_from([(255,), (2, 255)]),
)
@settings(max_examples=60)
def test_scores_equal_the_formulas_written_longhand(drawing, presence, background, ignored):
    preds, target = drawing
    classes = [c for c in range(C) if c not in ignored and (background or c)]
    expected = longhand.scores(longhand.count(preds, target, C, ignored), classes, presence)
    metric = ImageScores(C, presence=presence, ignore_index=ignored, include_background=background)
    check(metric, expected, preds, target)


@given(label_maps(2, void=True))
@settings(max_examples=30)
def test_binary_scores_are_those_of_the_foreground_where_either_has_it(drawing):
    preds, target = drawing
    expected = longhand.scores(longhand.count(preds, target, 2, (255,)), [1], "either")
    check(ImageScores(task="binary", ignore_index=255), expected, preds, target)


@given(label_maps(2, void=False), st.sampled_from(["target", "either"]))
@settings(max_examples=30)
def test_multilabel_scores_are_those_of_every_channel(drawing, presence):
    preds, target = (np.stack([part, 1 - part, 0 * part], 1) for part in drawing)
    target[:, 1] = np.roll(target[:, 1], 1, -1)
    counts: longhand.Counts = [[] for _ in preds]
    for channel in range(3):
        of_channel = longhand.count(preds[:, channel], target[:, channel], 2, ())
        for image, (_, foreground) in zip(counts, of_channel, strict=True):
            image.append(foreground)
    expected = longhand.scores(counts, [0, 1, 2], presence)
    check(ImageScores(3, task="multilabel", presence=presence), expected, preds, target)


@pytest.mark.parametrize("background", [True, False])
def test_the_data_set_level_is_mean_iou_dice_and_recall(background):
    preds, target = maps()
    arguments: dict[str, Any] = {"ignore_index": 255, "include_background": background}
    ours = ImageScores(C, **arguments)(preds, target)
    assert ours["mIoU_D"] == MeanIoU(C, **arguments)(preds, target)
    assert ours["mDice_D"] == DiceScore(C, **arguments)(preds, target)
    assert ours["mAcc_D"] == Recall(C, **arguments)(preds, target)


def test_samplewise_mean_iou_is_the_image_level_where_either_has_the_class():
    preds, target = maps()
    ours = ImageScores(C, ignore_index=255, presence="either")(preds, target)
    samplewise = MeanIoU(C, ignore_index=255, aggregation_level="samplewise")(preds, target)
    assert ours["mIoU_I"].item() == pytest.approx(samplewise.item(), abs=1e-7)


def test_no_pixel_gives_nan_everywhere():
    metric = ImageScores(C, ignore_index=255)
    metric.update(torch.zeros(0, 4, 4, dtype=int), torch.zeros(0, 4, 4, dtype=int), [])
    assert all(value.isnan() for value in metric.compute().values())
    metric.update(torch.zeros(2, 4, 4, dtype=int), torch.full((2, 4, 4), 255), ["a", "b"])
    assert all(value.isnan() for value in metric.compute().values())
    assert metric.worst(3) == []
    metric.plot()


@pytest.mark.parametrize("kind", ["strings", "integers", "tensor", "numpy"])
def test_an_image_that_came_twice_counts_once(kind):
    preds, target = maps()
    ids: Any = {
        "strings": names(7),
        "integers": list(range(3, -4, -1)),
        "tensor": torch.arange(3, -4, -1, dtype=torch.int32),
        "numpy": np.arange(3, -4, -1),
    }[kind]
    once, twice = ImageScores(C, ignore_index=255), ImageScores(C, ignore_index=255)
    once.update(preds, target, ids)
    order = torch.tensor([3, 0, 0, 6, 5, 1, 3, 2, 4])
    listed = ids[order] if kind == "tensor" else [ids[i] for i in order.tolist()]
    twice.update(preds[order[:4]], target[order[:4]], listed[:4])
    twice.update(preds[order[4:]], target[order[4:]], listed[4:])
    assert same(once.compute(), twice.compute())
    assert same(once.compute(), ImageScores(C, ignore_index=255)(preds, target, ids))
    expected = sorted(ids.tolist() if isinstance(ids, Tensor | np.ndarray) else ids)
    assert list(twice.image_counts().ids or ()) == expected


def test_images_are_gathered_in_the_group_of_the_metric():
    groups = []

    def gather(state, group):
        groups.append(group)
        return [state]

    metric = ImageScores(
        2, process_group="ours", dist_sync_fn=gather, distributed_available_fn=lambda: True
    )
    metric.update(torch.ones(1, 2, 2, dtype=int), torch.ones(1, 2, 2, dtype=int))
    metric.compute()
    assert groups == ["ours", "ours"]


@pytest.mark.parametrize("ids", [[0], [0, 1], [-1, 0]])
def test_an_id_of_zero_is_an_id(ids):
    metric = ImageScores(2)
    labels = torch.ones(len(ids), 2, 2, dtype=int)
    metric.update(labels, labels, ids)
    assert metric.image_counts().ids == tuple(ids)


def test_a_foreground_has_the_name_of_its_class():
    for class_names, name in ((None, "foreground"), (["sky", "car"], "car")):
        metric = ImageScores(task="binary", class_names=class_names)
        metric.update(torch.ones(1, 2, 2, dtype=int), torch.ones(1, 2, 2, dtype=int))
        assert metric.image_counts().class_names == (name,)


def test_images_without_ids_are_never_the_same():
    preds, target = maps()
    metric = ImageScores(C, ignore_index=255)
    metric.update(preds[[0, 0, 1]], target[[0, 0, 1]])
    assert len(metric.image_counts()) == 3
    assert metric.image_counts().ids is None


def test_two_counts_of_one_image_raise():
    preds, target = maps()
    metric = ImageScores(C, ignore_index=255)
    metric.update(preds[:3], target[:3], ["x", "y", "z"])
    metric.update(preds[3:5], target[3:5], ["z", "x"])
    for look in (metric.compute, metric.image_counts):
        with pytest.raises(ValueError, match=r"2 of `image_ids` have two .* 'x' the first"):
            look()


@pytest.mark.parametrize("second", [None, [1, 2]])
def test_ids_for_some_images_only_or_of_two_kinds_raise(second):
    preds, target = maps(2)
    metric = ImageScores(C, ignore_index=255)
    metric.update(preds, target, ["a", "b"])
    metric.update(preds, target, second)
    with pytest.raises(ValueError, match="all strings or all integers"):
        metric.compute()


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (["a"], ValueError, "one id for each of the 2 images, got 1"),
        ("ab", ValueError, "one id for each of the 2 images, got 1"),
        ([1.0, 2.0], TypeError, "`image_ids` must be all integers or all strings, got 1.0"),
        (["a", 1], TypeError, "`image_ids` must be all integers or all strings, got 'a'"),
        (torch.rand(2), TypeError, "must hold integers or strings, got torch.float32"),
    ],
)
def test_ids_that_cannot_be_read_are_named_and_nothing_is_counted(ids, error, message):
    metric = filled()
    before = metric.compute()
    preds, target = maps(2)
    for call in (metric.update, metric):
        with pytest.raises(error, match=message):
            call(preds, target, ids)
    assert same(metric.compute(), before)


def test_a_bad_label_leaves_the_images_as_they_were():
    metric = filled()
    before = metric.compute()
    preds, target = maps(2)
    for call in (metric.update, metric):
        with pytest.raises(ValueError, match="9"):
            call(preds, target.clamp(max=9), ["p", "q"])
    assert same(metric.compute(), before)
    assert len(metric.image_counts()) == 7


def test_forward_gives_the_batch_and_adds_it():
    preds, target = maps()
    metric = ImageScores(C, ignore_index=255)
    for part in (slice(0, 3), slice(3, 7)):
        batch = metric(preds[part], target[part], names(7)[part])
        alone = ImageScores(C, ignore_index=255)
        alone.update(preds[part], target[part])
        for key, value in alone.compute().items():
            assert batch[key].item() == pytest.approx(value.item(), abs=1e-6)
    assert same(metric.compute(), filled().compute())


def test_copies_and_pickles_live_their_own_lives():
    metric = filled()
    value = metric.compute()
    for twin in (metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        preds, target = maps(3, seed=1)
        twin.update(preds, target, ["x", "y", "z"])
        assert len(twin.image_counts()) == 10
        assert same(metric.compute(), value)
        assert {key: view.compute() for key, view in twin.items()} == twin.compute()
    metric.reset()
    assert len(metric.image_counts()) == 0
    assert same(filled().compute(), value)


def test_a_checkpoint_in_the_middle_of_an_epoch_goes_on():
    preds, target = maps()
    first = ImageScores(C, ignore_index=255)
    first.persistent(True)
    first.update(preds[:4], target[:4], names(7)[:4])
    saved = pickle.loads(pickle.dumps(first.state_dict()))
    second = ImageScores(C, ignore_index=255)
    second.persistent(True)
    second.load_state_dict(saved)
    second.update(preds[4:], target[4:], names(7)[4:])
    assert same(second.compute(), filled().compute())
    assert len(first.image_counts()) == 4
    assert same(first.state_dict() and first.compute(), first.clone().compute())


def test_counts_stay_exact_when_the_model_is_halved():
    metric = filled()
    value = metric.compute()
    assert same(torch.nn.ModuleList([metric]).half().double()[0].compute(), value)
    assert metric.image_counts().tp.dtype == torch.int64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_not_waited_for():
    preds, target = (part.cuda() for part in maps())
    numbers = torch.arange(7, device="cuda")
    metrics = [ImageScores(C, ignore_index=255).cuda() for _ in range(2)]
    metrics[0](preds, target, names(7))
    metrics[1](preds, target, numbers)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for metric, ids in zip(metrics, (names(7), numbers), strict=True):
            metric.update(preds, target, ids)
            metric(preds, target, ids)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for metric in metrics:
        ours = metric.compute()
        for key, value in filled().compute().items():
            assert ours[key].item() == pytest.approx(value.item(), abs=1e-6)
        assert len(metric.image_counts()) == 7


def test_states_merge():
    preds, target = maps()
    parts = [ImageScores(C, ignore_index=255) for _ in range(2)]
    parts[0].update(preds[:5], target[:5], names(7)[:5])
    parts[1].update(preds[3:], target[3:], names(7)[3:])  # two images are in both
    parts[0].merge_state(parts[1])
    assert same(parts[0].compute(), filled().compute())
    fresh = ImageScores(C, ignore_index=255)
    fresh.merge_state(filled())
    assert same(fresh.compute(), filled().compute())


def test_a_collection_passes_the_ids_on_and_shares_equal_counts():
    preds, target = maps()
    both = MetricCollection(
        {
            "target": ImageScores(C, ignore_index=255, prefix="t/"),
            "either": ImageScores(C, ignore_index=255, presence="either", prefix="e/"),
            "other": ImageScores(C, ignore_index=[0, 255], prefix="o/"),
            "miou": MeanIoU(C, ignore_index=255),
        }
    )
    for part in (slice(0, 3), slice(3, 7), slice(2, 5)):
        both.update(preds[part], target[part], image_ids=names(7)[part])
    assert sorted(map(len, both.compute_groups.values())) == [1, 1, 2]
    values = both.compute()
    for key, value in filled().compute().items():
        assert torch.equal(values[f"t/{key}"], value)
    for key, value in filled(presence="either").compute().items():
        assert torch.equal(values[f"e/{key}"], value)
    assert values["o/mIoU_D"] == MeanIoU(C, ignore_index=[0, 255])(preds, target)


def test_per_image_is_a_frame_with_the_ids_and_the_classes():
    metric = filled(class_names=["sky", "road", "car", "tree"])
    frame = metric.per_image("Dice")
    assert list(frame.index) == sorted(names(7))
    assert frame.index.name == "image"
    assert list(frame.columns) == ["sky", "road", "car", "tree"]
    preds, target = maps()
    for name, p, t in zip(names(7), preds.numpy(), target.numpy(), strict=True):
        (counts,) = longhand.count(p[None], t[None], C, (255,))
        expected = [
            longhand.score_of("Dice", tp, fp, fn) if tp + fn else np.nan for tp, fp, fn in counts
        ]
        np.testing.assert_allclose(frame.loc[name], expected)


def test_per_image_is_ids_and_a_tensor_without_pandas(monkeypatch):
    frame = filled().per_image()
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    ids, scores = filled().per_image()
    assert ids == tuple(frame.index)
    assert scores.dtype == torch.float64
    np.testing.assert_array_equal(scores, frame.to_numpy())


def test_the_worst_images_are_named_the_worst_first():
    metric = filled()
    frame = metric.per_image()
    by_mean = frame.mean(axis=1).sort_values(kind="stable")
    assert metric.worst(3) == [(name, by_mean[name]) for name in by_mean.index[:3]]
    by_class = frame["2"].dropna().sort_values(kind="stable")
    assert 0 < len(by_class) < 7
    assert metric.worst(9, class_index=2) == [(name, by_class[name]) for name in by_class.index]
    assert metric.worst(0) == []


def test_without_background_a_class_keeps_its_index():
    metric = filled(include_background=False, class_names=["sky", "road", "car", "tree"])
    assert metric.worst(7, class_index=2) == filled().worst(7, class_index=2)
    assert list(metric.per_image().columns) == ["road", "car", "tree"]
    for wrong in (0, 4, -1):
        with pytest.raises(ValueError, match=f"scored class, 1 to 3, got {wrong}"):
            metric.worst(1, class_index=wrong)


def test_without_ids_images_have_the_numbers_of_their_order():
    metric = filled(ids=False)
    order = dict(enumerate(names(7)))
    assert [order[i] for i, _ in metric.worst(7)] == [name for name, _ in filled().worst(7)]


def test_the_plot_names_the_worst_images():
    metric = filled()
    _, axes = metric.plot()
    text = axes.texts[0].get_text()
    for name, value in metric.worst(5):
        assert f"{value:.3f}  {name}" in text
    assert sum(bar.get_height() for bar in axes.patches) == 7
    metric.plot([metric.compute(), metric.compute()])


def test_repr_shows_what_is_not_default():
    assert repr(ImageScores(3)) == "ImageScores(num_classes=3)"
    assert repr(filled(presence="either", prefix="val/")) == (
        "ImageScores(num_classes=4, ignore_index=[255], presence='either', prefix='val/')"
    )
    assert repr(ImageScores(task="binary")) == "ImageScores(task='binary')"


def test_intervals_and_comparisons_take_the_metric():
    metric = filled(class_names=["sky", "road", "car", "tree"])
    assert confidence_interval(metric, "iou/car") == confidence_interval(
        metric.image_counts(), "iou/car"
    )
    for key in KEYS:
        interval = confidence_interval(metric, key, n_resamples=2)
        assert interval.estimate == pytest.approx(metric.compute()[key].item(), abs=1e-6)
    _, target = maps()
    perfect = ImageScores(C, ignore_index=255, class_names=["sky", "road", "car", "tree"])
    perfect.update(target.clamp(max=3), target, names(7))
    assert compare(perfect, metric, "mIoU_I").difference > 0


# --- Several processes ----------------------------------------------------------------------------

SHARES = [[5, 0, 1], [2, 3, 4, 6], []]


def in_a_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    preds, target = maps()
    found = []
    for ids in (True, False):
        metric = ImageScores(C, ignore_index=255)
        share = SHARES[rank] + ([5, 0] if ids and rank == 1 else [])  # two images come twice
        for start in range(0, len(share), 2):
            part = share[start : start + 2]
            metric.update(preds[part], target[part], [names(7)[i] for i in part] if ids else None)
        before = metric.image_counts()
        value = metric.compute()
        if rank == 0:  # alone, after a compute of all
            interval = confidence_interval(metric, "mIoU_I_10", n_resamples=100)
            found.append((value, interval, before.ids, metric.worst(2)))
    stepwise = ImageScores(C, ignore_index=255, dist_sync_on_step=True)
    share = SHARES[rank]
    found.append(stepwise(preds[share], target[share], [names(7)[i] for i in share]))
    assert len(stepwise._states[0]) == len(share)
    if rank == 0:
        torch.save(found, f"{folder}/found")
    dist.barrier()
    dist.destroy_process_group()


def test_uneven_and_empty_processes_give_the_result_of_one(tmp_path):
    run_processes(in_a_process, len(SHARES), str(tmp_path))
    with_ids, without, of_step = torch.load(tmp_path / "found", weights_only=False)
    value, interval, ids, worst = with_ids
    assert same(value, filled().compute())
    assert interval == confidence_interval(filled(), "mIoU_I_10", n_resamples=100)
    assert ids == tuple(sorted(names(7)))
    assert worst == filled().worst(2)
    assert same(of_step, value)
    value, nameless, ids, _ = without
    for key, score in filled().compute().items():
        assert value[key].item() == pytest.approx(score.item(), abs=1e-6)
    expected = confidence_interval(filled(ids=False), "mIoU_I_10", n_resamples=100)
    assert (nameless.low, nameless.high) == (expected.low, expected.high)
    assert ids is None


LIGHTNING = """
    import sys
    import pytorch_lightning as pl
    import torch
    from segmetrics.metrics.image import ImageScores
    from segmetrics.statistics import confidence_interval

    PREDS, TARGET, NAMES = torch.load(sys.argv[1])

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return 7

        def __getitem__(self, index):
            return PREDS[index], TARGET[index], NAMES[index]

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.images = ImageScores(4, ignore_index=255)
            self.seen = 0

        def validation_step(self, batch, index):
            preds, target, ids = batch
            self.seen += len(ids)
            self.images.update(preds, target, ids)

        def on_validation_epoch_end(self):
            self.log_dict(self.images)
            self.images.compute()
            if self.trainer.is_global_zero:
                self.details = (confidence_interval(self.images), self.images.worst(5), self.seen)

    if __name__ == "__main__":
        module = Module()
        trainer = pl.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )
        trainer.validate(module, torch.utils.data.DataLoader(Images(), 2), verbose=False)
        if trainer.is_global_zero:
            torch.save((dict(trainer.callback_metrics), *module.details), sys.argv[2])
"""


def test_lightnings_padding_sampler_on_two_ranks_gives_the_result_of_one(tmp_path):
    pytest.importorskip("pytorch_lightning")
    script, data, out = (tmp_path / name for name in ("validate.py", "data", "out"))
    script.write_text(textwrap.dedent(LIGHTNING))
    torch.save((*maps(), names(7)), data)
    done = subprocess.run(
        [sys.executable, script, data, out],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores, interval, worst, seen = torch.load(out, weights_only=False)
    assert seen == 4  # of 8 on both: the sampler showed one of 7 images twice
    one = filled()
    assert same(scores, one.compute())
    assert interval == confidence_interval(one)
    assert worst == one.worst(5)


def test_metrics_are_ranked_sliced_and_planned_as_they_are():
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (40, 8, 8), generator=draw)
    names = [f"{i}.png" for i in range(40)]
    models = {}
    for name, share in (("good", 0.9), ("poor", 0.6)):
        models[name] = ImageScores(3)
        right = torch.rand(target.shape, generator=draw) < share
        models[name].update(target.where(right, 0), target, image_ids=names)
    result = ranking(models)
    assert [model.name for model in result.models] == ["good", "poor"]
    assert (result.models[0].best, result.models[0].worst) == (1, 1)
    good = models["good"]
    value = good.compute()["mIoU_D"].item()
    assert result.models[0].value == pytest.approx(value, abs=1e-6)
    halves = slices(good, {name: i % 2 for i, name in enumerate(names)})
    assert halves.overall == confidence_interval(good)
    assert sample_size(good, width=0.02).images_now == 40
    assert conventions(good).models == ("mIoU",)
    assert conventions(models).models == ("good", "poor")
