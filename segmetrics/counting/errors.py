"""Errors about bad pixels: how many there are, which values, and how to fix them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segmetrics.counting import plain
from segmetrics.counting.codes import IGNORED, OUTSIDE, preds_codes, target_codes
from segmetrics.counting.settings import Counting, Pixels


def raise_if_bad(
    bad: Tensor,
    counting: Counting,
    pixels: Pixels | None = None,
    messages: Mapping[str, str] | None = None,
) -> None:
    """Raise ``ValueError`` if any bad pixel was counted.

    Args:
        bad: their numbers, in the order of the messages.
        counting: what was counted.
        pixels: the inputs, in which the message looks up the bad label values.
        messages: the message of each kind of bad pixel; by default of ``BAD_KINDS``.
    """
    numbers = bad.tolist()
    if not any(numbers):
        return
    messages = kinds(counting) if messages is None else messages
    found = dict(zip(messages, numbers, strict=True))
    sentences = [f"{n} {messages[kind]}" for kind, n in found.items() if n]
    if pixels is not None:
        sentences += _values(pixels, counting)
    raise ValueError(" ".join(sentences))


def kinds(counting: Counting) -> dict[str, str]:
    """The message of each of ``BAD_KINDS``, in their order, to follow the number of pixels."""
    target_is = preds_is = f"neither a class (0 to {counting.labels - 1}) nor ignored"
    void = "If 255 marks void pixels, pass `ignore_index=255`"
    if counting.ids:
        target_is = "neither mapped to a class nor ignored"
        fix_255 = f"{void}; if the values are classes, a label space without `id_to_class`."
        fix_target = fix_preds = "Map the value in `id_to_class` of the label space"
        if counting.map_preds:
            preds_is = target_is
        else:
            fix_preds = "If they hold ids as `target` does, the label space needs `map_preds=True`"
    elif counting.task == "multiclass":
        fix_255 = f"{void}."
        fix_target = fix_preds = "Check `num_classes`"
    else:
        fix_255 = "Masks stored as 0/255? Pass `target > 0`."
        fix_target, fix_preds = "Pass `target > 0`", "Masks stored as 0/255? Pass `preds > 0`"
    if counting.task == "multiclass" or counting.from_logits:
        scores = "a NaN among their scores. Has the model diverged?"
    else:
        scores = "scores that are NaN or outside [0, 1]. For logits pass `from_logits=True`."
    one_hot = "not exactly one 1 among the channels. For label maps pass `input_format='index'`."
    return {
        "target_negative": f"pixels of `target` are negative: {target_is}. If the value marks void "
        "pixels, name it in `ignore_index`.",
        "target_255": f"pixels of `target` are 255: {target_is}. {fix_255}",
        "target_too_large": f"pixels of `target` are {target_is}. {fix_target}, or name the value "
        "in `ignore_index`.",
        "target_not_one_hot": f"pixels of `target` have {one_hot}",
        "scores_impossible": f"counted pixels of `preds` have {scores}",
        "preds_outside": f"counted pixels of `preds` are {preds_is}. {fix_preds}; if the model "
        "abstains by that value, name it in `ignore_index`.",
        "preds_not_one_hot": f"counted pixels of `preds` have {one_hot}",
    }


def _values(pixels: Pixels, counting: Counting) -> list[str]:
    """Sentences that list the bad label values."""
    labels = counting.labels
    values: dict[str, set[int]] = {"target": set(), "preds": set()}
    for box in plain.boxes(pixels, counting):
        if pixels.target_are == "labels":
            target = plain.as_int64(pixels.target[box])
            code = target_codes(target, counting)
            values["target"].update(target[code > labels + IGNORED].unique().tolist())
            if pixels.preds_are == "labels":
                preds = plain.as_int64(pixels.preds[box])
                outside = preds_codes(preds, counting) == labels + OUTSIDE
                values["preds"].update(preds[outside & (code < labels)].unique().tolist())
    return [
        f"Bad values in `{name}`: {', '.join(map(str, sorted(bad)[:10]))}"
        + (f" and {len(bad) - 10} more." if len(bad) > 10 else ".")
        for name, bad in values.items()
        if bad
    ]
