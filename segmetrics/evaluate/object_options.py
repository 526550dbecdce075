"""The options of ``segmetrics evaluate --objects``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.objects import Objects
from segmetrics.evaluate.settings import Settings
from segmetrics.evaluate.spacing import spacing_option
from segmetrics.objects.rules import PRESETS, Rules, preset

OBJECTS = "Objects"

# fmt: off
WithObjects = Annotated[
    bool,
    typer.Option(
        "--objects", rich_help_panel=OBJECTS,
        help="Objects, too: lesions, cells, instances, as connected pixels of one class. How many "
        "are found and how many invented, and their Dice; the report shows the worst.",
    ),
]
Instances = Annotated[
    bool,
    typer.Option(
        "--instances", rich_help_panel=OBJECTS,
        help="Masks hold ids of objects, 0 where there is none: --objects by these ids, and pixels "
        "as by --binary.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--object-preset", metavar="NAME", rich_help_panel=OBJECTS,
        help=f"Objects as a challenge counts them: {', '.join(PRESETS)}.",
    ),
]
ObjectMatching = Annotated[
    str | None,
    typer.Option(
        "--object-matching", metavar="overlap|iou", rich_help_panel=OBJECTS,
        help="An object is found by overlap, the default, or one to one by IoU.",
    ),
]
Threshold = Annotated[
    str | None,
    typer.Option(
        "--object-threshold", metavar="T", rich_help_panel=OBJECTS,
        help="The share of an object, or the IoU, above which it is found; by default any pixel, "
        "or an IoU of 0.5. Several IoUs, as in 0.5,0.75,0.9, give F1 and accuracy at each.",
    ),
]
Connected = Annotated[
    str | None,
    typer.Option(
        "--connectivity", metavar="full|faces", rich_help_panel=OBJECTS,
        help="Pixels that share a corner are connected, the default, or only those that share a "
        "face (in images an edge).",
    ),
]
MinSize = Annotated[
    float | None,
    typer.Option(
        metavar="SIZE", rich_help_panel=OBJECTS,
        help="Smaller objects do not count; in pixels, or mm³ where files have a spacing.",
    ),
]
ObjectSizes = Annotated[
    str | None,
    typer.Option(
        "--object-sizes", metavar="EDGES", rich_help_panel=OBJECTS,
        help="Recall by size, too: one edge for small and large, two for small, medium and large, "
        "as in 100,1000, in the unit of --min-size; for images 1024,9216 by default.",
    ),
]
Distances = Annotated[
    bool,
    typer.Option(
        "--object-distances", rich_help_panel=OBJECTS,
        help="HD95 of the objects, too: for missed and invented ones the diagonal.",
    ),
]
# fmt: on

#: The options by the rule that they give.
OF_RULES = {
    "matching": "object_matching",
    "threshold": "object_threshold",
    "connectivity": "connectivity",
    "min_size": "min_size",
    "sizes": "object_sizes",
    "distances": "object_distances",
}


def extras_of(
    given: Mapping[str, Any], settings: Settings, groups: Groups | None
) -> tuple[Objects, ...]:
    """The settings that the options give.

    Args:
        given: the options of the command, by parameter.
        settings: what values mean.
        groups: the groups of images, drawn as a whole for intervals.

    Raises:
        ValueError: options that contradict each other.
    """
    rules = {
        rule: given[option]
        for rule, option in OF_RULES.items()
        if given[option] is not None and given[option] is not False  # 0 is a size
    }
    options = ", ".join(f"--{OF_RULES[rule].replace('_', '-')}" for rule in rules)
    name, spacing = given["object_preset"], spacing_option(given["spacing"])
    if name is not None:
        if rules:
            raise ValueError(f"--object-preset {name} fixes what {options} says. Leave it out.")
        if name not in PRESETS:
            raise ValueError(f"--object-preset is one of {', '.join(PRESETS)}, got {name}.")
        if settings.ids:
            raise ValueError(
                f"--object-preset {name} says which pixels are an object: it takes masks of "
                "classes, not --instances."
            )
        return (Objects(settings, preset(name), spacing, groups),)
    if not given["objects"] and not settings.ids:
        if rules:
            raise ValueError(f"{options} applies to objects: give --objects, too.")
        return ()
    if settings.ids and "connectivity" in rules:
        raise ValueError("--connectivity means nothing for --instances. Leave it out.")
    if "sizes" in rules:
        rules["sizes"] = _numbers("--object-sizes", rules["sizes"], "100,1000")
    if "threshold" in rules:
        values = _numbers("--object-threshold", rules["threshold"], "0.5,0.75")
        rules["threshold"] = values if len(values) > 1 else values[0]
    try:
        checked = replace(Rules.of(**rules), ids=settings.ids)
        return (Objects(settings, checked, spacing, groups),)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--objects: {error}") from error


def _numbers(option: str, text: str, example: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} is numbers, as in {example}, got {text}.") from None
