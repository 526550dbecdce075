"""Checks of the arguments of a label space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from segmetrics._arguments import integer

Color = tuple[int, int, int]

#: The most values that `id_to_class` maps, with ranges expanded.
_MOST_VALUES = 2**20


def class_names(names: Sequence[str]) -> tuple[str, ...]:
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
    if twice := repeated(names):
        raise ValueError(f"`names` must differ from each other, got {twice!r} twice.")
    return tuple(names)


def ignored_values(ignore_index: int | Sequence[int] | None) -> tuple[int, ...]:
    if ignore_index is None:
        return ()
    values = ignore_index if isinstance(ignore_index, Sequence) else [ignore_index]
    return tuple(sorted({mask_value("ignore_index", value) for value in values}))


def mask_value(argument: str, value: object) -> int:
    """A value that a mask can have."""
    number = integer(argument, value, "integer values of the masks")
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"`{argument}` must fit into int64, got {number}.")
    return number


def class_colors(colors: Sequence[Sequence[int] | str], classes: int) -> tuple[Color, ...]:
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


def class_of_value(
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
    """The values of a key of `id_to_class`; ``mapped`` is the number of values before it."""
    if not isinstance(key, range):
        return (mask_value("id_to_class", key),)
    if not key:
        raise ValueError(f"`id_to_class` has {key}, which is empty: a range excludes its end.")
    first, last = mask_value("id_to_class", key[0]), mask_value("id_to_class", key[-1])
    values = range(first, last + key.step, key.step)
    if (last - first) // key.step + mapped >= _MOST_VALUES:  # len() fails beyond int64
        raise ValueError(
            f"`id_to_class` has {key}: it maps at most {_MOST_VALUES:,} values. List the values "
            "that occur in the masks."
        )
    return values


def named_sets(
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
        if twice := repeated(members):
            raise ValueError(f"`{argument}` has {twice!r} twice in {title!r}.")
    return {title: tuple(members) for title, members in sets.items()}


def disjoint_groups(groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if twice := repeated(name for members in groups.values() for name in members):
        first, second = [title for title, members in groups.items() if twice in members][:2]
        raise ValueError(
            f"`groups` has {twice!r} twice, in {first!r} and in {second!r}; a class is in one "
            "category at most. For sets that overlap pass `regions`."
        )
    return groups


def thing_classes(things: Sequence[int | str], names: tuple[str, ...]) -> tuple[int, ...]:
    """The indices of the classes that are things, ascending."""
    if isinstance(things, str) or not isinstance(things, Sequence):
        raise TypeError(f"`things` must be a sequence of names of classes, got {things!r}.")
    index_of = {name: index for index, name in enumerate(names)}
    found: set[int] = set()
    for thing in things:
        index = index_of.get(thing) if isinstance(thing, str) else integer("things", thing)
        if index is None or not 0 <= index < len(names):
            raise ValueError(
                f"`things` has {thing!r}, which is neither the name of a class nor an index from 0 "
                f"to {len(names) - 1}."
            )
        if index in found:
            raise ValueError(f"`things` has {names[index]!r} twice.")
        found.add(index)
    return tuple(sorted(found))


def repeated(values: Iterable[Hashable]) -> Hashable | None:
    """The first value that is repeated."""
    return next((value for value, times in Counter(values).items() if times > 1), None)
