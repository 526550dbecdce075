"""Objects against cc3d and SciPy; panoptic quality against torchmetrics and others.

``python -m benchmarks.objects`` prints medians of interleaved runs, their ratios, and peak memory
above the inputs. panopticapi, which is on no package index, is compared where ``--panopticapi``
names a checkout of it: its own code on files, and on images that are decoded already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import cc3d
import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torchmetrics.detection import PanopticQuality as TorchmetricsPanopticQuality
from vernier import panoptic as vernier

from benchmarks import report
from benchmarks.machine import machine, versions
from benchmarks.memory import peak_of
from benchmarks.panoptic_files import of_arrays_by_panopticapi
from benchmarks.timing import ROUNDS, interleaved
from segmetrics import PanopticQuality
from segmetrics.objects import object_pairs

PARTS = ("table", "quality", "files", "memory")
#: Name → size, segments an image, categories that are things and stuff.
DATA = {"Cityscapes": ((1024, 2048), 60, 8, 11), "COCO": ((480, 640), 12, 80, 53)}
SIDES = ("preds", "target")
#: Different images that are cycled through: a hundred would not fit into memory.
DISTINCT = 5

Step = Callable[[], object]


def regions(size: tuple[int, ...], number: int, values: int, seed: int = 0) -> np.ndarray:
    """A map of boxes and balls of all sizes, -1 between them."""
    rng = np.random.default_rng(seed)
    labels = np.full(size, -1, np.int32)
    for _ in range(number):
        half = np.maximum(1, rng.uniform(0.01, 0.06) * np.array(size) * rng.uniform(0.5, 2)).astype(
            int
        )
        middle = [int(rng.integers(length)) for length in size]
        box = tuple(slice(max(0, m - h), m + h) for m, h in zip(middle, half, strict=True))
        places = np.indices(labels[box].shape)
        away = sum(
            ((p + b.start - m) / h) ** 2
            for p, b, m, h in zip(places, box, middle, half, strict=True)
        )
        labels[box][away <= rng.choice([1, 3])] = rng.integers(values)
    return labels


def moved(labels: np.ndarray) -> np.ndarray:
    """A prediction: the same, a little elsewhere."""
    return np.roll(labels, 2, tuple(range(labels.ndim)))


# --- components and pairs -------------------------------------------------------------------------


def by_cc3d(preds: np.ndarray, target: np.ndarray) -> None:
    """Components by cc3d, pairs by one ``np.unique``."""
    of_preds, of_target = (
        cc3d.connected_components(x + 1, connectivity=26 if x.ndim == 3 else 8)
        for x in (preds, target)
    )
    np.unique(of_target.astype(np.int64) << 32 | of_preds, return_counts=True)


def by_scipy(preds: np.ndarray, target: np.ndarray) -> None:
    """Components by SciPy, class by class, pairs by one ``np.unique``."""
    structure = np.ones((3,) * target.ndim)
    sides = []
    for labels in (preds, target):
        found, number = np.zeros(labels.shape, np.int64), 0
        for value in np.unique(labels[labels >= 0]):
            pieces, more = ndimage.label(labels == value, structure)
            found += np.where(pieces > 0, pieces + number, 0)
            number += more
        sides.append(found)
    np.unique(sides[1] << 32 | sides[0], return_counts=True)


def tables(small: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Maps whose objects are paired."""
    rng = np.random.default_rng(0)
    shrink = 4 if small else 1
    flat, deep = (1024 // shrink, 2048 // shrink), (100 // shrink, 512 // shrink, 512 // shrink)
    street, lesions = regions(flat, 300, 19), regions(deep, 300, 1)
    noise = [rng.integers(-1, 2, flat).astype(np.int32) for _ in range(2)]
    return {
        f"{_by(flat)}, 300 regions": (moved(street), street),
        f"{_by(flat)}, noise": (noise[0], noise[1]),
        f"{_by(deep)}, 300 lesions": (moved(lesions), lesions),
    }


def _by(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))


def reading(maps: Sequence[np.ndarray]) -> Step:
    """Reads all maps once, on all cores: what nobody who scores them can leave out."""
    words = [torch.from_numpy(np.ascontiguousarray(x).reshape(-1).view(np.int64)) for x in maps]
    return lambda: [of_map.sum() for of_map in words]


def time_tables(rounds: int, small: bool) -> Iterator[report.Row]:
    """Print times of components and pairs."""
    for name, (preds, target) in tables(small).items():
        steps: dict[str, Step] = {
            "segmetrics": lambda p=preds, t=target: object_pairs(p, t),
            "cc3d + unique": lambda p=preds, t=target: by_cc3d(p, t),
            "SciPy + unique": lambda p=preds, t=target: by_scipy(p, t),
        }
        yield show(name, steps, reading([preds, target]), rounds)


# --- panoptic quality -----------------------------------------------------------------------------


class Images:
    """Images of a data set's size as every contender takes them."""

    def __init__(self, name: str, small: bool) -> None:
        size, segments, self.things, self.stuffs = DATA[name]
        size = tuple(length // 4 for length in size) if small else size
        self.pairs = []
        for seed in range(DISTINCT):
            ids = regions(size, segments, 2**20, seed) + 1
            self.pairs.append(tuple(self.categories(x) for x in (moved(ids), ids)))
        self.coco = [self._as_coco(pair) for pair in self.pairs]

    def categories(self, ids: np.ndarray) -> np.ndarray:
        """Category and instance of every pixel; where there is no region it is stuff."""
        category = np.where(ids > 0, ids % (self.things + self.stuffs), self.things)
        return np.stack([category, np.where(category < self.things, ids, 0)], -1).astype(np.int64)

    def tensors(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As torchmetrics takes them, ``(1, H, W, 2)``."""
        preds, target = (torch.from_numpy(x)[None] for x in self.pairs[i % DISTINCT])
        return preds, target

    def as_coco(self, i: int) -> list[tuple[np.ndarray, list[dict[str, int]]]]:
        """As in COCO: ids, and the segments of each side."""
        return self.coco[i % DISTINCT]

    @staticmethod
    def _as_coco(
        pair: tuple[np.ndarray, ...],
    ) -> list[tuple[np.ndarray, list[dict[str, int]]]]:
        sides = []
        for side in pair:
            keys, place, areas = np.unique(
                side.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True
            )
            ids = (place.reshape(side.shape[:2]) + 1).astype(np.uint32)
            infos = [
                {"id": n + 1, "category_id": int(c), "iscrowd": 0, "area": int(area)}
                for n, ((c, _), area) in enumerate(zip(keys, areas, strict=True))
            ]
            sides.append((ids, infos))
        return sides

    def listed(self) -> list[dict[str, object]]:
        """The categories of COCO's JSON."""
        number = range(self.things + self.stuffs)
        return [{"id": c, "name": str(c), "isthing": int(c < self.things)} for c in number]


def by_vernier(images: Images, sides: list[list[tuple[np.ndarray, list[dict[str, int]]]]]) -> None:
    """vernier on arrays: both of its ``from_arrays`` and the evaluation."""
    maps = [{i: of_image[side][0] for i, of_image in enumerate(sides)} for side in range(2)]
    infos = [
        json.dumps({str(i): of_image[side][1] for i, of_image in enumerate(sides)}).encode()
        for side in range(2)
    ]
    target = vernier.Dataset.from_arrays(maps[1], infos[1], json.dumps(images.listed()).encode())
    preds = vernier.Predictions.from_arrays(maps[0], infos[0])
    vernier.Evaluator().evaluate(target, preds, num_threads=torch.get_num_threads())


def panopticapi_of(images: Images, number: int) -> Step:
    """panopticapi on decoded images."""
    decoded, annotations = {}, []
    for i in range(number):
        entries = []
        for side, (ids, infos) in zip(SIDES, images.as_coco(i), strict=True):
            decoded[f"{side}/{i}"] = colors_of(ids)
            own = [dict(info) for info in infos]  # it writes into them
            entries.append({"file_name": str(i), "image_id": i, "segments_info": own})
        annotations.append(entries[::-1])
    categories = {category["id"]: category for category in images.listed()}
    return lambda: of_arrays_by_panopticapi(decoded, annotations, categories)


def time_quality(given: argparse.Namespace) -> Iterator[report.Row]:
    """Print times of panoptic quality on arrays, of as many images each."""
    number = given.images
    for name in given.data:
        images = Images(name, given.small)
        every, few = [images.tensors(i) for i in range(number)], max(1, number // 50)
        coco = [images.as_coco(i) for i in range(number)]
        classes = range(images.things), range(images.things, images.things + images.stuffs)
        ours, theirs = PanopticQuality(*classes), TorchmetricsPanopticQuality(*classes)

        def update(metric: torch.nn.Module, some: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
            for preds, target in some:
                metric.update(preds, target)

        steps: dict[str, Step] = {
            "segmetrics": partial(update, ours, every),
            "torchmetrics": partial(update, theirs, every[:few]),
            "vernier": partial(by_vernier, images, coco),
        }
        of_images = dict.fromkeys(("floor", *steps), number) | {"torchmetrics": few}
        both = reading([side.numpy() for pair in every for side in pair])
        if given.panopticapi:
            of_images["panopticapi, decoded images"] = min(DISTINCT, number)
            steps["panopticapi, decoded images"] = panopticapi_of(images, min(DISTINCT, number))
        yield show(f"images of {name}'s size", steps, both, given.rounds, of_images)


# --- files ----------------------------------------------------------------------------------------


def colors_of(ids: np.ndarray) -> np.ndarray:
    """The colours of ids in COCO's PNGs."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def write_coco(
    folder: Path, images: Images, number: int, *, linked: bool = False
) -> tuple[Path, Path]:
    """COCO's format in a folder; equal images may be links to one file."""
    entries: dict[str, list[dict[str, object]]] = {"preds": [], "target": []}
    for i in range(number):
        for side, (ids, infos) in zip(SIDES, images.as_coco(i), strict=True):
            path = folder / side / f"{i:06}.png"
            path.parent.mkdir(exist_ok=True)
            if linked and i >= DISTINCT:
                path.hardlink_to(path.with_name(f"{i % DISTINCT:06}.png"))
            else:
                Image.fromarray(colors_of(ids)).save(path)
            entries[side].append({"image_id": i, "file_name": path.name, "segments_info": infos})
    for side, of_side in entries.items():
        content = {
            "annotations": of_side,
            "categories": images.listed(),
            "images": [{"id": i, "file_name": f"{i:06}.png"} for i in range(number)],
        }
        (folder / f"{side}.json").write_text(json.dumps(content))
    return folder / "preds.json", folder / "target.json"


def run_in_process(*arguments: object) -> tuple[float, str]:
    """The seconds of a Python process, and what it prints."""
    start = perf_counter()
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return perf_counter() - start, done.stdout


HOTCOCO = "import sys; from hotcoco.panoptic import PanopticEval; PanopticEval(*sys.argv[1:]).run()"
PANOPTICAPI = (
    "import sys; sys.path.insert(0, sys.argv[1]); from panopticapi.evaluation import pq_compute; "
    "pq_compute(*sys.argv[2:])"
)


def time_files(given: argparse.Namespace) -> Iterator[report.Row]:
    """Print times of panoptic quality of COCO's files: of the work, and of whole processes."""
    number = given.images
    for name in given.data:
        with tempfile.TemporaryDirectory() as folder:
            preds, target = write_coco(Path(folder), Images(name, given.small), number)
            programs: dict[str, Sequence[object]] = {
                "segmetrics": ("-m", "segmetrics", "evaluate", preds, target, "--panoptic"),
                "hotcoco": ("-c", HOTCOCO, target, preds),
            }
            checkout: Sequence[object] = ()
            if given.panopticapi:
                checkout = "--panopticapi", given.panopticapi
                programs["panopticapi"] = ("-c", PANOPTICAPI, given.panopticapi, target, preds)
            work: dict[str, list[float]] = {who: [] for who in programs}
            whole: dict[str, list[float]] = {who: [] for who in programs}
            for _ in range(given.rounds):  # in turn
                for who, program in programs.items():
                    timed = "-m", "benchmarks.panoptic_files", who, preds, target
                    rounds = 0 if who == "panopticapi" else 3  # it takes long
                    found = run_in_process(*timed, rounds, *checkout)[1]
                    work[who].append(median(json.loads(found)))
                    whole[who].append(run_in_process(*program)[0])
        title = f"{number} files of {name}'s size"
        yield show_medians(title, {who: median(x) / number for who, x in work.items()})
        title = f"{title}, whole process"
        yield show_medians(title, {who: median(x) / number for who, x in whole.items()})


# --- memory ---------------------------------------------------------------------------------------


def memory_of(who: str, name: str, small: bool) -> int:
    """Bytes above the inputs for one image, in this process."""
    images = Images(name, small)
    preds, target = images.tensors(0)
    classes = range(images.things), range(images.things, images.things + images.stuffs)
    if who == "vernier":
        coco = [images.as_coco(0)]
        return peak_of(lambda: by_vernier(images, coco), "cpu")
    metric = {"segmetrics": PanopticQuality, "torchmetrics": TorchmetricsPanopticQuality}[who](
        *classes
    )
    metric.update(preds[:, :32, :32], target[:, :32, :32])  # loads and compiles
    return peak_of(lambda: metric.update(preds, target), "cpu")


#: A small process that says the peak of the largest process that it starts, in KiB.
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=-3); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def show_memory_of_command(given: argparse.Namespace) -> None:
    """Print the peak of the command's largest process: of few images, and of 50 times as many."""
    print("\npeak memory of the largest process")
    for number in (given.images, 50 * given.images):
        with tempfile.TemporaryDirectory() as folder:
            images = Images("COCO", given.small)
            preds, target = write_coco(Path(folder), images, number, linked=True)
            evaluate = sys.executable, "-m", "segmetrics", "evaluate", preds, target, "--panoptic"
            for more in ((), ("--csv", Path(folder, "images.csv"))):
                peak = int(run_in_process("-c", PEAK, *evaluate, *more)[1])
                what = f"{number} files of COCO's size{', --csv' if more else ''}"
                print(f"  {what:40} {peak / 2**10:8.1f} MiB", flush=True)


def show_memory(small: bool) -> None:
    """Print peak memory, each measured in a process of its own."""
    for name in DATA:
        print(f"\npeak memory above the inputs, one image of {name}'s size")
        for who in ("segmetrics", "torchmetrics", "vernier"):
            command = [sys.executable, "-m", "benchmarks.objects", "--memory-of", who, name]
            command += ["--small"] * small
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"  {who:24} {int(done.stdout.split()[-1]) / 2**20:8.1f} MiB", flush=True)


def show(
    title: str,
    steps: Mapping[str, Step],
    floor: Step,
    rounds: int,
    per: Mapping[str, int] | None = None,
) -> report.Row:
    """Print times, and their ratios to ours; of an image where ``per`` says how many there were."""
    timing = interleaved(floor, steps, device="cpu", rounds=rounds)
    every = {"floor": timing.floor, **timing.contenders}
    times = {who: seconds / (per or {}).get(who, 1) for who, seconds in every.items()}
    return show_medians(title, times)


def show_medians(title: str, times: dict[str, float]) -> report.Row:
    """Print seconds as milliseconds, and their ratios to ours."""
    print(f"\n{title}")
    for who, seconds in times.items():
        print(
            f"  {who:24} {1e3 * seconds:10.2f} ms   {seconds / times['segmetrics']:7.1f} ×",
            flush=True,
        )
    floor = {"floor": times["floor"]} if "floor" in times else {}
    return {"form": title, "seconds": {w: s for w, s in times.items() if w != "floor"}, **floor}


def main() -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--panopticapi", help="a checkout of it")
    parser.add_argument("--small", action="store_true", help="only to see that it runs")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    report.add_options(parser)
    given = parser.parse_args()
    if given.memory_of:
        print(memory_of(*given.memory_of, given.small))
        return
    if given.panopticapi:
        sys.path.insert(0, given.panopticapi)
    print(machine("cpu"), versions())
    if "table" in given.parts:
        report.save(given, "objects", list(time_tables(given.rounds, given.small)))
    if "quality" in given.parts:
        report.save(given, "panoptic", list(time_quality(given)))
    if "files" in given.parts:
        report.save(given, "panoptic files", list(time_files(given)))
    if "memory" in given.parts:
        show_memory(given.small)
        show_memory_of_command(given)


if __name__ == "__main__":
    main()
