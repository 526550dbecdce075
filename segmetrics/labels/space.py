"""The classes of a data set, and the mask values that encode them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._arguments import boolean
from segmetrics.labels import checks
from segmetrics.labels.checks import Color


@dataclass(frozen=True, init=False, repr=False)
class LabelSpace:
    """The classes of a data set, and the mask values that encode them.

    Args:
        names: names of the C classes, all different.
        colors: colours of the classes, each ``(red, green, blue)`` from 0 to 255 or ``"#rrggbb"``;
            by default those of :func:`palette`.
        ignore_index: one mask value or several that do not count.
        id_to_class: mask value, or a ``range`` of values → class, as its index or its name; by
            default the values are the indices. A value that is neither mapped nor ignored
            is a bad label.
        groups: category → names of its classes. A class is in one category at most.
        map_preds: whether predicted label maps also hold such values, instead of indices of
            classes. Scores and one-hot masks, which have one channel a class, are never mapped.
        regions: region → names of its classes. Regions may overlap: ``WT`` (whole tumour) contains
            ``TC`` (tumour core). Each is scored as one mask, the union of its classes.
        things: the classes whose instances are segments of their own, such as car, by index or
            name; the others are stuff. ``PanopticQuality`` uses it.

    ``dataclasses.replace`` returns a changed copy: ``replace(CITYSCAPES, map_preds=True)``.

    Raises:
        TypeError, ValueError: an argument of the wrong type, or inconsistent arguments.

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
    things: tuple[int, ...]

    def __init__(
        self,
        names: Sequence[str],
        colors: Sequence[Sequence[int] | str] | None = None,
        ignore_index: int | Sequence[int] | None = None,
        id_to_class: Mapping[int, int | str] | Mapping[int | range, int | str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        map_preds: bool = False,
        regions: Mapping[str, Sequence[str]] | None = None,
        things: Sequence[int | str] = (),
    ) -> None:
        named = checks.class_names(names)
        ignored = checks.ignored_values(ignore_index)
        mapped = None if id_to_class is None else checks.class_of_value(id_to_class, named, ignored)
        values = {
            "names": named,
            "colors": palette(len(named))
            if colors is None
            else checks.class_colors(colors, len(named)),
            "ignore_index": ignored,
            "id_to_class": mapped,
            "groups": checks.disjoint_groups(checks.named_sets("groups", groups or {}, named)),
            "map_preds": boolean("map_preds", map_preds),
            "regions": checks.named_sets("regions", regions or {}, named),
            "things": checks.thing_classes(things, named),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self.names)

    def categories(self, left_out: Collection[int] = ()) -> dict[str, tuple[int, ...]]:
        """The indices of the classes of each category, without classes that are left out.

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

    def things_first(self) -> tuple[int, ...]:
        """The indices of the classes that count, things before stuff, as in panoptic scores.

        Example:
            >>> from segmetrics.labels import LabelSpace
            >>> LabelSpace(["road", "car", "sky"], things=["car"]).things_first()
            (1, 0, 2)
        """
        ignored = () if self.id_to_class else self.ignore_index
        kept = [c for c in range(self.num_classes) if c not in ignored]
        return tuple(sorted(kept, key=lambda c: c not in self.things))

    def classes_of_regions(self) -> dict[str, tuple[int, ...]]:
        """The indices of the classes of each region.

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

        nnU-Net's ``dataset.json`` is read, too: its ``labels`` are the mask values, a list of
        values is a region, and the label named ``ignore`` is ignored. A value without a name of its
        own has its number as name.

        Args:
            path: a ``.yaml``, ``.yml`` or ``.json`` file.

        Raises:
            ValueError: the file is not a label space; the message names the file and the key.
            OSError: the file cannot be read.

        Example of a file::

            names: [road, car, truck]
            colors: ["#804080", [0, 0, 142], "#000046"]
            ignore_index: 0
            id_to_class: {7: road, 26: car, 27: truck}
            groups: {flat: [road], vehicle: [car, truck]}
            things: [car, truck]
            regions: {motorised: [car, truck], wheeled: [car, truck]}

        A range of values is written ``"1-42": lesion``, a negative one ``"-9--1": lesion``.
        """
        from segmetrics.labels.files import read

        return read(Path(path))

    def to_classes(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Map values of a mask to indices of classes, int32 of the same shape; -1 is ignored.

        Raises:
            TypeError: the values are not integers.
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
        if values.dtype == np.uint64:  # values above int64 saturate
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
        """The class of every known mask value, -1 for ignored ones."""
        identity = {index: index for index in range(self.num_classes)}
        mapped = identity if self.id_to_class is None else self.id_to_class
        return {**mapped, **dict.fromkeys(self.ignore_index, -1)}

    def _repr_html_(self) -> str:
        """The label space as a notebook shows it."""
        from segmetrics._notebook import of_labels

        return of_labels(self)

    def __repr__(self) -> str:
        from segmetrics.labels import datasets

        for name in datasets.SHIPPED:
            if self == getattr(datasets, name):
                return f"labels.{name}"
        shown = self.names if len(self.names) < 5 else (*self.names[:2], "…", self.names[-1])
        return f"LabelSpace({len(self.names)} classes: {', '.join(shown)})"


def palette(number: int) -> tuple[Color, ...]:
    """Distinct colours, by the scheme of PASCAL VOC.

    The bits of a label go to red, green and blue in turn, the lowest bits to the highest.

    Args:
        number: the number of colours, at least 0.

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
