"""Write a small data set of made-up scenes in the format of PASCAL VOC 2012.

Same folders, same palette PNGs, same 255 on the border of every object as the real one, so that
`torchvision.datasets.VOCSegmentation` reads both. Each class has its own pair of colours, its own
texture and its own outline: a network has something to learn within a hundred steps.
"""

import itertools
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmetrics.labels import palette

VOID = 255
# The corners and the middles of the edges of the RGB cube: as different as twenty colours can be,
# and different from the grey of the background.
CLASS_COLOURS = np.array(
    [rgb for rgb in itertools.product((0.05, 0.5, 0.95), repeat=3) if rgb.count(0.5) < 2]
)

Grid = NDArray[np.float64]
Mask = NDArray[np.bool_]


def write_scenes(root: Path, train: int = 400, val: int = 40, seed: int = 2012) -> None:
    """Write `train + val` scenes below `root/VOCdevkit/VOC2012`, unless they are there already.

    The same arguments write the same files. They are written to a temporary folder and moved to
    their place when complete, so an interrupted run leaves nothing that looks finished.
    """
    finished, partial = root / "VOCdevkit", root / "VOCdevkit.partial"
    if finished.exists():
        return
    shutil.rmtree(partial, ignore_errors=True)
    voc = partial / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)

    names = [f"2012_{number:06d}" for number in range(train + val)]
    for number, name in enumerate(names):
        image, mask = draw_scene(np.random.default_rng((seed, number)))
        Image.fromarray(image).save(voc / "JPEGImages" / f"{name}.jpg", quality=95)
        palette_image = Image.fromarray(mask)
        palette_image.putpalette(np.array(palette(256), np.uint8).tobytes())
        palette_image.save(voc / "SegmentationClass" / f"{name}.png")

    for split, members in (("train", names[:train]), ("val", names[train:]), ("trainval", names)):
        listing = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        listing.write_text("".join(f"{name}\n" for name in members))
    partial.rename(finished)


def draw_scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An `(H, W, 3)` image and its `(H, W)` labels, with 255 where two objects or an object and
    the background meet."""
    height, width = rng.integers(72, 113, size=2)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = background(rng, y, x)
    labels = np.zeros((height, width), dtype=np.uint8)
    instances = np.zeros((height, width), dtype=np.uint8)

    classes = 1 + rng.permutation(20)[: rng.integers(5, 9)]
    radii = np.sort(np.exp(rng.uniform(np.log(8), np.log(40), size=len(classes))))[::-1]
    for instance, (label, radius) in enumerate(zip(classes, radii, strict=True), start=1):
        angle = rng.uniform(0, 2 * np.pi)
        dy, dx = y - rng.uniform(0, height), x - rng.uniform(0, width)
        u = np.cos(angle) * dx + np.sin(angle) * dy
        v = np.cos(angle) * dy - np.sin(angle) * dx
        inside = outline(label, u / radius, v / radius)
        image[inside] = appearance(rng, label, u[inside], v[inside])
        labels[inside], instances[inside] = label, instance

    labels[borders(instances)] = VOID
    light = 1 + rng.uniform(-0.2, 0.2) * (x / width - 0.5) + rng.uniform(-0.2, 0.2) * (y / height)
    image = image * light[..., None] + rng.normal(0, 0.02, image.shape)
    return (image.clip(0, 1) * 255).astype(np.uint8), labels


def background(rng: np.random.Generator, y: Grid, x: Grid) -> Grid:
    """Soft clouds of a greyish colour."""
    clouds = np.zeros_like(x)
    for wavelength in (90, 40, 15):
        direction, phase = rng.uniform(0, 2 * np.pi, size=2)
        along = np.cos(direction) * x + np.sin(direction) * y
        clouds += np.sin(2 * np.pi * along / wavelength + phase)
    tint = rng.uniform(0.4, 0.6) + rng.uniform(-0.04, 0.04, size=3)
    shaded: Grid = tint + 0.06 * clouds[..., None]
    return shaded


def outline(label: int, u: Grid, v: Grid) -> Mask:
    """Where an object of the class is, in its own coordinates; its size is about 1."""
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    shapes = (
        distance < 1,  # disc
        np.hypot(u / 1.3, v / 0.75) < 1,  # ellipse
        np.maximum(abs(u) / 1.1, abs(v) / 0.8) < 1,  # rectangle
        distance < 0.9 + 0.25 * np.cos(5 * angle),  # star
        distance < 1 + 0.2 * np.cos(3 * angle),  # clover
    )
    inside: Mask = shapes[label % len(shapes)]
    return inside


def appearance(rng: np.random.Generator, label: int, u: Grid, v: Grid) -> Grid:
    """The colour of the class and a greyer one, mixed by its texture."""
    colour = CLASS_COLOURS[label - 1] + rng.uniform(-0.05, 0.05, size=3)
    greyer = 0.65 * colour + 0.35 * 0.5
    pitch = 2 * np.pi / (6 + label % 3)
    textures = (
        np.sin(pitch * u),  # stripes
        np.sin(pitch * u) * np.sin(pitch * v) * 2,  # checks
        np.sin(pitch * np.hypot(u, v)),  # rings
        np.sin(pitch * u) + np.sin(pitch * v) - 0.7,  # dots
    )
    mix = (0.5 + textures[label % len(textures)]).clip(0, 1)[..., None]
    textured: Grid = mix * colour + (1 - mix) * greyer
    return textured


def borders(instances: NDArray[np.uint8]) -> Mask:
    """The pixels one of whose eight neighbours belongs to another instance."""
    height, width = instances.shape
    around = np.pad(instances, 1, mode="edge")
    shifted = [around[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    touching: Mask = np.any([window != instances for window in shifted], axis=0)
    return touching
