"""What the values of masks mean: classes, names, colours, ignored values, groups and regions.

A :class:`LabelSpace` stands wherever a metric takes ``num_classes``: ``MeanIoU(labels.VOC)``. Those
of PASCAL VOC 2012, Cityscapes and ADE20K are here, others are read from YAML or JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._arguments import boolean, integer

Color = tuple[int, int, int]

#: Colours of pixels that do not count in VOC's, Cityscapes' (unlabeled, ground, dynamic, parking,
#: rail track, guard rail, bridge, tunnel, caravan, trailer) and ADE20K's colour images.
VOC_VOID: tuple[Color, ...] = ((224, 224, 192),)
CITYSCAPES_VOID: tuple[Color, ...] = (
    (0, 0, 0), (81, 0, 81), (111, 74, 0), (250, 170, 160), (230, 150, 140), (180, 165, 180),
    (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip
ADE20K_VOID: tuple[Color, ...] = ((0, 0, 0),)

#: The most values that `id_to_class` maps: a range is written out.
_MOST_VALUES = 2**20

_SHIPPED = ("VOC", "CITYSCAPES", "CITYSCAPES_TRAIN_IDS", "ADE20K")

__all__ = ["ADE20K", "CITYSCAPES", "CITYSCAPES_TRAIN_IDS", "VOC", "Color", "LabelSpace", "palette"]


@dataclass(frozen=True, init=False, repr=False)
class LabelSpace:
    """The classes of a data set, and the values by which its masks say them.

    Args:
        names: of the C classes, all different.
        colors: of the classes, each ``(red, green, blue)`` from 0 to 255 or ``"#rrggbb"``; by
            default those of :func:`palette`.
        ignore_index: one value of the masks or several that do not count.
        id_to_class: value of the masks, or a ``range`` of values → class, as its index or its
            name; by default the values are the indices. A value that is neither mapped nor ignored
            is a bad label.
        groups: category → names of its classes. A class is in one category at most.
        map_preds: whether predicted label maps hold such values too. Otherwise they hold indices
            of classes. Scores and one-hot masks, which have a channel a class, are never mapped.
        regions: region → names of its classes. Regions may overlap: ``WT`` (whole tumour) contains
            ``TC`` (tumour core). Each is scored as one mask, the union of its classes.

    ``dataclasses.replace`` makes one that differs: ``replace(CITYSCAPES, map_preds=True)``.

    Raises:
        TypeError, ValueError: arguments that do not fit each other.

    Example:
        >>> from segmetrics.labels import LabelSpace
        >>> space = LabelSpace(
        ...     ["road", "car", "truck"],
        ...     ignore_index=0,
        ...     id_to_class={7: "road", 26: "car", 27: "truck"},
        ...     groups={"flat": ["road"], "vehicle": ["car", "truck"]},
        ... )
        >>> space.num_classes, space.colors[1], space.id_to_class[26]
        (3, (128, 0, 0), 1)
        >>> lesions = LabelSpace(["background", "lesion"], id_to_class={0: 0, range(1, 43): 1})
        >>> lesions.id_to_class[42]
        1
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_index: tuple[int, ...]
    id_to_class: Mapping[int, int] | None = field(hash=False)
    groups: Mapping[str, tuple[str, ...]] = field(hash=False)
    map_preds: bool
    regions: Mapping[str, tuple[str, ...]] = field(hash=False)

    def __init__(
        self,
        names: Sequence[str],
        colors: Sequence[Sequence[int] | str] | None = None,
        ignore_index: int | Sequence[int] | None = None,
        id_to_class: Mapping[int, int | str] | Mapping[int | range, int | str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        map_preds: bool = False,
        regions: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        named = _names(names)
        ignored = _ignored(ignore_index)
        mapped = None if id_to_class is None else _mapping(id_to_class, named, ignored)
        values = {
            "names": named,
            "colors": palette(len(named)) if colors is None else _colors(colors, len(named)),
            "ignore_index": ignored,
            "id_to_class": mapped,
            "groups": _disjoint(_sets("groups", groups or {}, named)),
            "map_preds": boolean("map_preds", map_preds),
            "regions": _sets("regions", regions or {}, named),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def num_classes(self) -> int:
        """How many classes there are, C."""
        return len(self.names)

    def categories(self, left_out: Collection[int] = ()) -> dict[str, tuple[int, ...]]:
        """The indices of the classes of every category, without classes that are left out.

        Example:
            >>> from segmetrics.labels import CITYSCAPES
            >>> CITYSCAPES.categories(left_out=[11])["human"]
            (12,)
        """
        kept = {name: c for c, name in enumerate(self.names) if c not in left_out}
        categories = {
            category: tuple(kept[name] for name in names if name in kept)
            for category, names in self.groups.items()
        }
        return {category: classes for category, classes in categories.items() if classes}

    def classes_of_regions(self) -> dict[str, tuple[int, ...]]:
        """The indices of the classes of every region.

        Example:
            >>> from segmetrics.labels import LabelSpace
            >>> names = ["background", "necrosis", "edema", "enhancing"]
            >>> regions = {"WT": names[1:], "TC": ["necrosis", "enhancing"], "ET": ["enhancing"]}
            >>> LabelSpace(names, regions=regions).classes_of_regions()
            {'WT': (1, 2, 3), 'TC': (1, 3), 'ET': (3,)}
        """
        index_of = {name: c for c, name in enumerate(self.names)}
        return {
            region: tuple(index_of[name] for name in names)
            for region, names in self.regions.items()
        }

    @staticmethod
    def read(path: str | Path) -> LabelSpace:
        """Read a YAML (needs PyYAML) or JSON file whose keys are the arguments.

        nnU-Net's ``dataset.json`` is read too: its ``labels`` are the values of the masks, a list
        of values is a region, and the label named ``ignore`` is ignored. A value that has no name
        of its own is named by its number.

        Args:
            path: a ``.yaml``, ``.yml`` or ``.json`` file.

        Raises:
            ValueError: what stands there is no label space; the message names the file and the key.
            OSError: the file cannot be read.

        Example of a file::

            names: [road, car, truck]
            colors: ["#804080", [0, 0, 142], "#000046"]
            ignore_index: 0
            id_to_class: {7: road, 26: car, 27: truck}
            groups: {flat: [road], vehicle: [car, truck]}
            regions: {motorised: [car, truck], wheeled: [car, truck]}

        A range of values is written ``"1-42": lesion``, a negative one ``"-9--1": lesion``.
        """
        path = Path(path)
        arguments = _parsed(path)
        known = [argument.name for argument in fields(LabelSpace)]
        if isinstance(arguments, dict) and "names" not in arguments and "labels" in arguments:
            try:
                return _of_nnunet(arguments["labels"])
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: {error}") from error
        if not isinstance(arguments, dict) or "names" not in arguments:
            raise ValueError(f"{path} must have the key `names`, a list of the classes' names.")
        if strange := [key for key in arguments if key not in known]:
            raise ValueError(f"{path} has the key {strange[0]!r}; known are {', '.join(known)}.")
        try:
            if isinstance(ids := arguments.get("id_to_class"), dict):  # keys of JSON are strings
                arguments["id_to_class"] = {_values(key): value for key, value in ids.items()}
            return LabelSpace(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def to_classes(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Map values of a mask to indices of classes, int32 of the same shape; -1 is ignored.

        Raises:
            TypeError: the values are no integers.
            ValueError: a value is neither a class nor ignored.

        Example:
            >>> import numpy as np
            >>> from segmetrics.labels import CITYSCAPES
            >>> CITYSCAPES.to_classes(np.array([[7, 26], [0, 33]]))
            array([[ 0, 13],
                   [-1, 18]], dtype=int32)
        """
        if values.dtype.kind not in "biu":
            raise TypeError(f"`values` must be integers or bool, got {values.dtype}.")
        if values.dtype == np.uint64:  # what lies beyond int64 is its largest, not a negative
            values = np.minimum(values, np.uint64(2**63 - 1))
        values = values.astype(np.int64, copy=False)
        class_of_id = self._class_of_id()
        ids = np.array(sorted(class_of_id), np.int64)
        classes = np.array([class_of_id[value] for value in ids.tolist()], np.int32)
        place = np.searchsorted(ids, values).clip(max=len(ids) - 1)
        if (bad := ids[place] != values).any():
            found = ", ".join(map(str, np.unique(values[bad])[:10]))
            raise ValueError(
                f"{np.count_nonzero(bad)} values are neither a class nor ignored: {found}. "
                "Name them in `id_to_class` or `ignore_index` of the label space."
            )
        return np.asarray(classes[place])

    def _class_of_id(self) -> dict[int, int]:
        """The class of every known value of the masks, -1 for those that are ignored."""
        identity = {index: index for index in range(self.num_classes)}
        mapped = identity if self.id_to_class is None else self.id_to_class
        return {**mapped, **dict.fromkeys(self.ignore_index, -1)}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from segmetrics._notebook import of_labels

        return of_labels(self)

    def __repr__(self) -> str:
        for name in _SHIPPED:
            if self == globals().get(name):
                return f"labels.{name}"
        shown = self.names if len(self.names) < 5 else (*self.names[:2], "…", self.names[-1])
        return f"LabelSpace({len(self.names)} classes: {', '.join(shown)})"


def palette(number: int) -> tuple[Color, ...]:
    """As many different colours, those that PASCAL VOC made its own from.

    The bits of a label are dealt out to red, green and blue, the lowest to the highest.

    Args:
        number: how many colours, at least 0.

    Returns:
        ``(red, green, blue)`` from 0 to 255 for each label from 0 on.

    Example:
        >>> from segmetrics.labels import palette
        >>> palette(4)
        ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """
    labels, bits = np.arange(number), np.arange(8)[:, None]
    red, green, blue = (
        ((labels >> (3 * bits + channel) & 1) << (7 - bits)).sum(0) for channel in range(3)
    )
    return tuple(zip(red.tolist(), green.tolist(), blue.tolist(), strict=True))


# --- Checks of the arguments ----------------------------------------------------------------------


def _names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"`names` must be a sequence of strings, got {names!r}.")
    if not names:
        raise ValueError("`names` must name at least one class, got none.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"`names` must be strings, got {name!r}. In YAML put quotes around words like no, "
                "on and numbers."
            )
    if twice := _twice(names):
        raise ValueError(f"`names` must differ from each other, got {twice!r} twice.")
    return tuple(names)


def _ignored(ignore_index: int | Sequence[int] | None) -> tuple[int, ...]:
    if ignore_index is None:
        return ()
    values = ignore_index if isinstance(ignore_index, Sequence) else [ignore_index]
    return tuple(sorted({_value("ignore_index", value) for value in values}))


def _value(argument: str, value: object) -> int:
    """A value that a mask can have."""
    number = integer(argument, value, "integer values of the masks")
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"`{argument}` must fit into int64, got {number}.")
    return number


def _colors(colors: Sequence[Sequence[int] | str], classes: int) -> tuple[Color, ...]:
    if isinstance(colors, str) or not isinstance(colors, Sequence):
        raise TypeError(f"`colors` must be a sequence of colours, got {colors!r}.")
    if len(colors) != classes:
        raise ValueError(f"`colors` must be one a class, {classes}, got {len(colors)}.")
    return tuple(map(_color, colors))


def _color(color: Sequence[int] | str) -> Color:
    try:
        if isinstance(color, str):
            if len(color) != 7 or color[0] != "#":
                raise ValueError
            channels = tuple(bytes.fromhex(color[1:]))
        else:
            channels = tuple(integer("colors", channel) for channel in color)
        red, green, blue = channels
        if min(channels) < 0 or max(channels) > 255:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"`colors` must be (red, green, blue) from 0 to 255 or '#rrggbb', got {color!r}."
        ) from None
    return red, green, blue


def _mapping(
    id_to_class: Mapping[int, int | str] | Mapping[int | range, int | str],
    names: tuple[str, ...],
    ignored: tuple[int, ...],
) -> dict[int, int]:
    if not isinstance(id_to_class, Mapping) or not id_to_class:
        raise TypeError(
            f"`id_to_class` must map values of the masks to classes, got {id_to_class!r}."
        )
    index_of = {name: index for index, name in enumerate(names)}
    mapping: dict[int, int] = {}
    key_of: dict[int, object] = {}
    for key, of_key in id_to_class.items():
        index = index_of.get(of_key) if isinstance(of_key, str) else integer("id_to_class", of_key)
        if index is None or not 0 <= index < len(names):
            raise ValueError(
                f"`id_to_class` maps {key} to {of_key!r}, which is neither the name of a class "
                f"nor an index from 0 to {len(names) - 1}."
            )
        for value in _values_of(key, len(mapping)):
            if value in ignored:
                raise ValueError(
                    f"{value} is in `id_to_class` and in `ignore_index`: it can be in one of them "
                    "only."
                )
            if value in mapping:
                raise ValueError(
                    f"`id_to_class` maps {value} twice, by {key_of[value]} and by {key}. Make the "
                    "ranges disjoint."
                )
            mapping[value], key_of[value] = index, key
    return dict(sorted(mapping.items()))


def _values_of(key: object, mapped: int) -> Sequence[int]:
    """The values that a key of `id_to_class` stands for; so many are mapped already."""
    if not isinstance(key, range):
        return (_value("id_to_class", key),)
    if not key:
        raise ValueError(f"`id_to_class` has {key}, which is empty: a range excludes its end.")
    first, last = _value("id_to_class", key[0]), _value("id_to_class", key[-1])
    values = range(first, last + key.step, key.step)
    if (last - first) // key.step + mapped >= _MOST_VALUES:  # len() fails beyond int64
        raise ValueError(
            f"`id_to_class` has {key}: it maps at most {_MOST_VALUES:,} values. List the values "
            "that occur in the masks."
        )
    return values


def _sets(
    argument: str, sets: Mapping[str, Sequence[str]], names: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Named sets of classes: categories or regions."""
    if not isinstance(sets, Mapping):
        raise TypeError(f"`{argument}` must map names to names of classes, got {sets!r}.")
    for title, members in sets.items():
        if (
            not isinstance(title, str)
            or isinstance(members, str)
            or not isinstance(members, Sequence)
        ):
            raise TypeError(
                f"`{argument}` must map strings to sequences of names, got {title!r}: {members!r}."
            )
        if not members:
            raise ValueError(f"`{argument}` has no class for {title!r}.")
        for name in members:
            if name not in names:
                raise ValueError(f"`{argument}` has {name!r} in {title!r}, which is no class.")
        if twice := _twice(members):
            raise ValueError(f"`{argument}` has {twice!r} twice in {title!r}.")
    return {title: tuple(members) for title, members in sets.items()}


def _disjoint(groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if twice := _twice(name for members in groups.values() for name in members):
        first, second = [title for title, members in groups.items() if twice in members][:2]
        raise ValueError(
            f"`groups` has {twice!r} twice, in {first!r} and in {second!r}; a class is in one "
            "category at most. For sets that overlap pass `regions`."
        )
    return groups


def _twice(values: Iterable[Hashable]) -> Hashable | None:
    """The first value that is there more than once."""
    return next((value for value, times in Counter(values).items() if times > 1), None)


# --- Files ----------------------------------------------------------------------------------------


def _parsed(path: Path) -> Any:
    """What a file says; a key that is there twice raises, where parsers keep the last."""
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"a label space is read from .yaml, .yml or .json, got {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_unique) if suffix == ".json" else _yaml(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def gives_colors(path: str | Path) -> bool:
    """Whether a file of a label space says the colours of the classes."""
    return "colors" in _parsed(Path(path))


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "label spaces in YAML need PyYAML. Install it with `pip install pyyaml`, or use JSON."
        ) from error

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            _unique([(str(key.value), value) for key, value in node.value])
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _unique(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    if twice := _twice(key for key, _ in pairs):
        raise ValueError(f"the key {twice!r} is there twice.")
    return dict(pairs)


def _values(key: object) -> object:
    """A key of `id_to_class` in a file: a value, or a range like 1-42, both ends included."""
    if not isinstance(key, str):
        return key
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:-\s*(-?\d+)\s*)?", key)
    if not found:
        raise ValueError(
            f"`id_to_class` must have integer keys, or ranges like '1-42', got {key!r}."
        )
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise ValueError(
            f"`id_to_class` has the range {key!r}, whose end is smaller than its start."
        )
    return range(first, last + 1) if found[2] else first


def _of_nnunet(labels: object) -> LabelSpace:
    """The label space of `labels` in nnU-Net's dataset.json."""
    if not isinstance(labels, dict) or not labels:
        raise TypeError(f"`labels` must map names to values of the masks, got {labels!r}.")
    if all(isinstance(name, str) for name in labels.values()):  # version 1: value → name
        labels = {name: _values(value) for value, name in labels.items()}
    given = {name: v if isinstance(v, list) else [v] for name, v in labels.items()}
    values_of = {name: [_value("labels", v) for v in given[name]] for name in given}
    ignored = values_of.pop("ignore", [])
    names: dict[int, str] = {}
    for name, values in values_of.items():
        if isinstance(labels[name], list):
            continue
        if values[0] in names:
            raise ValueError(f"`labels` has {values[0]} for {names[values[0]]!r} and {name!r}.")
        names[values[0]] = name
    every = sorted({value for values in values_of.values() for value in values})
    names = {value: names.get(value, str(value)) for value in every}
    mapped = every != list(range(len(every)))
    return LabelSpace(
        list(names.values()),
        ignore_index=ignored,
        id_to_class={value: names[value] for value in every} if mapped else None,
        map_preds=mapped,  # its predictions hold the same values
        regions={
            name: [names[value] for value in values]
            for name, values in values_of.items()
            if isinstance(labels[name], list)
        },
    )


# --- Data sets ------------------------------------------------------------------------------------


def _split(names: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in names.split(","))


_VOC_NAMES = _split(
    """background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable,
    dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"""
)

#: PASCAL VOC 2012: 21 classes, 255 ("void", the objects' borders) ignored.
VOC = LabelSpace(_VOC_NAMES, palette(21), ignore_index=255)

_CITYSCAPES_NAMES = _split(
    """road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation,
    terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle"""
)
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, *range(21, 29), 31, 32, 33)
_CITYSCAPES: dict[str, Any] = {
    "names": _CITYSCAPES_NAMES,
    "colors": [
        *("#804080", "#f423e8", "#464646", "#66669c", "#be9999", "#999999", "#faaa1e", "#dcdc00"),
        *("#6b8e23", "#98fb98", "#4682b4", "#dc143c", "#ff0000", "#00008e", "#000046", "#003c64"),
        *("#005064", "#0000e6", "#770b20"),
    ],
    "groups": {
        "flat": _CITYSCAPES_NAMES[:2],
        "construction": _CITYSCAPES_NAMES[2:5],
        "object": _CITYSCAPES_NAMES[5:8],
        "nature": _CITYSCAPES_NAMES[8:10],
        "sky": _CITYSCAPES_NAMES[10:11],
        "human": _CITYSCAPES_NAMES[11:13],
        "vehicle": _CITYSCAPES_NAMES[13:],
    },
}

#: Cityscapes as its ``*_labelIds.png`` say it: of 34 ids and -1, 19 classes count.
CITYSCAPES = LabelSpace(
    **_CITYSCAPES,
    ignore_index=[i for i in range(-1, 34) if i not in _CITYSCAPES_IDS],
    id_to_class={i: index for index, i in enumerate(_CITYSCAPES_IDS)},
)

#: Cityscapes as ``*_labelTrainIds.png`` say it: 19 classes, 255 ignored.
CITYSCAPES_TRAIN_IDS = LabelSpace(**_CITYSCAPES, ignore_index=255)

_ADE20K_NAMES = _split(
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk,
    person, earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf,
    house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub,
    railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink,
    skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
    screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill,
    bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade
    machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth,
    television, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle,
    buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything, swimming
    pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step,
    tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture,
    hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin
    board, shower, radiator, glass, clock, flag"""
)
_ADE20K_COLORS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846
08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc
ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14
ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff
ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014
ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900
00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff
ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

#: ADE20K's SceneParsing-150: 150 classes, stored as 1 to 150; 0 ("other") ignored.
ADE20K = LabelSpace(
    _ADE20K_NAMES,
    [f"#{color}" for color in _ADE20K_COLORS.split()],
    ignore_index=0,
    id_to_class={index + 1: index for index in range(150)},
)
