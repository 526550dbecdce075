"""Synthetic folders of masks in formats of data sets: ``python -m benchmarks.mask_folders --help``.

The layout, the names, the palette and the values are those of Cityscapes and PASCAL VOC 2012; the
content is made up: a street seen by layers (sky, buildings, road) with cars and people in it, or a
few objects on a background, each with the void border that annotators leave. A prediction is the
same scene drawn a little off, with some objects missing or taken for others. The same arguments
write the same pixels.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segmetrics.labels import VOC

Bytes = NDArray[np.uint8]
Size = tuple[int, int]

CITYSCAPES_SIZE = (1024, 2048)
VOC_SIZE = (375, 500)
CITIES = ("frankfurt", "lindau", "munster")

UNLABELED, EGO_VEHICLE, STATIC = 0, 1, 4
ROAD, SIDEWALK, BUILDING, FENCE, VEGETATION, SKY = 7, 8, 11, 13, 21, 23
#: From the top of the image to the bottom, and where a layer ends, as a share of its height.
LAYERS = ((SKY, 0.18), (BUILDING, 0.36), (VEGETATION, 0.46), (FENCE, 0.5), (SIDEWALK, 0.58))
POLE, TRAFFIC_SIGN, PERSON, RIDER, CAR, TRUCK, BUS, CARAVAN = 17, 20, 24, 25, 26, 27, 28, 29
TRAIN, MOTORCYCLE, BICYCLE = 31, 32, 33
#: Objects with the height and width that they have in the middle distance, in shares of the
#: image's height, and how often they are drawn.
THINGS = {
    POLE: (0.3, 0.012, 6),
    TRAFFIC_SIGN: (0.04, 0.04, 4),
    PERSON: (0.16, 0.05, 7),
    RIDER: (0.14, 0.06, 2),
    CAR: (0.1, 0.17, 9),
    TRUCK: (0.2, 0.25, 1),
    BUS: (0.2, 0.3, 1),
    CARAVAN: (0.14, 0.2, 1),
    TRAIN: (0.2, 0.5, 1),
    MOTORCYCLE: (0.08, 0.1, 1),
    BICYCLE: (0.09, 0.09, 3),
}
HAVE_INSTANCES = {PERSON, RIDER, CAR, TRUCK, BUS, CARAVAN, TRAIN, MOTORCYCLE, BICYCLE}


#: Pairs that are written sooner than processes would start.
FEW = 64


def write_cityscapes(root: Path, pairs: int, size: Size = CITYSCAPES_SIZE) -> tuple[Path, Path]:
    """Write ``root/results`` and ``root/gtFine/val``: label ids, instance ids, predictions."""
    results, targets = root / "results", root / "gtFine" / "val"
    for folder in (results, *(targets / city for city in CITIES)):
        folder.mkdir(parents=True, exist_ok=True)
    _in_processes(partial(_write_street, results, targets, size), pairs)
    return results, targets


def write_voc(root: Path, pairs: int, size: Size = VOC_SIZE) -> tuple[Path, Path]:
    """Write ``root/predictions`` and ``root/VOCdevkit/VOC2012/SegmentationClass``."""
    predictions = root / "predictions"
    targets = root / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    for folder in (predictions, targets):
        folder.mkdir(parents=True, exist_ok=True)
    _in_processes(partial(_write_objects, predictions, targets, size), pairs)
    return predictions, targets


def write_camvid(root: Path, camvid: Path) -> None:
    """Write ``root/targets``, CamVid's masks, and ``root/predictions``, the same moved a little."""
    for folder in ("targets", "predictions"):
        (root / folder).mkdir(parents=True)
    for path in sorted(camvid.glob("*annot/*.png")):
        shutil.copy(path, root / "targets")
        with Image.open(path) as image:
            moved = np.roll(np.asarray(image), (3, 5), (0, 1))
        Image.fromarray(moved).save(root / "predictions" / path.name)


def _in_processes(write: Callable[[int], None], number: int) -> None:
    if number <= FEW:
        for i in range(number):
            write(i)
        return
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        for _ in pool.map(write, range(number), chunksize=8):
            pass


def _write_street(results: Path, targets: Path, size: Size, number: int) -> None:
    labels, instances, predicted = street(np.random.default_rng((2016, number)), size)
    city = CITIES[number % len(CITIES)]
    name = f"{city}_{number // 1000:06}_{number % 1000:06}"
    stem = targets / city / f"{name}_gtFine"
    Image.fromarray(labels).save(f"{stem}_labelIds.png")
    Image.fromarray(instances).save(f"{stem}_instanceIds.png")
    Image.fromarray(predicted).save(results / f"{name}_leftImg8bit.png")


def _write_objects(predictions: Path, targets: Path, size: Size, number: int) -> None:
    labels, predicted = objects(np.random.default_rng((2012, number)), size)
    palette = np.zeros((256, 3), np.uint8)
    palette[: VOC.num_classes], palette[255] = VOC.colors, (224, 224, 192)
    for folder, mask in ((targets, labels), (predictions, predicted)):
        image = Image.fromarray(mask)
        image.putpalette(palette.tobytes())
        image.save(folder / f"2012_{number:06}.png")


def street(
    rng: np.random.Generator, size: Size = CITYSCAPES_SIZE
) -> tuple[Bytes, NDArray[np.uint16], Bytes]:
    """Label ids, instance ids and predicted label ids of a street."""
    height, width = size
    curves = [
        (label, (end + 0.05 * _curve(rng, width, 12) + 0.004 * _curve(rng, width, 300)) * height)
        for label, end in LAYERS
    ]
    labels = _layers(curves, height, width)
    off = [
        (label, curve + height * (0.004 * _curve(rng, width, 40) + 0.002 * _curve(rng, width, 500)))
        for label, curve in curves
    ]
    predicted = _layers(off, height, width)

    truth, instances, guess = (
        Image.fromarray(labels),
        Image.fromarray(labels.astype(np.int32)),
        Image.fromarray(predicted),
    )
    draw, draw_instances, draw_guess = map(ImageDraw.Draw, (truth, instances, guess))
    seen: dict[int, int] = {}
    for label in rng.permutation(
        np.repeat(list(THINGS), [n for *_, n in THINGS.values()])
    ).tolist():
        tall, wide, _ = THINGS[label]
        distance = rng.uniform(0.5, 2.2)
        sides = np.array([wide, tall]) * height / distance
        center = np.array([rng.uniform(0, width), height * (0.42 + 0.16 / distance)])
        shape = _outline(rng, center, sides)
        draw.polygon(_points(shape), fill=label)
        value = label
        if label in HAVE_INSTANCES and rng.random() < 0.9:  # else a group of them
            value = label * 1000 + seen.setdefault(label, 0)
            seen[label] += 1
        draw_instances.polygon(_points(shape), fill=value)
        if rng.random() < 0.9:
            found = label if rng.random() < 0.9 else int(rng.choice(list(THINGS)))
            shifted = (
                shape + rng.normal(0, 0.02, 2) * sides + rng.normal(0, 0.015, shape.shape) * sides
            )
            draw_guess.polygon(_points(shifted), fill=found)
    ego = [(0.2 * width, height), (0.4 * width, 0.93 * height), (0.6 * width, 0.93 * height)]
    for drawn in (draw, draw_instances):
        drawn.polygon([*ego, (0.8 * width, height)], fill=EGO_VEHICLE)
        drawn.rectangle((0, 0, width - 1, height // 200), fill=UNLABELED)
    for _ in range(3):  # the model says "static", an ignored id: pixels that it misses
        x, y = rng.uniform(0, width), rng.uniform(0.3 * height, height)
        sides = np.array([0.06, 0.06]) * height
        draw_guess.polygon(_points(_outline(rng, np.array([x, y]), sides)), fill=STATIC)
    return np.asarray(truth), np.asarray(instances).astype(np.uint16), np.asarray(guess)


def objects(rng: np.random.Generator, size: Size = VOC_SIZE) -> tuple[Bytes, Bytes]:
    """Labels with void borders, and predicted labels, of a few objects on a background."""
    height, width = size
    truth, guess = (Image.new("L", (width, height)) for _ in range(2))
    draw, draw_guess = ImageDraw.Draw(truth), ImageDraw.Draw(guess)
    for label in (1 + rng.permutation(20)[: rng.integers(1, 5)]).tolist():
        sides = rng.uniform(0.2, 0.7, 2) * min(size)
        shape = _outline(rng, rng.uniform(0.2, 0.8, 2) * (width, height), sides)
        draw.polygon(_points(shape), fill=label, outline=255, width=max(2, height // 75))
        if rng.random() < 0.95:
            found = label if rng.random() < 0.9 else int(rng.integers(1, 21))
            shifted = (
                shape + rng.normal(0, 0.04, 2) * sides + rng.normal(0, 0.015, shape.shape) * sides
            )
            draw_guess.polygon(_points(shifted), fill=found)
    return np.asarray(truth), np.asarray(guess)


def _layers(curves: Sequence[tuple[int, NDArray[np.float64]]], height: int, width: int) -> Bytes:
    """Labels above each of the curves, the first on top; below all of them is the road."""
    labels = np.full((height, width), ROAD, np.uint8)
    rows = np.arange(height, dtype=np.int32)[:, None]
    for label, curve in reversed(curves):
        np.copyto(labels, label, where=rows < curve.astype(np.int32))
    return labels


def _curve(rng: np.random.Generator, length: int, knots: int) -> NDArray[np.float64]:
    """A line through random heights, in steps, as roofs are."""
    places = np.linspace(0, knots - 1, length)
    heights = rng.normal(size=knots)
    return np.where(np.arange(length) * 7 // length % 2, heights[places.round().astype(int)],
                    np.interp(places, np.arange(knots), heights))  # fmt: skip


def _outline(
    rng: np.random.Generator, center: NDArray[np.float64], sides: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Corners ``(n, 2)`` of an object: a rounded box with an uneven border."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    ring = np.sign(ring) * np.abs(ring) ** 0.6
    waves = 1 + 0.08 * np.sin(angle * rng.integers(2, 6) + rng.uniform(0, 6))
    waves += rng.normal(0, 0.02, len(angle))
    return center + 0.5 * sides * ring * waves[:, None]


def _points(shape: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in shape.tolist()]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.mask_folders", description=__doc__)
    options.add_argument("layout", choices=("cityscapes", "voc"))
    options.add_argument("folder", type=Path)
    options.add_argument("--pairs", type=int, default=50)
    options.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    given = options.parse_args()
    cityscapes = given.layout == "cityscapes"
    size = tuple(given.size) if given.size else CITYSCAPES_SIZE if cityscapes else VOC_SIZE
    write = write_cityscapes if cityscapes else write_voc
    for folder in write(given.folder, given.pairs, size):
        print(folder)


if __name__ == "__main__":
    main()
