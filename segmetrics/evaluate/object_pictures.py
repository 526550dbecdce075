"""Pictures of the worst missed and false objects, cut out of their images, for the report."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from segmetrics.evaluate.counter import Counter
from segmetrics.evaluate.settings import Evaluation
from segmetrics.files import LabelMap, MaskError
from segmetrics.objects import NO_OBJECT
from segmetrics.objects.find import pairs_of, sized
from segmetrics.objects.ids import pairs_of_ids
from segmetrics.objects.matching import matched
from segmetrics.objects.table import ObjectPairs

if TYPE_CHECKING:
    from segmetrics.evaluate.objects import Objects

Labels = NDArray[Any]

#: Pixels around an object that are shown, at least, and the side of a picture on the page.
MARGIN, SIDE = 12, 160
#: Objects of an image that are shown.
OF_IMAGE = 3
#: Colours of the target alone, of the prediction alone, and of both.
MISSED, INVENTED, BOTH = (238, 102, 119), (68, 119, 170), (200, 200, 200)


class Shown(NamedTuple):
    """An object of the report."""

    kind: str
    class_name: str
    size: int
    picture: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pictures(Sequence[str]):
    """The figures of a section; files are read again when the report is written.

    Args:
        objects: what was measured.
        evaluation: the pairs.
        names: those that are shown.
    """

    objects: Objects
    evaluation: Evaluation
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self._figures)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._figures[index]

    @cached_property
    def _figures(self) -> list[str]:
        return figures({name: list(self._of_pair(name)) for name in self.names})

    def _of_pair(self, name: str) -> list[Shown]:
        """The largest missed and false objects of a pair."""
        found: list[Shown] = []
        counter = Counter(self.objects.settings)
        try:
            pair = self.evaluation.scored[name]
            for class_name, of_preds, of_target in counter.masks(pair):
                if self.objects.rules.ids:
                    found += self._wrong_ids(of_preds, of_target, pair.target)
                    continue
                preds, target, spacing = self.objects.maps(of_preds, of_target, pair.target)
                found += self._wrong(class_name, preds[0], target[0], spacing)
        except MaskError as error:
            self.evaluation.warnings.add(f"{error}. Its objects are not shown in the report.")
        return sorted(found, key=lambda shown: -shown.size)[:OF_IMAGE]

    def _wrong(
        self, class_name: str, preds: Labels, target: Labels, spacing: Sequence[float]
    ) -> Iterator[Shown]:
        """The missed and false objects of two maps."""
        rules = self.objects.rules
        for label, name in self.objects.classes:
            masks = preds == label, target == label
            sides = (np.where(s == label, 0, np.minimum(s, NO_OBJECT)) for s in (preds, target))
            of_preds, of_target = sides
            found = pairs_of(of_preds, of_target, rules, rules.smallest(spacing))
            yield from self._shown(class_name or name, *masks, *found)

    def _wrong_ids(self, preds: LabelMap, target: LabelMap, path: Path) -> Iterator[Shown]:
        """The missed and false objects of two maps of ids."""
        rules, of_ids = self.objects.rules, self.objects.of_ids
        of_preds, of_target, spacing = self.objects.instance_maps(preds, target, path)
        pairs = pairs_of_ids(of_preds, of_target, of_ids, (NO_OBJECT, 0), maps=True)
        pairs, counted = sized(pairs, rules, rules.smallest(spacing))
        assert pairs.preds_map is not None
        assert pairs.target_map is not None
        masks = pairs.preds_map >= 0, pairs.target_map >= 0
        ((_, name),) = self.objects.classes
        yield from self._shown(name, *masks, pairs, counted)

    def _shown(
        self,
        name: str,
        in_preds: NDArray[np.bool_],
        in_target: NDArray[np.bool_],
        pairs: ObjectPairs,
        counted: NDArray[np.bool_],
    ) -> Iterator[Shown]:
        """The missed and false objects of a class, where its masks are."""
        rules = self.objects.rules
        m = matched(pairs, rules.matching, rules.least, counted)
        wrong = ~m.found & counted, ~m.right
        return largest(pairs, wrong, OF_IMAGE, lambda *_: (in_target, in_preds), lambda _: name)


def largest(
    pairs: ObjectPairs,
    wrong: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    number: int,
    masks: Callable[[int, int], tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    name_of: Callable[[int], str],
) -> Iterator[Shown]:
    """The largest objects that are missed or false, the largest first.

    Args:
        pairs: the objects of the target and of the prediction.
        wrong: which of these are missed, and which false.
        number: how many are shown, at most.
        masks: what is drawn of the target and of the prediction around an object, by its side, 0
            for the target and 1 for the prediction, and its number.
        name_of: the name of a class.
    """
    sides = pairs.target, pairs.preds
    every = [(side, int(one)) for side in (0, 1) for one in np.flatnonzero(wrong[side])]
    every.sort(key=lambda found: -sides[found[0]].sizes[found[1]])
    for side, one in every[:number]:
        target, preds = masks(side, one)
        axes = sides[side].boxes[one][3 - target.ndim :].tolist()
        yield Shown(
            ("missed", "false")[side],
            name_of(int(sides[side].classes[one])),
            int(sides[side].sizes[one]),
            picture(target, preds, [slice(a, b + 1) for a, b in axes]),
        )


def figures(shown: Mapping[str, Sequence[Shown]]) -> list[str]:
    """The objects by image, below a legend of the colours."""
    legend = "".join(
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:.8em;'
        f'height:.8em;background:rgb{color}"></span> {text}</span> '
        for color, text in (
            (MISSED, "target only"), (INVENTED, "prediction only"), (BOTH, "both"),
        )
    )  # fmt: skip
    every = [_figure(name, objects) for name, objects in shown.items()]
    return [f"<p>{legend}</p>", *every] if every else []


def _figure(name: str, shown: Sequence[Shown]) -> str:
    pictures = "".join(
        f'<figure style="display:inline-block;margin:.4em;width:{SIDE}px">'
        f'<button type="button" aria-label="Enlarge"><img class="labels" src="{_uri(one.picture)}" '
        f'alt="{one.kind}: {escape(one.class_name)} in {escape(name)}"></button><figcaption>'
        f"{one.kind}: {escape(one.class_name)}, {one.size:,} pixels</figcaption></figure>"
        for one in shown
    )
    return f"<h3>{escape(name)}</h3><div>{pictures}</div>"


def picture(
    target: NDArray[np.bool_], preds: NDArray[np.bool_], box: Sequence[slice]
) -> NDArray[np.uint8]:
    """A class around an object, ``(H, W, 3)``; of a volume the slice in the object's middle.

    Args:
        target: where the class is in the target ``(H, W)`` or ``(D, H, W)``.
        preds: where it is predicted.
        box: the object's box.
    """
    *planes, rows, columns = box
    middle = tuple((plane.start + plane.stop) // 2 for plane in planes)
    side = max(rows.stop - rows.start, columns.stop - columns.start) + 2 * MARGIN
    window = tuple(
        slice(max(0, first := (s.start + s.stop - side) // 2), first + side)
        for s in (rows, columns)
    )
    step = max(1, side // (2 * SIDE))
    t, p = (mask[middle][window][::step, ::step] for mask in (target, preds))
    shown = np.full((*t.shape, 3), 30, np.uint8)
    for where, color in ((t & ~p, MISSED), (p & ~t, INVENTED), (t & p, BOTH)):
        shown[where] = color
    return shown


def _uri(shown: NDArray[Any]) -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(shown).save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
