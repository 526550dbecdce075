"""Images of tables: their canonical order, their groups, and the pairing of two models."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segmetrics.statistics.resampled import ImageId, Resampled

Groups = Mapping[ImageId, Hashable] | Sequence[Hashable]


def canonical_order(*models: Resampled) -> Tensor:
    """An order of the images that does not depend on the order in which they were counted.

    By id; without ids by the rows, since images with equal rows are exchangeable.
    """
    ids = models[0].ids
    if ids is not None:
        return torch.tensor(sorted(range(len(ids)), key=lambda image: sort_key(ids[image])))
    rows = torch.cat([model.rows() for model in models], 1)
    if rows.is_floating_point():  # nan is equal to nan
        rows = torch.cat([rows.where(~rows.isnan(), 0.0), rows.isnan().to(rows.dtype)], 1)
    _, place = torch.unique(rows, dim=0, return_inverse=True)
    order: Tensor = place.argsort(stable=True)
    return order


def sort_key(label: Hashable) -> tuple[str, Any]:
    """A key that sorts labels of different types by type."""
    return type(label).__name__, label


def groups_of(counts: Resampled, groups: Groups) -> list[Hashable]:
    """The group of every image."""
    if counts.ids is None:
        if isinstance(groups, Mapping):
            raise TypeError(
                "`groups` is a mapping from image id to group, but the images have no ids. Pass "
                "`image_ids` to `update`, or a sequence with one group an image."
            )
        if len(groups) != len(counts):
            raise ValueError(f"`groups` must be {len(counts)} long, as images, got {len(groups)}.")
        return list(groups)
    if not isinstance(groups, Mapping):
        raise TypeError(
            "`groups` must be a mapping from image id to group where images have ids, since their "
            f"order is not that of the data set, got {type(groups).__name__}."
        )
    if missing := [image for image in counts.ids if image not in groups]:
        raise ValueError(f"`groups` lacks {len(missing)} images, among them {missing[:3]}.")
    return [groups[image] for image in counts.ids]


def paired(
    a: Resampled, b: Resampled, names: tuple[str, str] = ("a", "b")
) -> tuple[Resampled, Resampled]:
    """Both tables with images in the order of ``a``; raises unless they have the same images."""
    both = f"`{names[0]}` and `{names[1]}`"
    if type(a) is not type(b):
        raise ValueError(
            f"{both} must be of one kind, got {type(a).__name__} and {type(b).__name__}."
        )
    theirs = b.signature()
    for name, setting in a.signature().items():
        other = theirs[name]
        if setting != other and (setting == setting or other == other):  # nan is equal to nan
            raise ValueError(
                f"{both} must score the same classes in the same way, but `{name}` is "
                f"{setting} and {other}."
            )
    if (a.ids is None) != (b.ids is None):
        raise ValueError(f"{both} must both have image ids, or neither. Give both to `update`.")
    if a.ids is not None and b.ids is not None:
        if differing := set(a.ids) ^ set(b.ids):
            raise ValueError(
                f"{both} must hold the same images, but {len(differing)} are in one only, "
                f"among them {sorted(differing, key=sort_key)[:3]}."
            )
        place = {image: i for i, image in enumerate(b.ids)}
        b = b.images(torch.tensor([place[image] for image in a.ids]))
    if len(a) != len(b):
        raise ValueError(f"{both} must hold the same images, got {len(a)} and {len(b)}.")
    differs = (a.targets() != b.targets()).any(1).nonzero().flatten().tolist()
    if differs:
        first = differs[0] if a.ids is None else repr(a.ids[differs[0]])
        raise ValueError(
            f"{both} saw different targets in {len(differs)} images, image {first} the first. "
            "Were they shuffled? Pass `image_ids` to `update`."
        )
    return a, b
