"""Label spaces: what the values of masks mean, from the constant to the last backend.

The oracles: a mapping written out longhand in NumPy and counted by scikit-learn, the labels and
the scores of cityscapesscripts, and the categories of torchvision's weights.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from cityscapesscripts.helpers.labels import labels as OFFICIAL_LABELS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torchmetrics import MetricCollection
from torchvision.models.segmentation import FCN_ResNet50_Weights

import segmetrics
from definition import MATRICES
from segmetrics import (
    BoundaryF1Score,
    BoundaryIoU,
    ConfusionMatrix,
    DiceScore,
    HausdorffDistance,
    ImageScores,
    LabelSpace,
    MeanIoU,
    SegmentationMetrics,
    SurfaceDice,
    functional,
    labels,
)
from segmetrics.labels import (
    ADE20K,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    VOC,
    checks,
    datasets,
    palette,
)
from segmetrics.labels.files import gives_colors, regions_of_nnunet
from strategies import LABEL_DTYPES, LAYOUTS, generators, label_spaces, lay_out

PUBLIC = {name: getattr(segmetrics, name) for name in segmetrics.__all__}
SHIPPED = [VOC, CITYSCAPES, CITYSCAPES_TRAIN_IDS, ADE20K]
BOTH = replace(CITYSCAPES, map_preds=True)
STREET = LabelSpace(
    ["road", "car", "truck"],
    ignore_index=0,
    id_to_class={7: "road", 26: "car", 27: "truck", 29: "truck"},
    groups={"flat": ["road"], "vehicle": ["car", "truck"]},
)


def longhand(space: LabelSpace, values: np.ndarray) -> np.ndarray:
    """Classes of values one by one, -1 for ignored."""
    meant = [None if v in space.ignore_index else v for v in values.ravel().tolist()]
    if space.id_to_class is not None:
        meant = [None if v is None else space.id_to_class[v] for v in meant]
    return np.array([-1 if v is None else v for v in meant], np.int64).reshape(values.shape)


def counts(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """``(C, C + 1)`` counts of classes; -1 is ignored in truth, an abstention in the prediction."""
    counted = truth.ravel() >= 0
    truth, predicted = truth.ravel()[counted], predicted.ravel()[counted]
    if not len(truth):
        return np.zeros((classes, classes + 1), np.int64)
    predicted = np.where(predicted < 0, classes, predicted)
    return sklearn_confusion(truth, predicted, labels=range(classes + 1))[:classes]


def street(seed: int = 0, shape: tuple[int, ...] = (2, 30, 40)) -> tuple[Tensor, Tensor]:
    """Predictions and target in ids of Cityscapes, void in both."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 34, shape).repeat(4, -1).repeat(3, -2)
    preds = np.where(rng.random(target.shape) < 0.4, rng.integers(0, 34, target.shape), target)
    return torch.from_numpy(preds), torch.from_numpy(target)


# --- Those that are shipped -----------------------------------------------------------------------


def test_cityscapes_is_that_of_its_scripts() -> None:
    for label in OFFICIAL_LABELS:
        if label.ignoreInEval:
            assert label.id in CITYSCAPES.ignore_index
            continue
        assert CITYSCAPES.id_to_class[label.id] == label.trainId
        assert CITYSCAPES.names[label.trainId] == label.name
        assert CITYSCAPES.colors[label.trainId] == label.color
        assert label.name in CITYSCAPES.groups[label.category]
    assert len(CITYSCAPES.ignore_index) + len(CITYSCAPES.id_to_class) == len(OFFICIAL_LABELS)
    assert len(CITYSCAPES.groups) == 7


def test_train_ids_of_cityscapes_are_classes_already() -> None:
    assert replace(CITYSCAPES, id_to_class=None, ignore_index=255) == CITYSCAPES_TRAIN_IDS


def test_voc_has_the_classes_of_torchvision_in_the_colours_of_its_development_kit() -> None:
    names = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    assert VOC.names[1:] == tuple(names[1:])
    colours = dict(zip(VOC.names, VOC.colors, strict=True))
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["bottle"] == (128, 0, 128)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)
    assert palette(256)[255] == (224, 224, 192)  # of void


def test_ade20k_has_the_names_and_colours_of_scene_parsing_150() -> None:
    assert ADE20K.num_classes == 150
    for id_, name, colour in [
        (1, "wall", (120, 120, 120)),
        (8, "bed", (204, 5, 255)),
        (21, "car", (0, 102, 200)),
        (59, "screen door", (0, 173, 255)),
        (79, "arcade machine", (255, 92, 0)),
        (90, "television", (0, 255, 194)),
        (110, "swimming pool", (0, 184, 255)),
        (143, "plate", (0, 255, 184)),
        (150, "flag", (92, 0, 255)),
    ]:
        label = ADE20K.id_to_class[id_]
        assert (ADE20K.names[label], ADE20K.colors[label]) == (name, colour)
    assert ADE20K.ignore_index == (0,)


@pytest.mark.parametrize("space", SHIPPED, ids=repr)
def test_copies_are_equal_and_readable(space: LabelSpace) -> None:
    for other in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space), replace(space)):
        assert other == space
        assert hash(other) == hash(space)
    assert eval(repr(space), PUBLIC) is space
    assert replace(space, ignore_index=-7) != space


def test_colours_that_are_not_given_differ() -> None:
    assert len(set(palette(1000))) == 1000
    assert LabelSpace(["a", "b", "c"]).colors == palette(3)
    assert LabelSpace(["a"], colors=["#0a00ff"]).colors == ((10, 0, 255),)


# --- What does not fit ----------------------------------------------------------------------------

AB = {"names": ["a", "b"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": "ab"}, "`names` must be a sequence of strings, got 'ab'"),
        ({"names": []}, "at least one class"),
        ({"names": ["a", False]}, "got False. In YAML put quotes"),
        ({"names": ["a", "b", "a"]}, "got 'a' twice"),
        (AB | {"colors": [(0, 0, 0)]}, "`colors` must be one a class, 2, got 1"),
        (AB | {"colors": "#000000"}, "`colors` must be a sequence of colours, got '#000000'"),
        (AB | {"colors": {"#000000", "#ffffff"}}, "`colors` must be a sequence of colours"),
        (AB | {"colors": ["#000000", "red"]}, "or '#rrggbb', got 'red'"),
        (AB | {"colors": ["#000000", "#00000g"]}, "got '#00000g'"),
        (AB | {"colors": [(0, 0, 0), (0, 256, 0)]}, r"from 0 to 255.*got \(0, 256, 0\)"),
        (AB | {"colors": [(0, 0, 0), (0, 0)]}, r"got \(0, 0\)"),
        (AB | {"ignore_index": 2.0}, "`ignore_index` must be integer values of the masks, got 2.0"),
        (AB | {"ignore_index": 2**63}, "`ignore_index` must fit into int64"),
        (AB | {"id_to_class": {}}, "`id_to_class` must map values"),
        (AB | {"id_to_class": [7, 8]}, "`id_to_class` must map values"),
        (AB | {"id_to_class": {"7": "a"}}, "`id_to_class` must be integer values.*got '7'"),
        (AB | {"id_to_class": {7: "c"}}, "maps 7 to 'c', which is neither the name of a class"),
        (AB | {"id_to_class": {7: 2}}, "maps 7 to 2, .*nor an index from 0 to 1"),
        (AB | {"id_to_class": {7: -1}}, "maps 7 to -1"),
        (AB | {"id_to_class": {7: "a"}, "ignore_index": [7]}, "7 is in `id_to_class` and in"),
        (AB | {"groups": {"g": ["c"]}}, "has 'c' in 'g', which is no class"),
        (
            AB | {"id_to_class": {range(1, 4): "a", 3: "b"}},
            r"maps 3 twice, by range\(1, 4\) and by 3",
        ),
        (
            AB | {"id_to_class": {5: "a", range(9, 0, -4): "b"}},
            r"maps 5 twice, by 5 and by range\(9",
        ),
        (AB | {"id_to_class": {range(4, 4): "a"}}, r"range\(4, 4\), which is empty"),
        (AB | {"id_to_class": {range(2**40): "a"}}, "at most 1,048,576 values"),
        (AB | {"id_to_class": {range(-(2**70), 2**70): "a"}}, "`id_to_class` must fit into int64"),
        (AB | {"id_to_class": {2**63: "a"}}, "`id_to_class` must fit into int64, got 92233720"),
        (AB | {"id_to_class": {range(1, 9): "c"}}, r"maps range\(1, 9\) to 'c', which is neither"),
        (
            AB | {"id_to_class": {range(9): "a"}, "ignore_index": [7]},
            "7 is in `id_to_class` and in",
        ),
        (AB | {"groups": {"g": ["a"], "h": ["a"]}}, "'a' twice, in 'g' and in 'h'.*pass `regions`"),
        (AB | {"groups": {"g": ["a"], "h": ["a"], "i": ["a"]}}, "'a' twice, in 'g' and in 'h'"),
        (AB | {"groups": {"g": ["a", "a"]}}, "`groups` has 'a' twice in 'g'"),
        (AB | {"regions": {"r": ["b", "b"]}}, "`regions` has 'b' twice in 'r'"),
        (AB | {"regions": {"r": ["c"]}}, "`regions` has 'c' in 'r', which is no class"),
        (AB | {"regions": {"r": []}}, "`regions` has no class for 'r'"),
        (
            AB | {"regions": {"r": 1}},
            "`regions` must map strings to sequences of names, got 'r': 1",
        ),
        (AB | {"regions": ["a"]}, "`regions` must map names"),
        (AB | {"groups": {"g": []}}, "no class for 'g'"),
        (AB | {"groups": {"g": "ab"}}, "sequences of names, got 'g': 'ab'"),
        (AB | {"map_preds": 1}, "`map_preds` must be a bool"),
    ],
)
def test_arguments_that_do_not_fit_raise(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        LabelSpace(**arguments)


FILE = {
    "names": ["road", "car", "truck"],
    "colors": ["#804080", [0, 0, 142], "#000046"],
    "ignore_index": [0, 255],
    "id_to_class": {7: "road", 26: "car", 27: 2},
    "groups": {"vehicle": ["car", "truck"]},
    "map_preds": True,
    "regions": {"motorised": ["car", "truck"], "moving": ["truck", "car"], "flat": ["road"]},
}


@pytest.mark.parametrize(
    ("name", "write"),
    [("s.yaml", yaml.safe_dump), ("s.YML", yaml.safe_dump), ("s.json", json.dumps)],
)
def test_files_say_what_the_arguments_say(
    tmp_path: Path, name: str, write: Callable[[Any], str]
) -> None:
    (tmp_path / name).write_text(write(FILE))
    assert LabelSpace.read(tmp_path / name) == LabelSpace(**FILE)
    assert LabelSpace.read(str(tmp_path / name)).id_to_class == {7: 0, 26: 1, 27: 2}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.toml", "", "is read from .yaml, .yml or .json"),
        ("s.yaml", "names: [road, car", "while parsing a flow sequence"),
        ("s.json", '{"names": ["road"', "delimiter"),
        ("s.yaml", "- road\n- car", "must have the key `names`"),
        ("s.json", '{"classes": ["road"]}', "must have the key `names`"),
        ("s.yaml", "names: [road]\ncolours: []", "the key 'colours'; known are names, colors"),
        ("s.yaml", "names: [road, no]", "put quotes around words like no"),
        ("s.yaml", "names: [road]\nid_to_class: {7: road, 7: road}", "the key '7' is repeated"),
        ("s.json", '{"names": ["a"], "names": ["b"]}', "the key 'names' is repeated"),
        ("s.json", '{"names": ["a"], "id_to_class": {"7a": 0}}', "ranges like '1-42', got '7a'"),
        ("s.yaml", "names: [a]\nid_to_class: {9-7: a}", "'9-7', whose end is smaller"),
        ("s.yaml", "names: [a]\nid_to_class: {1-3: a, 2: a}", r"maps 2 twice, by range\(1, 4\)"),
        ("s.json", '{"labels": {"a": 0, "b": 0}}', "`labels` has 0 for 'a' and 'b'"),
        (
            "s.json",
            '{"labels": {"a": 0.5}}',
            "`labels` must be integer values of the masks, got 0.5",
        ),
        ("s.json", '{"labels": []}', "`labels` must map names to values"),
        ("s.json", '{"labels": ["a"]}', "`labels` must map names to values"),
        ("s.json", '{"labels": {}}', "`labels` must map names to values"),
        ("s.json", '{"names": ["a"], "id_to_class": {"7": "b"}}', "`id_to_class` maps 7 to 'b'"),
        ("s.yaml", b"names: [\xff]", "utf-8"),
    ],
)
def test_files_that_are_no_label_space_are_named(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=message) as raised:
        LabelSpace.read(path)
    assert str(path) in str(raised.value)
    with pytest.raises(FileNotFoundError):
        LabelSpace.read(tmp_path / "missing.yaml")


@pytest.mark.parametrize(("name", "write"), [("s.yaml", yaml.safe_dump), ("s.json", json.dumps)])
def test_files_have_ranges_of_values(
    tmp_path: Path, name: str, write: Callable[[Any], str]
) -> None:
    ids = {"-3--1": "void", "0": "void", "1-3": "lesion", "-9": "lesion", "5 - 6": 1}
    (tmp_path / name).write_text(write({"names": ["void", "lesion"], "id_to_class": ids}))
    expected = {-9: 1, -3: 0, -2: 0, -1: 0, 0: 0, 1: 1, 2: 1, 3: 1, 5: 1, 6: 1}
    assert LabelSpace.read(tmp_path / name).id_to_class == expected


def test_a_range_of_values_is_its_values_one_by_one() -> None:
    ranged = LabelSpace(["bg", "lesion"], id_to_class={0: 0, range(1, 43): "lesion", 50: 1})
    listed = {0: 0, **dict.fromkeys(range(1, 43), 1), 50: 1}
    assert ranged == LabelSpace(["bg", "lesion"], id_to_class=listed)
    target = torch.tensor([[0, 1, 42, 50]])
    assert MeanIoU(ranged)(torch.tensor([[0, 1, 1, 1]]), target) == 1


BRATS = {
    "channel_names": {"0": "T1"},
    "labels": {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": [3],
    },
    "regions_class_order": [1, 2, 3],
    "numTraining": 1251,
    "file_ending": ".nii.gz",
}


def test_dataset_json_of_nnunet_with_regions(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(BRATS))
    assert LabelSpace.read(tmp_path / "dataset.json") == LabelSpace(
        ["background", "1", "2", "3"],
        regions={
            "whole tumor": ["1", "2", "3"],
            "tumor core": ["2", "3"],
            "enhancing tumor": ["3"],
        },
    )


@pytest.mark.parametrize(
    ("content", "regions"),
    [
        (BRATS, ["whole tumor", "tumor core", "enhancing tumor"]),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2, "ignore": 3}}, ["a", "b"]),
        ({"labels": {"background": 0, "a": [1], "b": 2}}, []),
        ({"labels": ["a"]}, []),
        ({"names": ["a"], "labels": {"a": [1, 2]}}, []),
        (["a"], []),
    ],
)
def test_regions_of_nnunet_are_those_of_its_dataset_json_alone(
    content: Any, regions: list[str], tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert regions_of_nnunet(tmp_path / "dataset.json") == regions


def test_dataset_json_of_nnunet_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "RV": 1, "LV": 2, "ignore": 3}}))
    assert LabelSpace.read(path) == LabelSpace(["background", "RV", "LV"], ignore_index=3)
    path.write_text(json.dumps({"labels": {"0": "background", "2": "LV", "1": "RV"}}))  # version 1
    assert LabelSpace.read(path) == LabelSpace(["background", "RV", "LV"])
    path.write_text(
        json.dumps({"labels": {"background": 0, "LV": 500, "RV": 85, "heart": [85, 500]}})
    )
    space = LabelSpace.read(path)
    assert space == LabelSpace(
        ["background", "RV", "LV"],
        id_to_class={0: 0, 85: 1, 500: 2},
        map_preds=True,
        regions={"heart": ["RV", "LV"]},
    )
    masks = torch.tensor([[0, 85, 500]])
    assert MeanIoU(space)(masks, masks) == 1


def test_what_means_nothing_next_to_a_label_space_raises() -> None:
    with pytest.raises(ValueError, match=r"not given for task='binary', got labels\.VOC"):
        MeanIoU(VOC, task="binary")
    with pytest.raises(ValueError, match="`id_to_class` means nothing for task='multilabel'"):
        MeanIoU(ADE20K, task="multilabel")
    with pytest.raises(ValueError, match="`ignore_index=26` is a class of the label space"):
        MeanIoU(STREET, ignore_index=[26, 255])
    with pytest.raises(TypeError, match="`num_classes` must be an int or a LabelSpace, got 'voc'"):
        MeanIoU("voc")  # type: ignore[arg-type]


# --- Values to classes ----------------------------------------------------------------------------


@given(label_spaces(5), generators(), st.sampled_from(LABEL_DTYPES[1:]))
def test_to_classes_maps_as_longhand(
    space: LabelSpace, rng: np.random.Generator, dtype: torch.dtype
) -> None:
    limits = torch.iinfo(dtype)
    known = [v for v in (*space.id_to_class, *space.ignore_index) if limits.min <= v <= limits.max]
    values = rng.choice(known, (3, 4)) if known else np.zeros((0, 4), np.int64)
    mapped = space.to_classes(torch.from_numpy(values).to(dtype).numpy())
    assert mapped.dtype == np.int32
    np.testing.assert_array_equal(mapped, longhand(space, values))


def test_to_classes_of_values_that_are_classes() -> None:
    np.testing.assert_array_equal(VOC.to_classes(np.array([0, 255, 20], np.uint8)), [0, -1, 20])
    some = LabelSpace(["a", "b"], ignore_index=1)
    np.testing.assert_array_equal(some.to_classes(np.array([True, False])), [-1, 0])


def test_to_classes_names_values_that_are_neither_class_nor_ignored() -> None:
    with pytest.raises(ValueError, match=r"3 values are neither a class nor ignored: 5, 34\. Name"):
        STREET.to_classes(np.array([34, 7, 5, 5, 0]))
    minus_one = LabelSpace(["a", "b"], id_to_class={-1: "a", 1: "b"})
    with pytest.raises(ValueError, match=f"1 values are neither a class nor ignored: {2**63 - 1}"):
        minus_one.to_classes(np.array([1, 2**64 - 1], np.uint64))
    target = torch.from_numpy(np.array([[1, 2**64 - 1]], np.uint64))
    with pytest.raises(ValueError, match="1 pixels of `target` are neither mapped"):
        functional.confusion_matrix(torch.ones(1, 2).byte(), target, minus_one)
    with pytest.raises(TypeError, match="must be integers or bool, got float32"):
        VOC.to_classes(np.zeros(3, np.float32))


# --- Counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("matrix_of", MATRICES)
@settings(max_examples=100)
@given(drawn=st.data())
def test_values_are_counted_as_what_they_are_mapped_to(
    matrix_of: Callable[..., Tensor], drawn: st.DataObject
) -> None:
    classes = drawn.draw(st.sampled_from([2, 5, 21]))
    space, rng = drawn.draw(label_spaces(classes)), drawn.draw(generators())
    shape = [2, *drawn.draw(st.lists(st.integers(1, 9), max_size=3))]

    def label_map(usable: list[int]) -> tuple[Tensor, np.ndarray]:
        fitting = []
        while not fitting:  # any dtype that holds one of the values
            dtype = drawn.draw(st.sampled_from(LABEL_DTYPES[1:]))
            least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
            fitting = [value for value in usable if least <= value <= most]
        layout = drawn.draw(st.sampled_from(LAYOUTS))
        values = rng.choice(fitting, shape)
        values = np.broadcast_to(values[:1], shape) if layout == "expanded" else values
        return lay_out(torch.from_numpy(values.copy()).to(dtype), layout), values

    known = [*space.id_to_class, *space.ignore_index]
    outside = [value for value in space.ignore_index if not 0 <= value < classes]
    target, truth = label_map(known)
    preds, predicted = label_map(known if space.map_preds else [*range(classes), *outside])
    predicted = longhand(space, predicted) if space.map_preds else predicted
    predicted = np.where((predicted >= 0) & (predicted < classes), predicted, -1)
    expected = counts(longhand(space, truth), predicted, classes)
    matrix = matrix_of(preds, target, space, input_format="index")
    np.testing.assert_array_equal(matrix.numpy(), expected[:, :-1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64], ids=str)
def test_large_masks_of_every_width_are_counted_as_mapped(dtype: torch.dtype) -> None:
    preds, target = street(shape=(1, 200, 100))  # several boxes of the CPU backend
    confusion = ConfusionMatrix(BOTH)
    confusion.update(preds.to(dtype), target.to(dtype))
    expected = counts(longhand(BOTH, target.numpy()), longhand(BOTH, preds.numpy()), 19)
    np.testing.assert_array_equal(confusion.compute().numpy(), expected[:, :-1])
    np.testing.assert_array_equal(confusion.abstained.numpy(), expected[:, -1])


def test_values_far_from_zero_are_mapped_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(2**24, 1000, replace=False)  # colours packed into one number, say
    space = LabelSpace(
        [str(label) for label in range(10)],
        id_to_class={value: place % 10 for place, value in enumerate(ids.tolist())},
        map_preds=True,
    )
    preds, target = (torch.from_numpy(rng.choice(ids, (2, 50, 40))) for _ in range(2))
    expected = counts(*(longhand(space, side.numpy()) for side in (target, preds)), 10)
    matrix = functional.confusion_matrix(preds, target, space)
    np.testing.assert_array_equal(matrix.numpy(), expected[:, :-1])


def test_five_digit_ids_cost_what_their_classes_cost() -> None:
    """Ids of instances, class times 1000: the state has the classes' size."""
    rng = np.random.default_rng(1)
    ids = np.sort(rng.choice(np.arange(10_000, 33_999), 14_176, replace=False))
    space = LabelSpace(
        ["road", "car", "truck"],
        ignore_index=0,
        id_to_class={value: value % 3 for value in ids.tolist()},
        map_preds=True,
    )
    confusion = ConfusionMatrix(space)
    [state] = confusion.metric_state.values()
    assert state.numel() < 20
    preds, target = (rng.choice([0, *ids.tolist()], (2, 300, 200)) for _ in range(2))
    confusion.update(torch.from_numpy(preds), torch.from_numpy(target))
    truth, predicted = (np.where(side == 0, -1, side % 3) for side in (target, preds))
    expected = counts(truth, predicted, 3)
    np.testing.assert_array_equal(confusion.compute().numpy(), expected[:, :-1])
    np.testing.assert_array_equal(confusion.abstained.numpy(), expected[:, -1])


def test_scores_and_one_hot_masks_are_classes_already() -> None:
    _, target = street()
    truth = torch.from_numpy(longhand(BOTH, target.numpy()))
    scores = torch.randn(2, 19, *target.shape[1:], generator=torch.Generator().manual_seed(0))
    matrix = functional.confusion_matrix(scores, target, BOTH)
    assert torch.equal(matrix, functional.confusion_matrix(scores, truth, 19, ignore_index=-1))

    truth = truth.clamp(min=0)
    one_hot = torch.nn.functional.one_hot(truth, 19).movedim(-1, 1)
    assert torch.equal(
        functional.confusion_matrix(scores, one_hot, BOTH),
        functional.confusion_matrix(scores, truth, 19),
    )
    both = functional.confusion_matrix(one_hot, one_hot, BOTH, input_format="one-hot")
    assert torch.equal(both, torch.diag(truth.flatten().bincount(minlength=19)))


def test_an_ignored_value_is_no_class_where_values_are_mapped() -> None:
    """ADE20K ignores 0, and its class 0 is stored as 1."""
    walls = torch.ones(1, 4, 4, dtype=torch.uint8)
    score = MeanIoU(ADE20K, average="none")(walls.long() - 1, walls)
    assert score[0] == 1
    assert score[1:].isnan().all()
    assert {"iou/wall", "iou/flag"} < dict(SegmentationMetrics(ADE20K).items()).keys()


def test_predictions_are_mapped_only_where_the_label_space_says_so() -> None:
    target = torch.tensor([[7, 26, 27, 0]])
    assert MeanIoU(STREET)(torch.tensor([[0, 1, 2, 2]]), target) == 1
    ids = torch.tensor([[7, 26, 29, 7]])
    with pytest.raises(ValueError, match=r"3 counted pixels of `preds`.*needs `map_preds=True`"):
        MeanIoU(STREET)(ids, target)
    assert MeanIoU(replace(STREET, map_preds=True))(ids, target) == 1


@pytest.mark.parametrize(("preds", "warns"), [([0, 0, 2], True), ([0, 2], False), ([0, 1], False)])
def test_classes_that_would_mostly_be_right_as_ids_are_warned_of(
    preds: list[int], warns: bool
) -> None:
    space = LabelSpace(["a", "b", "c"], id_to_class={0: 1, 1: 2, 2: 0})
    metric = MeanIoU(space)
    metric.update(torch.tensor([preds]), torch.zeros(1, len(preds), dtype=torch.int64))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric.compute()
    assert any("needs `map_preds=True`" in str(each.message) for each in caught) == warns


def test_a_predicted_ignored_value_is_an_abstention() -> None:
    confusion = ConfusionMatrix(replace(STREET, map_preds=True))
    confusion.update(torch.tensor([[7, 0, 0, 0]]), torch.tensor([[7, 7, 27, 0]]))
    assert confusion.compute().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert confusion.abstained.tolist() == [1, 0, 1]


def test_ignored_values_and_names_given_next_to_a_label_space() -> None:
    target, preds = torch.tensor([[7, 26, 0, 255]]), torch.tensor([[0, 1, 1, 1]])
    metric = MeanIoU(STREET, ignore_index=255, class_names=["a", "b", "c"])
    assert metric(preds, target) == 1
    assert metric.class_names == ["a", "b", "c"]
    assert MeanIoU(STREET).class_names == list(STREET.names)
    multilabel = MeanIoU(VOC, task="multilabel")
    assert multilabel.counting.ignore_index == (255,)
    assert multilabel.class_names == list(VOC.names)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (STREET, 34, r"2 pixels of `target` are neither mapped to a class nor ignored\. Map the"),
        (STREET, -1, r"2 pixels of `target` are negative: neither mapped.*`ignore_index`"),
        (STREET, 255, r"2 pixels of `target` are 255: .*pass `ignore_index=255`; if the values"),
        (STREET, 70000, r"Bad values in `target`: 70000\."),
        (VOC, 21, r"neither a class \(0 to 20\) nor ignored.*Bad values in `target`: 21\."),
    ],
)
def test_a_bad_value_raises_and_changes_nothing(
    space: LabelSpace, value: int, message: str
) -> None:
    metric = MeanIoU(space)
    good = torch.tensor([[7, 0, 7, 7]])
    metric.update(good % 3, good)
    before = metric.compute()
    bad = torch.tensor([[7, value, value, 7]])
    for add in (metric.update, metric.forward):
        with pytest.raises(ValueError, match=message) as raised:
            add(good % 3, bad)
        assert f"Bad values in `target`: {value}." in str(raised.value)
    assert metric.compute() == before


def test_a_mapped_prediction_that_means_nothing_raises() -> None:
    target, preds = torch.tensor([[7, 26, 0]]), torch.tensor([[7, 5, 6]])
    message = r"1 counted pixels of `preds` are neither mapped to a class nor ignored.*`preds`: 5\."
    with pytest.raises(ValueError, match=message):
        MeanIoU(replace(STREET, map_preds=True))(preds, target)


# --- Metrics --------------------------------------------------------------------------------------

METRICS: dict[str, Callable[..., Any]] = {
    "MeanIoU": MeanIoU,
    "samplewise": lambda space, **kw: MeanIoU(space, aggregation_level="samplewise", **kw),
    "SegmentationMetrics": SegmentationMetrics,
    "ImageScores": ImageScores,
    "BoundaryIoU": lambda space, **kw: BoundaryIoU(space, dilation_ratio=0.03, **kw),
    "BoundaryF1Score": BoundaryF1Score,
    "HausdorffDistance": HausdorffDistance,
    "SurfaceDice": lambda space, **kw: SurfaceDice(space, tolerance=1.0, **kw),
}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_scores_ids_as_the_classes_they_mean(name: str) -> None:
    mapped = METRICS[name](BOTH)
    classes = METRICS[name](replace(CITYSCAPES, id_to_class=None, ignore_index=-1))
    for seed in range(2):
        preds, target = street(seed)
        of_classes = (torch.from_numpy(longhand(BOTH, side.numpy())) for side in (preds, target))
        mapped.update(preds.byte(), target.short())
        classes.update(*of_classes)
    torch.testing.assert_close(mapped.compute(), classes.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
def test_a_mapped_metric_lives_as_any_other(name: str) -> None:
    metric, whole = METRICS[name](BOTH), METRICS[name](BOTH)
    first, second = street(0, (1, 9, 8)), street(1, (1, 9, 8))
    metric.update(*first)
    restored = pickle.loads(pickle.dumps(metric))
    clone = metric.clone()
    loaded = METRICS[name](BOTH)
    metric.persistent(True)
    loaded.load_state_dict(metric.state_dict())
    whole.update(*first)
    whole.update(*second)
    for other in (metric, restored, clone, *([loaded] if name != "ImageScores" else [])):
        other(*second)
        torch.testing.assert_close(other.compute(), whole.compute(), rtol=0, atol=0, equal_nan=True)
    assert repr(restored) == repr(metric)
    assert restored.label_space == BOTH


def test_repr_stays_readable() -> None:
    assert repr(MeanIoU(VOC)) == "MeanIoU(num_classes=labels.VOC)"
    assert repr(MeanIoU(VOC)) == repr(eval(repr(MeanIoU(VOC)), PUBLIC))
    shown = "BoundaryIoU(num_classes=labels.ADE20K, ignore_index=[255], average='none')"
    assert repr(BoundaryIoU(ADE20K, ignore_index=[0, 255], average="none")) == shown
    shown = "ImageScores(num_classes=LabelSpace(3 classes: road, car, truck), class_names=['a', "
    assert repr(ImageScores(STREET, class_names=list("abc"))).startswith(shown)


def test_a_state_is_named_by_the_mapping_and_not_by_names() -> None:
    def state(space: LabelSpace | int, **arguments: Any) -> list[str]:
        return list(MeanIoU(space, **arguments).metric_state)

    renamed = replace(BOTH, names=[str(i) for i in range(19)], groups=None, colors=None)
    assert state(renamed) == state(BOTH)
    assert state(VOC) == state(21, ignore_index=255)
    swapped = replace(BOTH, id_to_class={**BOTH.id_to_class, 7: 1, 8: 0})
    assert len({*state(BOTH), *state(swapped), *state(CITYSCAPES), *state(19)}) == 4


def test_a_collection_shares_equal_mappings_and_never_others() -> None:
    permuted = replace(STREET, id_to_class={26: 0, 27: 1, 29: 2, 7: 2})
    together = MetricCollection(
        {"iou": MeanIoU(STREET), "dice": DiceScore(STREET), "permuted": MeanIoU(permuted)}
    )
    nothing, telling = torch.zeros(1, 4).long(), torch.tensor([[7, 26, 27, 27]])
    preds = torch.tensor([[0, 1, 2, 1]])
    alone = {"iou": MeanIoU(STREET), "dice": DiceScore(STREET), "permuted": MeanIoU(permuted)}
    for target in (nothing, telling):  # all of the first batch is ignored: their states are equal
        together.update(preds, target)
        for metric in alone.values():
            metric.update(preds, target)
    assert together.compute() == {name: metric.compute() for name, metric in alone.items()}
    assert sorted(map(sorted, together.compute_groups.values())) == [["dice", "iou"], ["permuted"]]


def test_image_scores_name_the_classes() -> None:
    metric = ImageScores(VOC, include_background=False)
    metric.update(torch.ones(1, 4, 4).long(), torch.ones(1, 4, 4).long())
    assert tuple(metric.per_image().columns) == VOC.names[1:]


@pytest.mark.parametrize("metric", [MeanIoU, SegmentationMetrics])
def test_a_step_with_a_mapping_compiles_to_one_graph(metric: Callable[..., Any]) -> None:
    torch.compiler.reset()
    compiled, eager, counter = metric(CITYSCAPES), metric(CITYSCAPES), CompileCounter()
    step = torch.compile(compiled.forward, fullgraph=True, backend=counter)
    for seed in range(5):
        _, target = street(seed, (2, 5, 4))
        scores = torch.randn(2, 19, 15, 16, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(
            step(scores, target), eager(scores, target), rtol=0, atol=0, equal_nan=True
        )
    assert counter.frame_count == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts the memory")
def test_mapping_a_mask_copies_nothing() -> None:
    pytest.importorskip("numba")
    code = """
import re, torch
from dataclasses import replace
from pathlib import Path
from segmetrics import MeanIoU, labels
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
metric = MeanIoU(replace(labels.CITYSCAPES, map_preds=True))
for dtype in (torch.uint8, torch.int64):
    target = torch.randint(0, 34, (1, 4096, 4096), dtype=dtype)
    for rows in (40, 400):  # loads what is compiled
        metric.update(target[:, :rows], target[:, :rows])
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    metric.update(target, target)
    print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert max(map(int, run.stdout.split())) <= 8 * 1000  # KiB; the masks have 16 and 128 MiB


# --- Categories -----------------------------------------------------------------------------------


def official_scores(matrix: np.ndarray) -> tuple[dict[str, float], float]:
    """The IoU of the categories and their mean, by cityscapesscripts."""
    names = CITYSCAPES.groups
    scores = {c: official.getIouScoreForCategory(c, matrix, official.args) for c in names}
    return scores, official.getScoreAverage(scores, official.args)


@settings(max_examples=50)
@given(generators(), st.sets(st.integers(0, 33), min_size=1), st.sets(st.integers(0, 33)))
def test_categories_are_scored_as_by_the_official_script(
    rng: np.random.Generator, in_target: set[int], in_preds: set[int]
) -> None:
    target = rng.choice(sorted(in_target), (1, 12, 11))  # void too, as is what is predicted
    wrong = rng.choice(sorted(in_preds | in_target), target.shape)
    preds = np.where(rng.random(target.shape) < 0.5, wrong, target)
    with redirect_stdout(io.StringIO()):
        matrix = official.generateMatrix(official.args)
    np.add.at(matrix, (target.ravel(), preds.ravel()), 1)
    expected, mean = official_scores(matrix)

    value = SegmentationMetrics(BOTH)(torch.from_numpy(preds), torch.from_numpy(target))
    found = {name: value[f"iou_category/{name}"].item() for name in expected}
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    dice = {name: value[f"dice_category/{name}"].item() for name in expected}
    expected_dice = {name: 2 * iou / (1 + iou) for name, iou in expected.items()}
    assert dice == pytest.approx(expected_dice, rel=1e-6, nan_ok=True)
    assert value["mIoU_category"].item() == pytest.approx(mean, rel=1e-6, nan_ok=True)


def test_a_class_of_no_category_is_an_error_of_those_it_is_taken_for() -> None:
    space = replace(STREET, groups={"vehicle": ["car", "truck"]})
    target, preds = torch.tensor([[7, 7, 26, 27, 27]]), torch.tensor([[0, 1, 2, 1, 0]])
    value = SegmentationMetrics(space)(preds, target)
    assert value["iou_category/vehicle"] == 2 / 4
    assert value["mIoU_category"] == value["iou_category/vehicle"]


def test_categories_leave_out_what_classes_leave_out() -> None:
    space = LabelSpace(list("abcd"), groups={"first": ["a"], "rest": ["b", "c"], "last": ["d"]})
    arguments = {"include_background": False, "ignore_index": 2}
    target, preds = torch.tensor([[0, 1, 1, 2, 3]]), torch.tensor([[1, 1, 2, 1, 3]])
    value = SegmentationMetrics(space, **arguments)(preds, target)
    assert {k for k in value if k.startswith("iou_category/")} == {
        "iou_category/rest",
        "iou_category/last",
    }
    assert value["iou_category/rest"] == pytest.approx(1 / 3)
    assert value["mIoU_category"] == pytest.approx((1 / 3 + 1) / 2)


def test_categories_are_there_only_where_they_can_be_told() -> None:
    def keys(*args: Any, **kwargs: Any) -> set[str]:
        return {key for key, _ in SegmentationMetrics(*args, **kwargs).items() if "category" in key}

    every = {
        f"val/{score}_category/{name}" for name in CITYSCAPES.groups for score in ("iou", "dice")
    } | {"val/mIoU_category"}
    assert keys(CITYSCAPES, prefix="val/") == every
    assert keys(CITYSCAPES_TRAIN_IDS, per_class=False) == {"mIoU_category"}
    assert keys(CITYSCAPES, prefix="val/", aggregation_level="samplewise") == every
    assert keys(CITYSCAPES_TRAIN_IDS, task="multilabel") == set()
    assert keys(VOC) == set()


# --- Regions --------------------------------------------------------------------------------------

TUMOUR = LabelSpace(
    ["background", "ncr", "ed", "et"],
    ignore_index=255,
    regions={"WT": ["ncr", "ed", "et"], "TC": ["ncr", "et"], "ET": ["et"]},
)


@settings(max_examples=50)
@given(
    generators(),
    st.sets(st.sampled_from([0, 1, 2, 3, 255]), min_size=1),
    st.sets(st.sampled_from([0, 1, 2, 3, 255]), min_size=1),
    st.sampled_from([{}, {"include_background": False}, {"ignore_index": 2}]),
)
def test_a_region_is_scored_as_the_binary_mask_of_its_union(
    rng: np.random.Generator,
    in_target: set[int],
    in_preds: set[int],
    arguments: dict[str, Any],
) -> None:
    target, preds = (rng.choice(sorted(s), (2, 9, 8)) for s in (in_target, in_preds))
    value = SegmentationMetrics(TUMOUR, **arguments)(*map(torch.from_numpy, (preds, target)))
    left_out = {255, arguments.get("ignore_index", 255)}
    counted = ~np.isin(target, list(left_out))
    for region, classes in {"WT": [1, 2, 3], "TC": [1, 3], "ET": [3]}.items():
        # a predicted 255 is in no region: a miss of the target's, a false alarm of none
        p, t = (np.isin(side[counted], classes) for side in (preds, target))
        both, either = (p & t).sum(), (p | t).sum()
        iou = both / either if either else np.nan
        dice = 2 * both / (p.sum() + t.sum()) if either else np.nan
        found = [value[f"{score}_region/{region}"].item() for score in ("iou", "dice")]
        assert found == pytest.approx([iou, dice], rel=1e-6, nan_ok=True)


def test_regions_are_what_stacked_masks_score_as_multilabel() -> None:
    """The example of a public report: BraTS' three Dices from one matrix."""
    generator = torch.Generator().manual_seed(0)
    target, preds = torch.randint(0, 4, (2, 3, 20, 20), generator=generator)
    value = SegmentationMetrics(TUMOUR)(preds, target)

    def stacked(labels: Tensor) -> Tensor:
        return torch.stack([labels > 0, (labels == 1) | (labels == 3), labels == 3], 1)

    dice = DiceScore(3, task="multilabel", average="none")(stacked(preds), stacked(target))
    found = torch.stack([value[f"dice_region/{region}"] for region in ("WT", "TC", "ET")])
    torch.testing.assert_close(found, dice)


def test_regions_have_keys_where_a_matrix_is_counted() -> None:
    def keys(**kwargs: Any) -> set[str]:
        return {key for key, _ in SegmentationMetrics(TUMOUR, **kwargs).items() if "region" in key}

    every = {f"{score}_region/{region}" for score in ("iou", "dice") for region in TUMOUR.regions}
    assert keys() == every
    assert keys(per_class=False) == every  # a region is no class
    assert keys(prefix="val/", include_background=False) == {f"val/{key}" for key in every}
    assert keys(aggregation_level="samplewise") == every
    assert keys(task="multilabel") == set()


GROUPED = replace(TUMOUR, groups={"tumour": ["ncr", "et"], "rest": ["background", "ed"]})


@settings(max_examples=30)
@given(
    generators(),
    st.sets(st.sampled_from([0, 1, 2, 3, 255]), min_size=1),
    st.sampled_from([{}, {"include_background": False}, {"zero_division": 1.0}]),
)
def test_samplewise_sets_of_classes_are_averaged_over_images(
    rng: np.random.Generator, values: set[int], arguments: dict[str, Any]
) -> None:
    target, preds = torch.from_numpy(rng.choice(sorted(values), (2, 3, 7, 6)))
    target[0, :5] = 255  # nothing but void in this image, or little else
    samplewise = SegmentationMetrics(GROUPED, aggregation_level="samplewise", **arguments)
    for batch in (slice(0, 2), slice(2, 3), slice(3, 3)):
        samplewise.update(preds[batch], target[batch])
    found = samplewise.compute()
    names = list(GROUPED.names)
    plain = SegmentationMetrics(
        4, class_names=names, ignore_index=255, aggregation_level="samplewise", **arguments
    )(preds, target)
    torch.testing.assert_close({key: found[key] for key in plain}, plain, equal_nan=True)
    of_images = [
        SegmentationMetrics(GROUPED, **arguments)(preds[i : i + 1], target[i : i + 1])
        for i in range(3)
        if (target[i] != 255).any()
    ]
    for key in set(found) - set(plain):
        assert "_category" in key or "_region" in key
        scores = torch.stack([of_image[key] for of_image in of_images]) if of_images else None
        expected = torch.tensor(np.nan) if scores is None else scores.nanmean()
        torch.testing.assert_close(found[key], expected, equal_nan=True, atol=1e-6, rtol=1e-6)


def test_errors_of_samplewise_sets_of_classes_name_the_shapes_of_the_batch() -> None:
    metric = SegmentationMetrics(GROUPED, aggregation_level="samplewise")
    with pytest.raises(ValueError, match=r"`preds` \(3, 4, 5\) and `target` \(3, 4, 4\)"):
        metric.update(torch.zeros(3, 4, 5).long(), torch.zeros(3, 4, 4).long())


def test_samplewise_states_of_other_sets_of_classes_are_others() -> None:
    spaces = [
        GROUPED,
        replace(GROUPED, regions={**TUMOUR.regions, "ET": ["ed"]}),
        replace(GROUPED, groups={"tumour": ["ncr", "ed"], "rest": ["background", "et"]}),
    ]
    names = [
        tuple(SegmentationMetrics(space, aggregation_level="samplewise")._defaults)
        for space in (*spaces, GROUPED)
    ]
    assert len(set(names)) == 3
    assert names[0] == names[-1]


def test_samplewise_regions_raise_as_all_metrics_do() -> None:
    metric = SegmentationMetrics(GROUPED, aggregation_level="samplewise")
    good = torch.zeros(2, 4, 4, dtype=torch.int64)
    metric.update(good, good)
    before = metric.compute()
    with pytest.raises(ValueError, match="the same N"):
        metric.update(good, good[:1])
    with pytest.raises(ValueError, match="Bad values in `target`: 9"):
        metric.update(good, good + torch.tensor([0, 9])[:, None, None])
    torch.testing.assert_close(metric.compute(), before, equal_nan=True)


def test_regions_next_to_groups_compile_to_one_graph() -> None:
    torch.compiler.reset()
    space = replace(TUMOUR, groups={"tumour": ["ncr", "et"], "rest": ["background", "ed"]})
    compiled, eager = SegmentationMetrics(space), SegmentationMetrics(space)
    counter = CompileCounter()
    step = torch.compile(compiled.forward, fullgraph=True, backend=counter)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        preds, target = torch.randint(0, 4, (2, 2, 6, 5), generator=generator)
        torch.testing.assert_close(
            step(preds, target), eager(preds, target), rtol=0, atol=0, equal_nan=True
        )
    assert counter.frame_count == 1


def test_labels_are_exported() -> None:
    assert segmetrics.labels is labels
    assert segmetrics.LabelSpace is LabelSpace


def test_predicted_ids_that_are_read_as_classes_are_warned_of_where_nothing_is_right() -> None:
    space = LabelSpace(["road", "car", "sky"], id_to_class={1: 0, 2: 1, 3: 2})
    target = torch.tensor([[[1, 2, 1, 2]]])
    metric = MeanIoU(space)
    metric.update(target, target)  # read as classes 1 and 2
    with pytest.warns(UserWarning, match="the label space needs `map_preds=True`"):
        assert metric.compute() == 0
    fair = [[[[0, 1, 0, 1]]], [[[2, 2, 2, 2]]], [[[2, 0, 2, 0]]]]  # right, or just bad
    ones = torch.ones(1, 1, 10, dtype=torch.long)
    half, most = ([[[1] * hits + [2] * (10 - hits)]] for hits in (5, 6))
    for preds, truth in [*((preds, target) for preds in fair), (half, ones)]:
        metric = MeanIoU(space)
        metric.update(torch.tensor(preds), truth)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metric.compute()
    metric = MeanIoU(space)
    metric.update(torch.tensor(most), ones)
    with pytest.warns(UserWarning, match="the label space needs `map_preds=True`"):
        assert metric.compute() == 0


def test_things_are_named_or_numbered_and_read_from_files(tmp_path):
    names = ["road", "car", "person"]
    space = LabelSpace(names, things=["person", 1])
    assert space.things == (1, 2)
    file = tmp_path / "space.yaml"
    file.write_text("names: [road, car, person]\nthings: [person, car]\n")
    assert LabelSpace.read(file) == space
    assert replace(space, names=["Straße", "Auto", "Mensch"]).things == (1, 2)
    assert LabelSpace(names).things == ()


@pytest.mark.parametrize(
    ("things", "error", "message"),
    [
        ("car", TypeError, "`things` must be a sequence of names"),
        (["bus"], ValueError, "`things` has 'bus', which is neither the name of a class nor"),
        ([3], ValueError, "`things` has 3, which is neither"),
        ([-1], ValueError, "`things` has -1, which is neither"),
        (["car", 1], ValueError, "`things` has 'car' twice"),
        ([1.0], TypeError, "`things`"),
    ],
)
def test_impossible_things_are_refused(things, error, message):
    with pytest.raises(error, match=message):
        LabelSpace(["road", "car"], things=things)


def test_things_come_before_stuff_without_classes_that_are_ignored() -> None:
    space = LabelSpace(["void", "road", "car"], ignore_index=0, things=["car"])
    assert space.things_first() == (2, 1)
    mapped = replace(space, id_to_class={7: 0, 8: 1, 9: 2})  # 0 is a value of masks
    assert mapped.things_first() == (2, 0, 1)


def test_cityscapes_things_are_people_and_vehicles():
    things = [CITYSCAPES.names[c] for c in CITYSCAPES.things]
    assert things == [*CITYSCAPES.groups["human"], *CITYSCAPES.groups["vehicle"]]
    assert CITYSCAPES_TRAIN_IDS.things == CITYSCAPES.things


# --- the ends of what is allowed ------------------------------------------------------------------


def test_the_ends_of_int64_are_values_and_one_further_is_none() -> None:
    ends = [-(2**63), 2**63 - 1]
    assert LabelSpace(["a"], ignore_index=ends).ignore_index == tuple(ends)
    assert LabelSpace(["a"], id_to_class={ends[0]: "a", ends[1]: 0}).id_to_class == {
        ends[0]: 0,
        ends[1]: 0,
    }
    for beyond in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(ValueError, match="must fit into int64"):
            LabelSpace(["a"], ignore_index=[beyond])
    masks = np.array([2**63 - 1, 0], np.uint64)
    assert LabelSpace(["a"], ignore_index=ends).to_classes(masks).tolist() == [-1, 0]


def test_ranges_map_as_many_values_as_are_allowed_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "_MOST_VALUES", 10)
    for allowed in (
        {range(10): "a"},
        {range(0, 20, 2): "a"},
        {-1: "a", range(9): "a"},
        {range(90, 100): 0},
    ):
        assert len(LabelSpace(["a"], id_to_class=allowed).id_to_class or ()) == 10
    for more in (
        {range(11): "a"},
        {range(0, 22, 2): "a"},
        {-1: "a", range(10): "a"},
        {range(-5, 6): 0},
    ):
        with pytest.raises(ValueError, match="at most 10 values"):
            LabelSpace(["a"], id_to_class=more)


def test_of_unknown_values_the_ten_lowest_are_named() -> None:
    unknown = np.arange(111, 99, -1)  # twelve
    with pytest.raises(ValueError, match=r"^12 values .*: 100, 101, .*, 109\. Name"):
        LabelSpace(["a"]).to_classes(unknown)


def test_channels_of_colours_are_from_0_to_255() -> None:
    assert LabelSpace(["a", "b"], [(0, 255, 0), "#00ff7f"]).colors == ((0, 255, 0), (0, 255, 127))
    for wrong in ((0, 0, -1), (256, 0, 0), "#00ff7", "#00ff7f0", "00ff7f0", (1, 2), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match="from 0 to 255 or '#rrggbb'"):
            LabelSpace(["a"], [wrong])


def test_an_index_of_a_class_is_from_0_to_the_last() -> None:
    space = LabelSpace(["a", "b"], id_to_class={5: 0, 6: 1}, things=[1, 0])
    assert (space.id_to_class, space.things) == ({5: 0, 6: 1}, (0, 1))
    for index in (-1, 2):
        with pytest.raises(ValueError, match="from 0 to 1"):
            LabelSpace(["a", "b"], id_to_class={5: index})
        with pytest.raises(ValueError, match="from 0 to 1"):
            LabelSpace(["a", "b"], things=[index])


def test_few_names_are_shown_all_and_many_are_cut() -> None:
    assert repr(LabelSpace(list("abcd"))) == "LabelSpace(4 classes: a, b, c, d)"
    assert repr(LabelSpace(list("abcde"))) == "LabelSpace(5 classes: a, b, …, e)"
    assert palette(0) == ()


def test_colours_of_pixels_that_do_not_count_are_those_of_the_official_labels() -> None:
    official = {label.color for label in OFFICIAL_LABELS if label.ignoreInEval}
    assert set(datasets.CITYSCAPES_VOID) == official - set(CITYSCAPES.colors or ())


def test_colours_of_void_are_those_of_the_development_kits() -> None:
    assert (palette(256)[255],) == datasets.VOC_VOID
    assert datasets.ADE20K_VOID == ((0, 0, 0),)  # of the label 0, "other"


def test_a_file_says_whether_it_has_colours(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    for more, expected in (({}, False), ({"colors": ["#102030"]}, True)):
        path.write_text(json.dumps({"names": ["a"]} | more))
        assert gives_colors(path) is expected
        assert gives_colors(str(path)) is expected
