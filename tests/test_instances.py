"""Objects given by ids: metrics, several thresholds, statistics, the command, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from skimage.measure import label as connected
from skimage.metrics import adapted_rand_error, variation_of_information
from typer.testing import CliRunner, Result

from segmetrics import LabelSpace, ObjectImageScores, ObjectMetrics, PanopticQuality
from segmetrics.evaluate.command import app
from segmetrics.objects.ids import pairs_of_ids
from segmetrics.statistics import compare, confidence_interval

Ids = NDArray[np.int64]
#: The thresholds of StarDist's and Cellpose's papers; no IoU of the drawn maps is equal to one.
SEVERAL = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def drawn(seed: int, images: int = 3, cells: int = 25, size: tuple[int, ...] = (90, 101)) -> Any:
    """Touching boxes, numbered at random; the prediction moves, drops, joins and adds some."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, images, *size), np.int64)
    for image in range(images):
        numbers = rng.permutation(np.arange(1, 400))
        for cell in range(cells):
            extent = rng.integers(5, 19, len(size))
            corner = rng.integers(0, np.array(size) - extent - 2)
            for side, shift in ((0, 0), (1, rng.integers(0, 3, len(size)))):
                if rng.random() < 0.9:
                    ends = zip(corner + shift, corner + shift + extent, strict=True)
                    place = tuple(slice(*end) for end in ends)
                    maps[side, image][place] = numbers[cell - (side and rng.random() < 0.1)]
    return torch.from_numpy(maps[1]), torch.from_numpy(maps[0])


def values(metric: Any) -> dict[str, float]:
    return {key: value.item() for key, value in metric.compute().items()}


def ious(preds: Ids, target: Ids) -> NDArray[np.float64]:
    """That of every two objects, longhand."""
    of_target, of_preds = (np.unique(side[side > 0]) for side in (target, preds))
    return np.array(
        [
            [
                np.sum((target == t) & (preds == p)) / np.sum((target == t) | (preds == p))
                for p in of_preds
            ]
            for t in of_target
        ]
    ).reshape(len(of_target), len(of_preds))


# --- What ids mean --------------------------------------------------------------------------------


def test_components_given_by_their_ids_score_as_components_do() -> None:
    """But for objects that lie apart or touch, which ids say and components cannot."""
    preds, target = ((side > 0).numpy() for side in drawn(0))
    ids = [
        torch.from_numpy(np.stack([connected(image, connectivity=2) for image in side]))
        for side in (preds, target)
    ]
    masks = torch.from_numpy(preds), torch.from_numpy(target)
    for arguments in ({}, {"matching": "iou"}, {"min_size": 40, "distances": True}):
        by_ids = ObjectMetrics(task="binary", input_format="instances", **arguments)
        by_ids.update(*ids)
        components = ObjectMetrics(task="binary", **arguments)
        components.update(*masks)
        assert values(by_ids) == pytest.approx(values(components), nan_ok=True, rel=1e-6)


def test_touching_objects_are_two_and_one_in_two_pieces_is_one() -> None:
    target = torch.tensor([[[1, 1, 2, 2, 0, 1], [1, 1, 2, 2, 0, 1]]])
    metric = ObjectMetrics(task="binary", input_format="instances")
    metric.update(target, target)
    assert values(metric)["target_objects"] == 2
    assert values(metric)["object_f1"] == 1
    components = ObjectMetrics(task="binary")
    components.update(target > 0, target > 0)
    assert values(components)["target_objects"] == 2  # one of 1 and 2, and the piece of 1


def test_categories_and_ids_are_read_as_torchmetrics_writes_them() -> None:
    """Ids are those of a category: id 7 of class 1 and id 7 of class 2 are two objects."""
    preds, target = (torch.stack([side % 3, side % 50], -1) for side in drawn(1))
    metric = ObjectMetrics(3, input_format="instances", matching="iou", class_names=["-", "a", "b"])
    metric.update(preds, target)
    quality = PanopticQuality(things=[1, 2], stuffs=[0])
    quality.update(preds, target)
    found, expected = values(metric), values(quality)
    assert found["object_f1"] < 1
    in_target = [{tuple(v) for v in image.reshape(-1, 2).tolist() if v[0]} for image in target]
    assert found["target_objects"] == sum(map(len, in_target))
    tp, fp, fn, _ = quality._states[0].view(3, 4)[:2].T.tolist()
    assert found["object_f1/a"] == pytest.approx(tp[0] / (tp[0] + fp[0] / 2 + fn[0] / 2))
    assert found["false_objects"] == sum(fp)
    assert found["missed_objects"] == sum(fn)
    assert expected["RQ_things"] == pytest.approx((found["object_f1/a"] + found["object_f1/b"]) / 2)


@pytest.mark.parametrize("size", [(60, 70), (22, 40, 41)])
def test_information_rand_error_and_jaccard_are_those_of_the_ids(size: tuple[int, ...]) -> None:
    preds, target = drawn(2, images=1, cells=12, size=size)
    metric = ObjectMetrics(task="binary", input_format="instances")
    metric.update(preds, target)
    found = values(metric)
    p, t = preds[0].numpy(), target[0].numpy()
    assert found["variation_of_information"] == pytest.approx(
        sum(variation_of_information(t, p)), rel=1e-5
    )
    assert found["adapted_rand_error"] == pytest.approx(adapted_rand_error(t, p)[0], abs=1e-6)
    table = ious(p, t)  # aggregated Jaccard index: Kumar et al., Algorithm 1
    names = [np.unique(side[side > 0]) for side in (t, p)]
    shared, joined, used = 0, 0, set()
    for i, name in enumerate(names[0]):
        j = int(table[i].argmax())
        if table[i, j] == 0:
            joined += np.sum(t == name)
            continue
        used.add(j)
        shared += np.sum((t == name) & (p == names[1][j]))
        joined += np.sum((t == name) | (p == names[1][j]))
    joined += sum(np.sum(p == name) for j, name in enumerate(names[1]) if j not in used)
    assert found["aggregated_jaccard"] == pytest.approx(shared / joined)


def test_objects_of_a_region_are_those_of_its_classes() -> None:
    """A cell of another type is a cell: wrong of its class, right of the region."""
    space = LabelSpace(["none", "a", "b"], regions={"cell": ["a", "b"]}, ignore_index=255)
    target = torch.tensor([[[[1, 4], [1, 4], [0, 0], [2, 4], [2, 4], [255, 0]]]])
    preds = torch.tensor([[[[1, 9], [1, 9], [0, 0], [1, 4], [1, 4], [1, 4]]]])
    metric = ObjectMetrics(space, input_format="instances", matching="iou")
    metric.update(preds, target)
    found = values(metric)
    assert found["object_f1"] == pytest.approx(1 / 2)
    assert found["object_f1_region/cell"] == 1
    assert found["missed_objects_region/cell"] == 0


def test_values_of_a_label_space_are_mapped_and_categories_of_one_class_share_ids() -> None:
    space = LabelSpace(["none", "vehicle"], id_to_class={0: 0, 26: 1, 27: 1}, map_preds=True)
    target = torch.tensor([[[[26, 4], [27, 4], [0, 3], [27, 5]]]])
    metric = ObjectMetrics(space, input_format="instances")
    metric.update(target, target)
    assert values(metric)["target_objects"] == 2


def test_predicted_categories_are_classes_unless_the_label_space_maps_them() -> None:
    space = LabelSpace(["none", "vehicle"], id_to_class={0: 0, 26: 1})
    metric = ObjectMetrics(space, input_format="instances")
    metric.update(torch.tensor([[[[1, 4], [0, 0]]]]), torch.tensor([[[[26, 4], [0, 0]]]]))
    assert values(metric)["object_f1"] == 1


def test_ignored_ids_of_the_target_are_void() -> None:
    target = torch.tensor([[[1, 1, 0, -1, -1, 3]]])
    preds = torch.tensor([[[5, 5, 5, 6, 6, -1]]])
    metric = ObjectMetrics(task="binary", input_format="instances", ignore_index=-1)
    metric.update(preds, target)
    found = values(metric)
    assert (found["target_objects"], found["predicted_objects"]) == (2, 1)
    assert found["object_f1"] == pytest.approx(2 / 3)


def test_pixels_without_an_object_may_be_ignored() -> None:
    """``ignore_index=0``: what lies on no object of the target is not judged."""
    target = torch.tensor([[[1, 1, 0, 0, 0, 3]]])
    preds = torch.tensor([[[5, 5, 0, 6, 6, 0]]])
    metric = ObjectMetrics(task="binary", input_format="instances", ignore_index=0)
    metric.update(preds, target)
    found = values(metric)
    assert (found["target_objects"], found["predicted_objects"]) == (2, 1)
    assert found["object_f1"] == pytest.approx(2 / 3)


def test_an_ignored_category_is_void_in_the_target_and_no_object_among_predictions() -> None:
    void, background, one = (-1, 0), (0, 0), (1, 4)
    target = torch.tensor([[[one, one, background, void, void, (1, 5)]]])
    preds = torch.tensor([[[void, void, one, one, one, (1, 6)]]])
    metric = ObjectMetrics(2, input_format="instances", ignore_index=-1)
    metric.update(preds, target)
    found = values(metric)
    assert (found["target_objects"], found["missed_objects"]) == (2, 1)
    assert (found["predicted_objects"], found["false_objects"]) == (2, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_every_dtype_and_layout_of_ids_is_read(dtype: torch.dtype) -> None:
    preds, target = (side % 100 for side in drawn(3))
    expected = ObjectMetrics(task="binary", input_format="instances")
    expected.update(preds, target)
    metric = ObjectMetrics(task="binary", input_format="instances")
    metric.update(preds.to(dtype)[:, None].mT.contiguous().mT, target.to(dtype)[:, None])
    assert values(metric) == pytest.approx(values(expected), nan_ok=True)


def test_kernels_and_definition_give_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from segmetrics import objects
    from segmetrics.objects import plain

    preds, target = (side[0, ..., None].numpy() for side in drawn(4))
    counting = ObjectMetrics(task="binary").counting
    compiled = pairs_of_ids(preds, target, counting, (-1, 0), maps=True)
    monkeypatch.setattr(objects, "_backend", lambda: plain)
    defined = pairs_of_ids(preds, target, counting, (-1, 0), maps=True)
    for name in ("pair_target", "pair_preds", "pair_pixels", "target_map", "preds_map"):
        assert np.array_equal(getattr(compiled, name), getattr(defined, name)), name
    assert np.array_equal(compiled.target.boxes, defined.target.boxes)


# --- Several thresholds ---------------------------------------------------------------------------


def stardist(preds: Ids, target: Ids, threshold: float) -> tuple[int, int, int]:
    """TP, FP and FN of StarDist's ``matching``: the assignment with the most matches.

    It counts an IoU that equals the threshold, which we, as panoptic quality, do not.
    """
    table = ious(preds, target) - 1e-12
    most = min(table.shape)
    costs = -(table >= threshold).astype(float) - table / (2 * most)
    rows, columns = linear_sum_assignment(costs)
    tp = int((table[rows, columns] >= threshold).sum())
    return tp, table.shape[1] - tp, table.shape[0] - tp


@pytest.mark.parametrize("seed", range(3))
def test_scores_at_several_thresholds_are_those_of_stardist(seed: int) -> None:
    preds, target = drawn(seed)
    metric = ObjectMetrics(
        task="binary", input_format="instances", matching="iou", threshold=np.array(SEVERAL)
    )
    metric.update(preds, target)
    found = values(metric)
    f1s, accuracies = [], []
    for threshold in SEVERAL:
        of_images = [
            stardist(p.numpy(), t.numpy(), threshold) for p, t in zip(preds, target, strict=True)
        ]
        tp, fp, fn = np.sum(of_images, 0)
        f1s.append(2 * tp / (2 * tp + fp + fn))
        accuracies.append(tp / (tp + fp + fn))
        assert found[f"object_f1_iou/{threshold:g}"] == pytest.approx(f1s[-1])
        assert found[f"object_accuracy_iou/{threshold:g}"] == pytest.approx(accuracies[-1])
    assert found["object_f1"] == pytest.approx(f1s[0])
    assert found["object_f1_iou"] == pytest.approx(np.mean(f1s))
    assert found["object_accuracy_iou"] == pytest.approx(np.mean(accuracies))
    assert 0 < found["object_f1_iou/0.95"] < found["object_f1_iou/0.5"]


def test_a_threshold_gives_what_it_gives_alone_below_a_half_too() -> None:
    preds, target = drawn(5)
    several = ObjectMetrics(
        task="binary", input_format="instances", matching="iou", threshold=(0.1, 0.3, 0.6)
    )
    several.update(preds, target)
    for threshold in (0.1, 0.3, 0.6):
        alone = ObjectMetrics(
            task="binary", input_format="instances", matching="iou", threshold=threshold
        )
        alone.update(preds, target)
        assert values(several)[f"object_f1_iou/{threshold:g}"] == values(alone)["object_f1"]


def test_thresholds_of_components_images_and_statistics() -> None:
    preds, target = ((side > 0).long() for side in drawn(6, images=6))
    arguments: dict[str, Any] = {"matching": "iou", "threshold": [0.5, 0.9]}
    images = ObjectImageScores(2, **arguments)
    images.update(preds, target)
    metric = ObjectMetrics(2, **arguments)
    metric.update(preds, target)
    assert values(images) == pytest.approx(values(metric), nan_ok=True)
    assert len(images.worst(2, "object_accuracy_iou")) == 2
    interval = confidence_interval(images, "object_f1_iou/0.9", n_resamples=200)
    assert interval.low <= values(metric)["object_f1_iou/0.9"] <= interval.high
    assert "threshold=(0.5, 0.9)" in repr(metric)


def test_images_of_instances_are_compared_but_not_with_those_of_components() -> None:
    preds, target = drawn(7, images=6)
    a, b, c = (
        ObjectImageScores(task="binary", input_format=form) for form in ("instances",) * 2 + (None,)
    )
    a.update(preds, target)
    b.update(target, target)
    c.update(preds > 0, target > 0)
    assert compare(a, b, "object_f1", n_resamples=100).difference < 0
    with pytest.raises(ValueError, match="scheme"):
        compare(a, c, "object_f1", n_resamples=100)


# --- Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "multilabel"}, "is of task='binary', ids .* or task='multiclass'"),
        ({"connectivity": "faces"}, "`connectivity='faces'` means nothing for input_format"),
        ({"from_logits": True}, "`from_logits=True` means nothing"),
        ({"upsample": "bilinear"}, "`upsample='bilinear'` means nothing"),
        ({"input_format": "ids"}, "`input_format` must be one of"),
        (
            {"threshold": [0.5, 0.7]},
            "several values is of `matching='iou'`, got matching='overlap'",
        ),
        ({"threshold": [0.7, 0.5], "matching": "iou"}, "must rise, got 0.7, 0.5"),
        ({"threshold": [], "matching": "iou"}, "must rise, got none"),
        ({"threshold": [0.5, 1.0], "matching": "iou"}, r"in \[0, 1\).*Got 1"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        ObjectMetrics(2, **{"input_format": "instances", **arguments})


def test_a_preset_takes_label_maps() -> None:
    with pytest.raises(ValueError, match="'wmh-2017' says which pixels are an object"):
        ObjectMetrics.preset("wmh-2017", task="binary", input_format="instances")


def one(value: int) -> torch.Tensor:
    return torch.full((1, 3, 3), value)


@pytest.mark.parametrize("new", [ObjectMetrics, ObjectImageScores])
@pytest.mark.parametrize(
    ("task", "preds", "target", "error", "message"),
    [
        ("binary", one(-3), one(1), ValueError, "image 0 of the batch: `preds` holds the id -3"),
        ("binary", one(1), one(-3), ValueError, "`target` holds the id -3. .*`ignore_index=-3`"),
        ("binary", one(200), one(1), ValueError, "`preds` holds 200, which does not count in the"),
        ("binary", one(1).float(), one(1), TypeError, "`preds` must hold integers, .*float32"),
        ("binary", one(1), one(1) > 0, TypeError, "`target` must hold integers, .*bool"),
        ("binary", one(1)[0], one(1)[0], ValueError, r"must be \(N, H, W\) or \(N, D, H, W\)"),
        (
            "binary",
            one(1),
            one(1)[:, :2],
            ValueError,
            r"equal shape, .*\(1, 3, 3\) and \(1, 2, 3\)",
        ),
        ("multiclass", one(1), one(1), ValueError, r"must be \(N, H, W, 2\) or .*category and id"),
        (
            "multiclass",
            (one(1),) * 3,
            (one(1),) * 3,
            ValueError,
            r"\(N, H, W, 2\) .*\(1, 3, 3, 3\)",
        ),
        ("multiclass", (one(5), one(1)), (one(1), one(1)), ValueError, "`preds` .* category 5"),
        ("multiclass", (one(1), one(1)), (one(5), one(1)), ValueError, "5. Categories are 0 to 2"),
        ("multiclass", (one(255), one(1)), (one(1), one(1)), ValueError, "Categories are 0 to 2"),
        ("multiclass", (one(1), one(1)), (one(255), one(1)), ValueError, "Pass `ignore_index=255`"),
        ("multiclass", (one(1), one(-1)), (one(1), one(1)), ValueError, "id -1 of category 1"),
        ("multiclass", [1], one(1), TypeError, "`preds` must be a torch.Tensor"),
    ],
)
def test_bad_ids_are_named_and_nothing_is_counted(
    new: Any, task: Any, preds: Any, target: Any, error: type[Exception], message: str
) -> None:
    sides = [torch.stack(side, -1) if isinstance(side, tuple) else side for side in (preds, target)]
    classes = () if task == "binary" else (3,)
    metric = new(*classes, task=task, input_format="instances", ignore_index=200)
    good = torch.ones(1, 3, 3, *([2] if classes else []), dtype=torch.int64)
    metric.update(good, good)
    before = [state.clone() for state in metric._states]
    with pytest.raises(error, match=message):
        metric.update(*sides)
    with pytest.raises(error, match=message):
        metric(*sides)
    assert all(map(torch.equal, metric._states, before))


@pytest.mark.parametrize("ids", [["a", "b", "c"], torch.tensor([4, 5, 6])])
def test_an_image_with_bad_ids_is_named_by_its_own_id(ids: Any) -> None:
    metric = ObjectImageScores(task="binary", input_format="instances")
    good = torch.ones(3, 3, 3, dtype=torch.int64)
    bad = good.clone()
    bad[1, 0, 0] = -3
    name = repr(ids[1]) if isinstance(ids, list) else "5"
    with pytest.raises(ValueError, match=f"image {name}, 1 of the batch: `preds` holds the id -3"):
        metric.update(bad, good, image_ids=ids)
    with pytest.raises(ValueError, match=r"^image 1 of the batch: `preds` holds the id -3"):
        metric.update(bad, good)
    assert not len(metric.image_counts())
    metric.update(good, good, image_ids=ids)
    assert len(metric.image_counts()) == 3


# --- The command ----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "1"])


def stored(folder: Path, preds: Any, target: Any) -> tuple[Path, Path]:
    """16-bit PNGs of predictions, TIFFs of targets."""
    for name in "pt":
        (folder / name).mkdir()
    for i, (p, t) in enumerate(zip(preds.numpy(), target.numpy(), strict=True)):
        Image.fromarray(p.astype(np.uint16)).save(folder / "p" / f"{i:02}.png")
        tifffile.imwrite(folder / "t" / f"{i:02}.tif", t.astype(np.uint16))
    return folder / "p", folder / "t"


def test_the_command_scores_folders_of_instance_maps(tmp_path: Path) -> None:
    preds, target = drawn(8)
    result = run(
        "evaluate", *stored(tmp_path, preds, target), "--instances", "--object-matching", "iou",
        "--object-threshold", "0.5,0.75,0.9", "--confidence", "0.95",
        "--json", tmp_path / "found.json", "--html", tmp_path / "report.html",
        "--fail-under", "object_f1_iou/0.9=0",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "object accuracy, IoU 0.75" in result.output
    assert "An object is the pixels of one id; matched one to one" in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    metric = ObjectMetrics(
        task="binary", input_format="instances", matching="iou", threshold=[0.5, 0.75, 0.9]
    )
    metric.update(preds, target)
    expected = values(metric)
    for key in ("object_f1", "object_f1_iou", "object_f1_iou/0.9", "object_accuracy_iou/0.75"):
        assert found["scores"][key] == pytest.approx(expected[key], rel=1e-6)
        assert found["intervals"][key]["low"] <= expected[key] <= found["intervals"][key]["high"]
    inside = ((preds > 0) & (target > 0)).sum() / ((preds > 0) | (target > 0)).sum()
    assert found["scores"]["iou"] == pytest.approx(inside.item())
    page = (tmp_path / "report.html").read_text()
    assert "missed: foreground" in page
    assert page.count("data:image/png") >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-classes", 2], "not by --num-classes and --instances together"),
        (["--probabilities"], "--instances: masks hold ids of objects, not --probabilities"),
        (["--object-preset", "autopet"], "--object-preset autopet says which pixels are an object"),
        (["--connectivity", "faces"], "--connectivity means nothing for --instances"),
        (["--object-threshold", "0.5,0.7"], "`threshold` of several values is of `matching='iou'`"),
        (["--object-threshold", "half"], "--object-threshold is numbers, as in 0.5,0.75, got half"),
    ],
)
def test_options_that_do_not_fit_instances_are_named(
    options: list[Any], message: str, tmp_path: Path
) -> None:
    result = run("evaluate", *stored(tmp_path, *drawn(9, images=1)), "--instances", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_ids_that_have_no_meaning_are_problems_of_their_file(tmp_path: Path) -> None:
    preds, target = drawn(9, images=2)
    folders = stored(tmp_path, preds, target)
    tifffile.imwrite(folders[1] / "01.tif", (target[1].numpy() - 1).astype(np.int16))
    result = run("evaluate", *folders, "--instances", "--json", tmp_path / "found.json")
    assert result.exit_code == 2
    assert "01.tif" in result.output
    text = " ".join(result.output.split())
    assert "holds the id -1" in text
    assert "a positive id for each" in text
    assert "--num-classes" not in text  # which is no option here
    assert not (tmp_path / "found.json").exists()
    result = run("evaluate", *folders, "--instances", "--keep-going")
    assert result.exit_code == 0, result.stderr
