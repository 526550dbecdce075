"""An update in a validation whose DataLoader decodes JPEGs in two worker processes.

``python -m benchmarks --parts load --only loader`` calls it. Every contender validates the same
drawn photos in a process of its own, one after the other, in rounds; what is timed is the update of
``MeanIoU`` alone, right after the model's forward pass. torch has two threads; with "1 thread" the
metric uses the calling one alone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FORMS = ("logits fp32, loader", "labels uint8, loader")
#: Images of a batch and their side, classes, processes that decode, and rounds.
BATCH, SIDE, CLASSES, WORKERS, ROUNDS = 4, 520, 21, 2, 2


def measure(form: str, before: Path | None, updates: int) -> dict[str, list[float]]:
    """Seconds of every update of every contender."""
    contenders = {"2 threads": (ROOT, True), "1 thread": (ROOT, False)}
    if before is not None:
        contenders["2 threads before"] = before, True
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with TemporaryDirectory() as folder:
        draw_photos(Path(folder))
        for _ in range(ROUNDS):
            for name, (path, helped) in contenders.items():
                times[name] += _validated(form, path, helped, folder, updates // ROUNDS)
    return times


def draw_photos(folder: Path, number: int = 16) -> None:
    """Photos with smooth regions and noise, as JPEGs, and their label maps as PNGs."""
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(number):
        coarse = random.integers(0, CLASSES, (7, 7), np.uint8)
        labels = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        colors = random.integers(0, 200, (CLASSES, 3), np.uint8)
        photo = colors[np.asarray(labels)] + random.integers(0, 50, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(photo).save(folder / f"{i}.jpg", quality=90)
        labels.save(folder / f"{i}.png")


def _validated(form: str, path: Path, helped: bool, folder: str, updates: int) -> list[float]:
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r}); import segmetrics\n"
        f"sys.path.insert(0, {str(ROOT)!r}); from benchmarks.loader import validate\n"
        f"validate({form!r}, {helped}, {folder!r}, {updates})"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return [float(line) for line in done.stdout.split()]


def validate(form: str, helped: bool, folder: str, updates: int) -> None:
    """Validate a small network and print how long each update took."""
    from time import perf_counter

    import torch
    from torch.utils.data import DataLoader

    from segmetrics import MeanIoU, _parallel

    torch.set_num_threads(2)
    if not helped:
        _parallel.number_of_threads = lambda: 1
    photos = Photos(Path(folder), (updates + 3) * BATCH)
    loader = DataLoader(photos, BATCH, num_workers=WORKERS)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, CLASSES, 8, stride=8),
        torch.nn.Upsample((SIDE, SIDE), mode="bilinear"),
    )
    metric, times = MeanIoU(CLASSES, ignore_index=255), []
    with torch.inference_mode():
        for image, target in loader:
            preds = network(image)
            if form.startswith("labels"):
                preds, target = preds.max(1).indices.byte(), target.byte()
            begin = perf_counter()
            metric.update(preds, target)
            times.append(perf_counter() - begin)
    print(*times[3:], sep="\n")  # the first ones load what is compiled


class Photos:
    """JPEGs and label maps, decoded by Pillow; a folder's are repeated."""

    def __init__(self, folder: Path, number: int) -> None:
        self.files, self.number = sorted(folder.glob("*.jpg")), number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch
        from PIL import Image

        file = self.files[index % len(self.files)]
        image = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)
        labels = np.asarray(Image.open(file.with_suffix(".png")))
        return image.float() / 255, torch.from_numpy(labels.astype(np.int64))
