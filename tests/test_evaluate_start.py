"""``segmetrics evaluate`` starts without what it does not need; its numbers are the metrics'."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.mask_folders import write_cityscapes, write_voc
from segmetrics import BoundaryIoU, ConfusionMatrix, LabelSpace, SegmentationMetrics, labels
from segmetrics.evaluate import workers

pytest.importorskip("typer")

#: Packages that take longer to import than a small folder takes to count.
HEAVY = "torch", "torchmetrics", "scipy.linalg", "plotly", "jinja2", "pandas", "matplotlib"
SCRIPT = """
import json, sys
from segmetrics.__main__ import main

commands, heavy = map(json.loads, sys.argv[1:])
for arguments in commands:
    sys.argv[1:] = ["evaluate", *arguments]
    try:
        main()
    except SystemExit as end:
        print(json.dumps([end.code, [name for name in heavy if name in sys.modules]]))
"""


def runs(*commands: list[object]) -> list[tuple[int, list[str]]]:
    """Exit status of commands in one fresh process, with the heavy packages loaded by then."""
    given = json.dumps([[str(argument) for argument in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, given, json.dumps(HEAVY)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == len(commands), done.stderr
    return [tuple(json.loads(line)) for line in lines]


def pairs_of(preds: Path, targets: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of one image each, in int64."""
    found = []
    for target in sorted(targets.rglob("*.png")):
        both = preds / target.relative_to(targets), target
        found.append(tuple(torch.tensor(np.array(Image.open(path)))[None].long() for path in both))
    return found  # type: ignore[return-value]


def write_segments(folder: Path) -> list[Path]:
    """Two images of two segments in COCO's panoptic format, predicted as they are."""
    (folder / "preds").mkdir(parents=True)
    (folder / "target").mkdir()
    categories = [
        {"id": i, "name": name, "isthing": 1 - i} for i, name in enumerate(["car", "sky"])
    ]
    segments = [{"id": 7 + i, "category_id": i} for i in range(2)]
    colors = np.array([[[7, 0, 0], [8, 0, 0]]] * 10, np.uint8)
    annotations = []
    for image in range(2):
        name = f"{image}.png"
        annotations.append({"image_id": image, "file_name": name, "segments_info": segments})
        for side in ("preds", "target"):
            Image.fromarray(colors).save(folder / side / name)
    content = json.dumps({"annotations": annotations, "categories": categories})
    paths = [folder / "preds.json", folder / "target.json"]
    for path in paths:
        path.write_text(content)
    return paths


def scored(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_voc(tmp_path_factory.mktemp("voc"), 6, (60, 80))


def test_plain_runs_never_import_torch(voc: tuple[Path, Path], tmp_path: Path) -> None:
    city = write_cityscapes(tmp_path / "city", 2, (64, 128))
    for case, name in (("a", "liver"), ("a", "spleen"), ("b", "liver"), ("b", "spleen")):
        for side in ("preds", "targets"):
            folder = tmp_path / side / case
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / f"{name}.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no PNG")
    segments = write_segments(tmp_path / "coco")
    classes, out = ["--labels", "voc"], ["--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv"]
    by_class = "{key}/{class}.png"
    commands: list[list[object]] = [
        [*voc, *classes],
        [*voc, *classes, *out, "--boundary", "--checkpoint", tmp_path / "state"],
        [*voc, "--binary", "--ignore-index", 255],
        [*voc, "--num-classes", 21, "--ignore-index", 255, "--region", "animals=3,8,10,12,13,17"],
        [*voc, *classes, "--workers", 1, "--zero-division", 0, "--no-background"],
        [*city, "--labels", "cityscapes", "--iiou", *out],
        [tmp_path / "preds", tmp_path / "targets", "--match", by_class, by_class, "--boundary"],
        [*segments, "--panoptic", *out, "--per-image", "--fail-under", "PQ=0.5"],
        [*segments, "--panoptic", "--boundary", "--workers", 1],
        [tmp_path / "broken", tmp_path / "broken", "--num-classes", 3],
        [*voc, "--num-classes", 3],
    ]
    ends = runs(*commands)
    assert [status for status, _ in ends] == [0] * 9 + [2] * 2
    assert [loaded for _, loaded in ends] == [[]] * 11


def test_what_needs_torch_loads_it(voc: tuple[Path, Path], tmp_path: Path) -> None:
    (end,) = runs([*voc, "--labels", "voc", "--per-image", "--json", tmp_path / "out.json"])
    assert end[0] == 0
    assert "torch" in end[1]
    assert "plotly" not in end[1]
    assert len(scored(tmp_path / "out.json")["images"]) == 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_numbers_are_those_of_the_metrics(
    dtype: Any, voc: tuple[Path, Path], tmp_path: Path
) -> None:
    for source, side in zip(voc, ("preds", "targets"), strict=True):
        (tmp_path / side).mkdir()
        for path in source.rglob("*.png"):
            Image.fromarray(np.array(Image.open(path)).astype(dtype)).save(
                tmp_path / side / path.name
            )
    folders = tmp_path / "preds", tmp_path / "targets"
    out = tmp_path / "out.json"
    assert runs([*folders, "--labels", "voc", "--boundary", "--json", out])[0] == (0, [])
    found = scored(out)
    space = LabelSpace(labels.VOC.names, ignore_index=255)
    usual, matrix, contours = SegmentationMetrics(space), ConfusionMatrix(space), BoundaryIoU(space)
    for preds, target in pairs_of(*folders):
        for metric in (usual, matrix, contours):
            metric.update(preds, target)
    expected = {key: value for key, value in usual.compute_scalars().items() if "/" not in key}
    scores = {key: found["scores"][key] for key in expected}
    assert scores == pytest.approx(expected, abs=1e-6)  # the metrics return fp32
    assert found["scores"]["boundary_iou"] == pytest.approx(contours.compute().item(), abs=1e-6)
    assert found["confusion"] == matrix.compute().tolist()
    assert found["abstained"] == matrix.abstained.tolist()


def test_values_that_kernels_cannot_look_up_are_counted_all_the_same(tmp_path: Path) -> None:
    random, ids = np.random.default_rng(0), np.arange(300) * 70_000 + 40_000
    space = {
        "names": [f"c{i}" for i in range(300)],
        "id_to_class": {int(v): i for i, v in enumerate(ids)},
    }
    (tmp_path / "labels.json").write_text(json.dumps(space))
    drawn = random.integers(0, 300, (2, 40, 50))
    for side, classes in zip(("preds", "targets"), drawn, strict=True):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "1.npy", ids[classes])
    arguments = [tmp_path / "preds", tmp_path / "targets", "--labels", tmp_path / "labels.json"]
    out = tmp_path / "out.json"
    assert runs([*arguments, "--boundary", "--json", out]) == [(0, [])]
    expected = np.zeros((300, 300), int)
    np.add.at(expected, (drawn[1].ravel(), drawn[0].ravel()), 1)
    assert scored(out)["confusion"] == expected.tolist()
    contours = BoundaryIoU(300)
    contours.update(*torch.from_numpy(drawn)[:, None])
    assert scored(out)["scores"]["boundary_iou"] == pytest.approx(contours.compute().item())


@pytest.mark.skipif(not workers.FORKS, reason="threads share all that is loaded")
@pytest.mark.parametrize("panoptic", [False, True])
def test_kernels_are_loaded_once_for_all_workers(
    panoptic: bool, voc: tuple[Path, Path], tmp_path: Path
) -> None:
    kernels = {"cpu_tally_kernels.tally_runs", "cpu.band_counts", "png_kernels.unfilter"}
    masks, options = voc, ["--labels", "voc", "--boundary"]
    if panoptic:
        kernels = {"png_runs.color_runs_of_file", "cpu.name_keys", "cpu.count_runs"}
        masks, options = tuple(write_segments(tmp_path)), ["--panoptic"]
    given = ["evaluate", *map(str, masks), *options, "--workers", "2"]
    command = [sys.executable, "-m", "segmetrics", *given]
    subprocess.run(command, check=True, capture_output=True)  # compiles what is not yet
    environment = os.environ | {"NUMBA_DEBUG_CACHE": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    loaded = re.findall(r"data loaded from '.*?(\w+\.\w+)-", done.stdout)
    assert kernels <= {*loaded}
    assert len(loaded) == len({*loaded})
    assert "data saved" not in done.stdout
