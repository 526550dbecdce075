"""The options of probability maps on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from segmetrics.evaluate import arguments
from segmetrics.evaluate.arguments import SCORES
from segmetrics.evaluate.metadata import Groups
from segmetrics.evaluate.probabilities import Probabilities
from segmetrics.evaluate.regions import of_regions
from segmetrics.evaluate.settings import Settings

# fmt: off
WithProbabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities", rich_help_panel=SCORES,
        help="Predictions are probabilities in [0, 1], or scaled to 8 or 16 bits: calibration, "
        "AUROC, AP, FPR95 and the best threshold, too. With --binary or masks of one class "
        "each they are the foreground's, and masks are what is above 0.5; otherwise a file has "
        "all classes, (C, H, W), (C, D, H, W) or NIfTI (X, Y, Z, C), and the largest is the label.",
    ),
]
FromLogits = Annotated[
    bool,
    typer.Option(
        "--from-logits", rich_help_panel=SCORES,
        help="--probabilities are logits, before softmax or sigmoid.",
    ),
]
RegionChannels = Annotated[
    bool,
    typer.Option(
        "--region-channels", rich_help_panel=SCORES,
        help="Files of --probabilities have a channel for each region instead of each class, "
        "in the order of --labels and --region: independent sigmoids, as of nnU-Net's "
        "region-based training. Regions are scored as masks of one class each.",
    ),
]
# fmt: on


def of_channels(given: Mapping[str, Any], settings: Settings) -> Settings:
    """The settings; those of regions where files have a channel for each region.

    Args:
        given: the options of the command, by parameter.
        settings: what values mean.

    Raises:
        ValueError: options that contradict each other.
    """
    if not given["region_channels"]:
        return settings
    if not given["probabilities"]:
        raise ValueError("--region-channels means nothing without --probabilities.")
    return of_regions(settings, arguments.channels_of(given["labels_"], settings.space))


def settings_of(
    given: Mapping[str, Any], settings: Settings, groups: Groups | None, *, per_image: bool
) -> Settings:
    """The settings of predictions that are probabilities, or logits, where these are given.

    Args:
        given: the options of the command, by parameter.
        settings: what values mean.
        groups: what intervals draw.
        per_image: keep the tables of every image, for intervals and comparisons.

    Raises:
        ValueError: options that contradict each other.
    """
    logits = given["from_logits"]
    if not given["probabilities"]:
        if logits:
            raise ValueError("--from-logits applies to scores: give --probabilities, too.")
        return settings
    if settings.ids:
        raise ValueError("--instances: masks hold ids of objects, not --probabilities. Give one.")
    space, together = settings.space, settings.task == "multiclass"
    if together:  # the place of a score is the index of its class
        settings = replace(settings, space=replace(space, map_preds=False))
    names = ["foreground"] if settings.task == "binary" else list(space.names)
    regions = settings.regions is not None
    extra = Probabilities(
        names,
        per_image,
        logits,
        settings.space if together else None,
        settings.left_out if together else (),
        groups,
    )
    extra.load()
    several = together or (regions and space.num_classes > 1)
    preds = replace(
        settings.readings.preds,
        probabilities=True,
        channels=space.num_classes if several else None,
        regions=regions,
        logits=logits,
    )
    readings = settings.readings._replace(preds=preds)
    return replace(settings, readings=readings, extras=(*settings.extras, extra))
