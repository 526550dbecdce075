"""ObjectMetrics and ObjectImageScores: tasks, label spaces, distances, statistics, bad input."""

from __future__ import annotations

from dataclasses import fields, replace
from math import hypot, inf, isnan, nan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segmetrics import HausdorffDistance, LabelSpace, ObjectImageScores, ObjectMetrics, SurfaceDice
from segmetrics.counting import Counting
from segmetrics.objects.counts import Scheme
from segmetrics.objects.rules import Rules
from segmetrics.statistics import (
    ObjectCounts,
    compare,
    confidence_interval,
    ranking,
    sample_size,
    slices,
)


def drawn(seed: int, images: int = 4, classes: int = 3, volume: bool = False) -> tuple[Any, Any]:
    """Boxes of classes; the prediction shifts some, drops some and adds some."""
    rng = np.random.default_rng(seed)
    size = (12, 20, 20) if volume else (40, 48)
    maps = np.zeros((2, images, *size), np.int64)
    for image in range(images):
        for _ in range(8):
            corner = rng.integers(0, np.array(size) - 2)
            extent = rng.integers(2, 8, len(size))
            label = rng.integers(1, classes)
            for side, shift in ((0, 0), (1, rng.integers(0, 3, len(size)))):
                if rng.random() < 0.8:
                    where = zip(corner + shift, corner + shift + extent, strict=True)
                    maps[side, image][tuple(slice(*ends) for ends in where)] = label
    return torch.from_numpy(maps[1]), torch.from_numpy(maps[0])


def values(metric: Any) -> dict[str, float]:
    return {key: value.item() for key, value in metric.compute().items()}


# --- Tasks and label spaces -----------------------------------------------------------------------


def test_binary_and_multilabel_masks_are_objects_of_their_channel() -> None:
    preds, target = drawn(0)
    binary = ObjectMetrics(task="binary")
    binary.update(preds > 0, target > 0)
    two = ObjectMetrics(2)
    two.update((preds > 0).long(), (target > 0).long())
    # it has `keys()` but is no mapping
    assert list(binary.keys()) == [key for key in two.keys() if not key.endswith("/1")]  # noqa: SIM118
    assert values(binary) == pytest.approx(
        {key: value for key, value in values(two).items() if key in binary}, nan_ok=True
    )
    masks = [torch.stack([side == 1, side == 2], 1) for side in (preds, target)]
    multilabel = ObjectMetrics(2, task="multilabel", class_names=["one", "two"])
    multilabel.update(*masks)
    three = ObjectMetrics(3, class_names=["background", "one", "two"])
    three.update(preds, target)
    found, expected = values(multilabel), values(three)
    for key in ("object_f1", "object_dice/one", "missed_objects/two", "object_recall/small"):
        assert found[key] == pytest.approx(expected[key])


def test_scores_are_read_as_by_every_metric() -> None:
    preds, target = drawn(1)
    of_labels, of_scores = ObjectMetrics(3), ObjectMetrics(3)
    of_labels.update(preds, target)
    of_scores.update(torch.nn.functional.one_hot(preds, 3).movedim(-1, 1).half(), target)
    assert values(of_scores) == pytest.approx(values(of_labels), nan_ok=True)
    logits = (preds > 0).float() * 4 - 1
    binary = ObjectMetrics(task="binary", from_logits=True, score_threshold=0.9)
    binary.update(logits, target > 0)
    other = ObjectMetrics(task="binary")
    other.update(preds > 0, target > 0)
    assert values(binary) == pytest.approx(values(other), nan_ok=True)
    assert (binary.score_threshold, binary.threshold) == (0.9, None)


@pytest.mark.parametrize("volume", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"connectivity": "faces", "distances": True}])
def test_labels_as_they_are_give_what_one_hot_masks_give(
    volume: bool, arguments: dict[str, Any]
) -> None:
    """Runs of stored labels are looked up; of one-hot masks every pixel is read."""
    preds, target = drawn(3, classes=4, volume=volume)
    target[0, ..., :5, 3:9] = 255
    space = LabelSpace(
        ["none", "a", "b", "c"], regions={"ab": ["a", "b"], "all": ["a", "b", "c"]},
        ignore_index=255,
    )  # fmt: skip
    labels = ObjectMetrics(space, **arguments)
    labels.update(preds.to(torch.uint8), target.to(torch.uint8))
    one_hot = torch.nn.functional.one_hot(preds, 4).movedim(-1, 1).float()
    scores = ObjectMetrics(space, **arguments)
    scores.update(one_hot, target)
    assert values(labels) == pytest.approx(values(scores), nan_ok=True, abs=0)
    wide = ObjectMetrics(space, **arguments)
    wide.update(preds.mT.contiguous().mT, target)
    assert values(wide) == pytest.approx(values(labels), nan_ok=True, abs=0)


def test_stored_labels_are_counted_without_a_map_of_classes() -> None:
    preds, target = (side[:1].numpy() for side in drawn(4))
    wide = np.array([7, 0, 1000], np.int64)  # as stored
    stored = Counting.of(LabelSpace(["none", "a", "b"], id_to_class={7: 0, 0: 1, 1000: 2}))

    scheme = Scheme(ObjectMetrics(3).rules, 3, (0,), (1, 2), ((1, 2),))
    counted = scheme.count_labels(preds, wide[target], stored, (1, 1))
    assert counted is not None
    np.testing.assert_array_equal(counted, scheme.count(preds, target, (1, 1)))
    wide[0] = 8  # has no meaning
    assert scheme.count_labels(preds, wide[target], stored, (1, 1)) is None


def test_rules_that_differ_have_names_that_differ() -> None:
    rules = Rules()
    others = {"matching": "iou", "connectivity": "faces", "surface": "elements"}
    others |= {"sizes": (("a", 0.0),), "small_targets": "uncounted", "threshold": 0.5}
    found = [rules.name]
    for field in fields(rules):
        value = getattr(rules, field.name)
        other = others.get(field.name, not value if isinstance(value, bool) else 2.0)
        found.append(replace(rules, **{field.name: other}).name)
    assert replace(rules, preset="hand-made").name == rules.name
    assert len(set(found)) == len(fields(rules))  # all but the name of the preset


def test_a_missed_object_infinitely_far_away_makes_the_mean_infinite() -> None:
    target = torch.zeros(1, 8, 8, dtype=torch.long)
    target[0, 0:2, 0:2] = target[0, 5:7, 5:7] = 1
    preds = target.clone()
    preds[0, 5:7] = 0  # the other object is found exactly
    metric = ObjectMetrics(2, distances=True, missed_distance=inf)
    metric.update(preds, target)
    assert values(metric)["object_hd95"] == inf


def test_a_predicted_label_without_a_meaning_does_no_harm_where_the_target_is_ignored() -> None:
    target = torch.tensor([[[1, 1, 255, 0], [1, 1, 255, 0]]])
    preds = torch.tensor([[[1, 1, 77, 0], [1, 0, 77, 0]]])
    metric = ObjectMetrics(2, ignore_index=255)
    metric.update(preds, target)
    assert values(metric)["object_f1"] == 1
    with pytest.raises(ValueError, match="77"):
        metric.update(preds, target.where(target != 255, 0))


def test_objects_of_a_region_are_those_of_its_union() -> None:
    preds, target = drawn(2, classes=4, volume=True)
    names = ["background", "necrosis", "edema", "enhancing"]
    space = LabelSpace(names, regions={"WT": names[1:], "TC": ["necrosis", "enhancing"]})
    metric = ObjectMetrics(space, distances=True)
    metric.update(preds, target)
    found = values(metric)
    for region, labels in (("WT", (1, 2, 3)), ("TC", (1, 3))):
        union = ObjectMetrics(task="binary", distances=True)
        union.update(*(torch.isin(side, torch.tensor(labels)) for side in (preds, target)))
        for key in ("object_f1", "object_dice", "object_hd95", "missed_objects"):
            assert found[f"{key}_region/{region}"] == pytest.approx(values(union)[key])


def test_ids_of_a_label_space_are_mapped_and_void_is_ignored() -> None:
    preds, target = drawn(3)
    space = LabelSpace(
        ["background", "a", "b"], ignore_index=0, id_to_class={10: 0, 20: 1, 30: 2}, map_preds=True
    )
    ids = torch.tensor([10, 20, 30])
    metric = ObjectMetrics(space)
    metric.update(ids[preds], ids[target].where(target != 2, 0))
    expected = ObjectMetrics(3, ignore_index=255)
    expected.update(preds, target.where(target != 2, 255))
    names = {"1": "a", "2": "b"}
    for key, value in values(expected).items():
        head, _, name = key.partition("/")
        key = f"{head}/{names[name]}" if name in names else key
        assert values(metric)[key] == pytest.approx(value, nan_ok=True)


def test_a_class_that_is_ignored_has_no_objects_and_no_keys() -> None:
    preds, target = drawn(4)
    metric = ObjectMetrics(3, ignore_index=2, include_background=True)
    metric.update(preds, target)
    assert [k for k in metric if k.startswith("object_f1/")] == ["object_f1/0", "object_f1/1"]
    sizes = LabelSpace(["background", "small", "large"])
    with pytest.raises(ValueError, match="a class and a size are both named 'small'"):
        ObjectMetrics(sizes)
    assert "object_recall/small" in ObjectMetrics(sizes, per_class=False)


def test_a_volume_of_one_slice_is_an_image() -> None:
    preds, target = drawn(5)
    image, slice_ = ObjectMetrics(3, spacing=(2.0, 1.0)), ObjectMetrics(3, spacing=(9.0, 2.0, 1.0))
    image.update(preds, target)
    slice_.update(preds[:, None], target[:, None])
    assert values(slice_) == pytest.approx(values(image), nan_ok=True)
    assert not isnan(values(slice_)["object_recall/small"])


# --- Distances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["pixels", "elements"])
def test_distances_are_those_of_each_object_and_penalties(surface: Any) -> None:
    """Each found object against the predicted objects that touch it, by the metrics of masks."""
    preds, target = drawn(6, images=2, classes=2, volume=True)
    from skimage.measure import label

    hd95, dice = [], []
    steps = (3.0, 1.0, 0.5)
    for p, t in zip(preds.numpy(), target.numpy(), strict=True):
        of_preds, of_target = label(p, connectivity=3), label(t, connectivity=3)
        for one in range(1, of_target.max() + 1):
            others = set(of_preds[of_target == one].tolist()) - {0}
            if not others:
                hd95.append(7.0)
                dice.append(0.0)
                continue
            pair = [torch.from_numpy(m)[None] for m in (np.isin(of_preds, list(others)),
                                                        of_target == one)]  # fmt: skip
            of_masks = {"surface": surface, "spacing": steps, "task": "binary"}
            hd95.append(HausdorffDistance(percentile=95, **of_masks)(*pair).item())
            dice.append(SurfaceDice(tolerance=1.0, **of_masks)(*pair).item())
        for one in range(1, of_preds.max() + 1):
            if not t[of_preds == one].any():
                hd95.append(11.0)
                dice.append(0.0)
    assert hd95.count(7.0) and hd95.count(11.0)  # noqa: PT018
    metric = ObjectMetrics(
        2, distances=True, tolerance=1.0, surface=surface, missed_distance=7.0,
        false_distance=11.0, spacing=steps,
    )  # fmt: skip
    metric.update(preds, target)
    assert values(metric)["object_hd95"] == pytest.approx(np.mean(hd95), rel=1e-6)
    assert values(metric)["object_surface_dice"] == pytest.approx(np.mean(dice), rel=1e-6)


def test_penalties_are_the_diagonal_left_out_or_infinite() -> None:
    target = torch.zeros(1, 6, 8, dtype=torch.int64)
    target[0, :2, :2] = 1
    preds = torch.zeros_like(target)
    preds[0, 4:, 6:] = 1

    def hd95(**arguments: Any) -> float:
        metric = ObjectMetrics(2, distances=True, spacing=(2.0, 1.0), **arguments)
        metric.update(preds, target)
        return values(metric)["object_hd95"]

    assert hd95() == pytest.approx(hypot(12, 8))
    assert hd95(missed_distance=3, false_distance=nan) == 3
    assert hd95(missed_distance=inf, false_distance=1) == inf
    assert isnan(hd95(missed_distance=nan, false_distance=nan))
    assert hd95(missed_distance=nan, false_distance=nan, both_empty=5) == 5


# --- Sums -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["global", "samplewise"])
def test_merged_batches_are_equal_bit_by_bit(level: Any) -> None:
    preds, target = drawn(7, images=9)

    def new() -> ObjectMetrics:
        return ObjectMetrics(
            3, distances=True, tolerance=1, spacing=0.7, aggregation_level=level, matching="iou"
        )

    whole, parts = new(), [new() for _ in range(3)]
    whole.update(preds, target)
    for i in np.random.default_rng(0).permutation(9).tolist():
        parts[i % 3].update(preds[i : i + 1], target[i : i + 1])
    for part in parts[1:]:
        parts[0].merge_state(part.metric_state)
    assert torch.equal(whole._states[0], parts[0]._states[0])


def test_zero_division_is_said_of_shares_only() -> None:
    empty = torch.zeros(1, 5, 5, dtype=torch.int64)
    metric = ObjectMetrics(2, zero_division=1.0)
    metric.update(empty, empty)
    found = values(metric)
    shares = ("object_precision", "object_recall", "object_f1", "object_dice", "object_iou")
    assert [found[key] for key in shares] == [1] * 5
    assert isnan(found["object_recall/small"])  # of a size that no object has
    assert found["missed_objects"] == found["false_positive_volume"] == 0
    assert isnan(found["variation_of_information"])


def test_an_image_of_false_alarms_has_an_f1_of_zero() -> None:
    target = torch.zeros(1, 5, 5, dtype=torch.int64)
    preds = target.clone()
    preds[0, 1] = 1
    metric = ObjectMetrics(2, aggregation_level="samplewise")
    metric.update(preds, target)
    found = values(metric)
    assert (found["object_f1"], found["object_dice"], found["object_precision"]) == (0, 0, 0)
    assert isnan(found["object_recall"])


@pytest.mark.parametrize("zero_division", [nan, 0.0, 1.0])
def test_lesions_too_small_to_count_are_no_errors(zero_division: float) -> None:
    """BraTS: nothing was to be found and what was predicted is right, so F1 is 0/0."""
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[0, 2:6, 2:6] = 1  # 16 pixels, less than 50
    metric = ObjectMetrics.preset("brats-2023-gli", 2, zero_division=zero_division)
    metric.update(target, target)
    found = values(metric)
    assert (found["target_objects"], found["predicted_objects"]) == (0, 1)
    assert found["object_precision"] == 1
    assert (found["missed_objects"], found["false_objects"]) == (0, 0)
    assert found["object_f1"] == pytest.approx(zero_division, nan_ok=True)
    elsewhere = torch.zeros_like(target)
    elsewhere[0, 12:, 12:] = 1  # 64 pixels, a false alarm
    metric = ObjectMetrics.preset("brats-2023-gli", 2, zero_division=zero_division)
    metric.update(elsewhere, target)
    assert f"{values(metric)['object_f1']:.3f}" == "0.000"  # not -0.000


# --- Images ---------------------------------------------------------------------------------------


def images(seed: int, level: str = "global") -> tuple[ObjectImageScores, ObjectMetrics]:
    preds, _ = drawn(seed, images=12)
    _, same_target = drawn(0, images=12)
    ids = [f"image {i}" for i in range(12)]
    arguments: Any = {"distances": True, "aggregation_level": level}
    each, together = ObjectImageScores(3, **arguments), ObjectMetrics(3, **arguments)
    for some in (slice(0, 5), slice(5, 12)):
        each.update(preds[some], same_target[some], image_ids=ids[some])
        together.update(preds[some], same_target[some])
    return each, together


@pytest.mark.parametrize("level", ["global", "samplewise"])
def test_images_give_the_scores_of_their_sums(level: str) -> None:
    each, together = images(1, level)
    assert values(each) == pytest.approx(values(together), rel=1e-6, nan_ok=True)
    counts = each.image_counts()
    assert isinstance(counts, ObjectCounts)
    assert counts.keys() == tuple(together.keys())
    one = torch.ones(1, 12, dtype=torch.float64)
    for key, value in values(together).items():
        assert counts.statistic(key)(one).item() == pytest.approx(value, rel=1e-6, nan_ok=True)


def test_a_score_of_an_image_is_that_of_the_metric_of_it_alone() -> None:
    each, _ = images(2)
    preds, _ = drawn(2, images=12)
    _, target = drawn(0, images=12)
    counts = each.image_counts()
    assert counts.ids is not None
    for key in ("object_f1", "object_dice/2", "missed_objects", "object_hd95"):
        by_id = dict(zip(counts.ids, counts.values(key).tolist(), strict=True))
        for i in range(12):
            alone = ObjectMetrics(3, distances=True)(preds[i : i + 1], target[i : i + 1])
            expected = alone[key].item()
            assert by_id[f"image {i}"] == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_worst_images_are_those_of_low_scores_or_high_errors() -> None:
    each, _ = images(3)
    counts = each.image_counts()
    f1, missed = counts.values("object_f1"), counts.values("missed_objects")
    assert each.worst(2)[0][1] == f1.min().item()
    assert each.worst(1, "missed_objects")[0][1] == missed.max().item()
    with pytest.raises(ValueError, match=r"objct_f1.* is none of .*Did you mean 'object_f1'\?"):
        each.worst(1, "objct_f1")


def test_statistics_work_on_object_scores() -> None:
    models = {f"model {seed}": images(seed)[0] for seed in (1, 2, 3)}
    a, b = models["model 1"], models["model 2"]
    interval = confidence_interval(a, "object_f1", n_resamples=200)
    assert interval.low <= values(a)["object_f1"] <= interval.high
    found = compare(a, b, "object_recall", n_resamples=200)
    difference = values(a)["object_recall"] - values(b)["object_recall"]
    assert found.difference == pytest.approx(difference, abs=1e-6)
    best = ranking(models, "object_f1", n_resamples=200).models[0]
    scores = {name: values(metric)["object_f1"] for name, metric in models.items()}
    assert best.name == max(scores, key=lambda name: scores[name])
    fewest = ranking(models, "missed_objects", n_resamples=200).models[0]
    numbers = {name: values(metric)["missed_objects"] for name, metric in models.items()}
    assert numbers[fewest.name] == min(numbers.values())
    halves = {f"image {i}": "left" if i < 6 else "right" for i in range(12)}
    assert slices(a, halves, score="object_f1") is not None
    assert sample_size(a, "object_f1", 0.3, n_resamples=200).images > 0


def test_models_of_different_rules_are_not_compared() -> None:
    preds, target = drawn(0, images=6)
    plain, strict = ObjectImageScores(3), ObjectImageScores(3, matching="iou")
    plain.update(preds, target)
    strict.update(preds, target)
    with pytest.raises(ValueError, match="scheme"):
        compare(plain, strict, "object_f1", n_resamples=50)


def test_numbers_of_objects_say_nothing_of_quality() -> None:
    metric = ObjectImageScores(2, class_names=["none", "cell"])
    metric.update(torch.ones(2, 4, 4, dtype=torch.int64), torch.ones(2, 4, 4, dtype=torch.int64))
    counts = metric.image_counts()
    # it has `keys()` but is no mapping
    amounts = [key for key in counts.keys() if not counts.is_quality(key)]  # noqa: SIM118
    assert amounts == ["target_objects", "predicted_objects"]


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matching": "dice"}, "`matching` must be one of 'overlap', 'iou', got 'dice'"),
        ({"threshold": 1.0}, r"`threshold` is a share of an object or an IoU, in \[0, 1\)"),
        ({"threshold": -0.1}, "`threshold` must be at least 0"),
        ({"connectivity": 8}, "`connectivity` must be one of 'full', 'faces', got 8"),
        ({"min_size": -1}, "`min_size` must be at least 0"),
        ({"min_size": inf}, "`min_size` must be finite"),
        ({"sizes": [3, 2]}, "`sizes` must rise from 0, got 0, 3, 2"),
        ({"sizes": [3, 3]}, "`sizes` must rise from 0, got 0, 3, 3"),
        ({"sizes": [1, 2, 3]}, "`sizes` as edges is one .* or two .*, got 3. Name them"),
        ({"sizes": {"a": 5}}, "`sizes` must rise from 0, got 5"),
        ({"sizes": "small"}, "`sizes` must be edges or a mapping"),
        ({"tolerance": -1}, "`tolerance` must be at least 0"),
        ({"surface": "voxels"}, "`surface` must be one of"),
        (
            {"missed_distance": "image"},
            "`missed_distance` is a distance or 'diagonal', got 'image'",
        ),
        ({"distances": 1}, "`distances` must be a bool, got 1"),
        ({"spacing": 0}, "`spacing` must be positive"),
        ({"spacing": [[1, 1], [2, 2]]}, "`spacing` of a metric is one number or one an axis"),
        ({"include_background": None}, "`include_background` must be a bool"),
        ({"task": "binary", "include_background": True}, "`include_background` means nothing"),
        ({"aggregation_level": "image"}, "`aggregation_level` must be one of"),
        ({"score_threshold": 0.7}, "`score_threshold=0.7` means nothing for task='multiclass'"),
        ({"iou_threshold": 0.5}, "has no argument `iou_threshold`. Did you mean"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    classes = () if arguments.get("task") == "binary" else (3,)
    with pytest.raises((TypeError, ValueError), match=message):
        ObjectMetrics(*classes, **arguments)


@pytest.mark.parametrize("new", [ObjectMetrics, ObjectImageScores])
def test_bad_masks_change_nothing(new: Any) -> None:
    preds, target = drawn(0)
    metric = new(3)
    metric.update(preds, target)
    before = [state.clone() for state in metric._states]
    for wrong, message in (
        ((preds, target.where(target != 1, 255)), "ignore_index=255"),
        ((preds[:, :-1], target), "same size"),
        ((preds.flatten(1), target.flatten(1)), "two or three spatial dimensions"),
        ((preds, target, (1.0, 1.0, 1.0)), "`spacing` must be one number"),
        ((preds, target, [3.0] + [(1.0, 1.0)] * (len(target) - 1)), "`spacing` must be one number"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(*wrong)
    with pytest.raises(AttributeError, match="`threshold` is fixed when a metric is made"):
        metric.threshold = 0.5
    assert all(map(torch.equal, metric._states, before))


def test_arguments_that_are_left_out_are_the_defaults_of_the_rules() -> None:
    assert Rules.of() == Rules()
    assert Rules.of().name == ObjectMetrics(2).rules.name


def test_an_empty_batch_changes_nothing() -> None:
    metric = ObjectMetrics(3)
    none: Tensor = torch.zeros(0, 5, 5, dtype=torch.int64)
    metric.update(none, none)
    assert not metric._states[0].any()
    assert isnan(values(metric)["object_f1"])
