"""The example, run as a user runs it: the data it writes, the files it leaves, what it scores."""

import csv
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.datasets import VOCSegmentation

pytest.importorskip("pytorch_lightning")

EXAMPLES = Path(__file__).parents[1] / "examples"
write_scenes = runpy.run_path(str(EXAMPLES / "voc_scenes.py"))["write_scenes"]
VOC_COLOURS = {  # as published in VOC's development kit
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    20: (0, 64, 128),
    255: (224, 224, 192),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root, train=24, val=3, seed=1)
    return root


def run_example(*arguments):
    """Run the example as a program and return what it printed."""
    command = [sys.executable, EXAMPLES / "fcn_resnet50_voc.py", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # other tests may run at the same time
    result = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    """A short training on one device: where its files are, and what it printed."""
    output = tmp_path_factory.mktemp("trained")
    printed = run_example(
        *("--data-root", scenes, "--output", output),
        *("--max-steps", 8, "--batch-size", 3, "--image-size", 48),
    )
    return output, printed


def read_counts(output):
    with (output / "confusion.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows]
    return np.array([row[1:] for row in rows], dtype=np.int64)


def read_scores(output):
    """The last scores the program logged."""
    with (output / "csv" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/mIoU"]]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("val/")}


def pixels_of_classes(root):
    """How many pixels of each class the validation masks hold, void left out."""
    masks = [np.asarray(mask) for _, mask in VOCSegmentation(root, image_set="val")]
    return sum(np.bincount(mask.ravel(), minlength=256)[:21] for mask in masks)


def assert_same_scores(output, reference):
    """At most two pixels in a million, the network's own rounding, are predicted otherwise."""
    ours, theirs = read_counts(output), read_counts(reference)
    assert (theirs.sum(0) > 0).sum() > 2  # a model that predicts one class would prove nothing
    np.testing.assert_array_equal(ours.sum(1), theirs.sum(1))
    differing = abs(ours - theirs).sum() / 2
    assert differing <= max(1, 2e-6 * theirs.sum())
    assert read_scores(output) == pytest.approx(read_scores(reference), abs=1e-4, nan_ok=True)


def test_scenes_are_read_by_torchvision_as_voc(scenes):
    splits = {
        split: VOCSegmentation(scenes, year="2012", image_set=split)
        for split in ("train", "val", "trainval")
    }
    assert {split: len(data) for split, data in splits.items()} == {
        "train": 24,
        "val": 3,
        "trainval": 27,
    }
    assert sorted(splits["trainval"].images) == sorted(
        splits["train"].images + splits["val"].images
    )
    for image, mask in splits["trainval"]:
        assert (image.mode, mask.mode) == ("RGB", "P")
        assert image.size == mask.size
        assert set(np.unique(mask)) <= {*range(21), 255}
        palette = mask.getpalette()
        for label, colour in VOC_COLOURS.items():
            assert tuple(palette[3 * label : 3 * label + 3]) == colour
    assert len({image.size for image, _ in splits["trainval"]}) > 3
    labels = np.concatenate([np.unique(mask) for _, mask in splits["trainval"]])
    assert set(labels) == {*range(21), 255}


def test_void_separates_any_two_objects(scenes):
    for _, mask in VOCSegmentation(scenes, image_set="trainval"):
        labels = np.asarray(mask)
        for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            counted = (first != 255) & (second != 255)
            np.testing.assert_array_equal(first[counted], second[counted])


def test_same_seed_writes_the_same_files_and_another_seed_others(scenes, tmp_path):
    for seed in (1, 2):
        write_scenes(tmp_path / str(seed), train=24, val=3, seed=seed)
    files = [path.relative_to(scenes) for path in scenes.rglob("*") if path.is_file()]
    assert len(files) == 27 + 27 + 3
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (scenes / file).read_bytes()
        if file.suffix in (".jpg", ".png"):
            assert (tmp_path / "2" / file).read_bytes() != (scenes / file).read_bytes()


def test_scenes_are_written_once_and_an_interrupted_write_is_redone(tmp_path):
    leftover = tmp_path / "VOCdevkit.partial" / "VOC2012" / "JPEGImages" / "2012_999999.jpg"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half an image")
    write_scenes(tmp_path, train=2, val=1)
    images = VOCSegmentation(tmp_path, image_set="trainval").images
    assert len(images) == 3
    assert sorted(Path(image).name for image in images) == sorted(
        path.name for path in tmp_path.rglob("*.jpg")
    )
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_scenes(tmp_path, train=2, val=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written


def test_example_trains_scores_and_leaves_the_files_it_names(trained, scenes):
    output, printed = trained
    named = {line.split()[-1] for line in printed.splitlines() if line.strip()}
    for name in ("confusion.png", "confusion.csv", "csv/metrics.csv", "tensorboard", "model.ckpt"):
        assert str(output / name) in named
        assert (output / name).exists()
    assert list((output / "tensorboard").glob("events.out.tfevents.*"))
    assert min(Image.open(output / "confusion.png").size) > 300
    assert "Validation" in printed
    assert "diningtable" in printed
    assert "IoU before" in printed
    np.testing.assert_array_equal(read_counts(output).sum(1), pixels_of_classes(scenes))


def test_logged_scores_are_those_of_the_saved_counts(trained):
    output, _ = trained
    counts, scores = read_counts(output), read_scores(output)
    hit = counts.diagonal()
    with np.errstate(invalid="ignore"):
        iou = hit / (counts.sum(0) + counts.sum(1) - hit)
    assert scores["val/mIoU"] == pytest.approx(np.nanmean(iou), abs=1e-6)
    assert scores["val/iou/background"] == pytest.approx(iou[0], abs=1e-6)
    assert scores["val/pixel_accuracy"] == pytest.approx(hit.sum() / counts.sum(), abs=1e-6)


def test_tensorboard_shows_the_confusion_matrix_and_the_worst_images(trained, scenes):
    """Of every validation; the worst are those that the program prints."""
    output, printed = trained
    sizes = {"images": 0, "scalars": 0, "tensors": 0}
    board = EventAccumulator(str(output / "tensorboard"), size_guidance=sizes).Reload()
    tags = ["val/confusion_matrix", *(f"val/worst/{i}" for i in (1, 2, 3))]
    assert sorted(board.Tags()["images"]) == tags
    for tag in tags:
        steps = [event.step for event in board.Images(tag)]
        assert steps == [event.step for event in board.Scalars("val/mIoU")]
        assert steps[0] == 0 < steps[-1]
    listed = board.Tensors("val/worst/text_summary")[-1].tensor_proto.string_val[0].decode()
    found = re.findall(r"(2012_\d{6}): mIoU (0\.\d{3})", listed)
    worst = next(line for line in printed.splitlines() if line.startswith("worst images"))
    assert found == re.findall(r"(2012_\d{6}) (0\.\d{3})", worst)[:4]
    for i, (name, _) in enumerate(found, start=1):
        encoded = board.Images(f"val/worst/{i}")[-1].encoded_image_string
        (photograph,) = scenes.rglob(f"{name}.jpg")
        pixels = np.asarray(Image.open(photograph))
        shown = np.asarray(Image.open(io.BytesIO(encoded)))
        np.testing.assert_array_equal(shown[:, : pixels.shape[1]], pixels)


def test_two_devices_score_every_image_once(trained, scenes, tmp_path):
    """Three images on two devices: Lightning's own sampler would score one of them twice."""
    reference, _ = trained
    run_example(
        *("--data-root", scenes, "--output", tmp_path, "--weights", reference / "model.ckpt"),
        *("--max-steps", 0, "--devices", 2),
    )
    np.testing.assert_array_equal(read_counts(tmp_path).sum(1), pixels_of_classes(scenes))
    assert_same_scores(tmp_path, reference)


def test_head_logits_score_as_upsampled_ones(trained, scenes, tmp_path):
    """The weights as a bare state dict here, the other form `--weights` takes."""
    reference, _ = trained
    state = torch.load(reference / "model.ckpt", weights_only=True)["state_dict"]
    state = {name.removeprefix("model."): value for name, value in state.items()}
    torch.save(state, tmp_path / "state.pt")
    run_example(
        *("--data-root", scenes, "--output", tmp_path, "--weights", tmp_path / "state.pt"),
        *("--max-steps", 0, "--head-logits"),
    )
    assert_same_scores(tmp_path, reference)


def test_a_device_without_an_image_counts_nothing(trained, tmp_path):
    reference, _ = trained
    write_scenes(tmp_path, train=2, val=1)
    run_example(
        *("--data-root", tmp_path, "--output", tmp_path, "--weights", reference / "model.ckpt"),
        *("--max-steps", 0, "--devices", 2),
    )
    np.testing.assert_array_equal(read_counts(tmp_path).sum(1), pixels_of_classes(tmp_path))


def test_the_calibration_is_logged_printed_and_drawn_before_and_after_training(trained):
    output, printed = trained
    before, after = map(float, re.search(r"ECE ([\d.]+) -> ([\d.]+)", printed).groups())
    assert 0 < before < 1
    assert after == pytest.approx(read_scores(output)["val/ECE"], abs=5e-4)
    for name in ("reliability_before.png", "reliability.png"):
        with Image.open(output / name) as drawn:
            assert min(drawn.size) > 200
