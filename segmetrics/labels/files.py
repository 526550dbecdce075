"""Label spaces in files: YAML, JSON, and nnU-Net's dataset.json."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from segmetrics.labels import checks
from segmetrics.labels.space import LabelSpace


def read(path: Path) -> LabelSpace:
    """The label space of a YAML or JSON file; see ``LabelSpace.read``."""
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


def _parsed(path: Path) -> Any:
    """The content of a file. A repeated key raises; parsers would keep the last."""
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"a label space is read from .yaml, .yml or .json, got {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_unique) if suffix == ".json" else _yaml(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def gives_colors(path: str | Path) -> bool:
    """Whether a file of a label space has colours."""
    return "colors" in _parsed(Path(path))


def regions_of_nnunet(path: str | Path) -> list[str]:
    """The labels that nnU-Net's region-based training has a channel for, in their order.

    These are all of dataset.json but background and ``ignore``; none where no label has several
    values, or the file is another.
    """
    found = _parsed(Path(path))
    values = found.get("labels") if isinstance(found, dict) and "names" not in found else None
    if not isinstance(values, dict):
        return []
    sets = {name: set(v if isinstance(v, list) else [v]) for name, v in values.items()}
    if not any(len(some) > 1 for some in sets.values()):
        return []
    return [name for name, some in sets.items() if name != "ignore" and some != {0}]


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
    if twice := checks.repeated(key for key, _ in pairs):
        raise ValueError(f"the key {twice!r} is repeated.")
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
    values_of = {name: [checks.mask_value("labels", v) for v in given[name]] for name in given}
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
