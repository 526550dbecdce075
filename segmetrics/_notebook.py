"""HTML of metrics, intervals and label spaces for notebooks.

Styles are inline, as notebooks share one style sheet. Text has the page's colour, which suits dark
themes. Names are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from segmetrics.labels import Color, LabelSpace, palette

BLUE = "rgba(68,119,170,{alpha:.2f})"
CELL = "padding:1px 8px;border:0;text-align:{align};white-space:nowrap;background:none"
LARGEST = 30  # the most classes of a confusion matrix that is shown
OUTCOMES = ("true negatives", "false positives", "false negatives", "true positives")


def of_metric(metric: Any) -> str:
    """The scores of the counts of this process; neither syncs nor raises."""
    parts = [f"<code>{escape(repr(metric))}</code>"]
    try:
        if metric.update_called:
            states = metric._states
            metric._check(*states)
            parts += _tables(metric, metric._value(*states))
            if metric.distributed_available_fn() and not metric._is_synced:
                parts.append(_remark("counted by this process alone"))
        else:
            parts.append(_remark("nothing counted yet"))
    except Exception as error:  # a traceback would replace the cell's output
        parts.append(_remark(str(error)))
    return f"<div>{''.join(parts)}</div>"


def of_interval(text: str, low: float, estimate: float, high: float) -> str:
    """An interval as text, and drawn on a line from 0 to 1."""
    low, high = (100 * max(0.0, min(1.0, end)) for end in (low, high))
    line = ""
    if low <= high:  # not nan
        line = (
            '<span style="display:inline-block;position:relative;width:12em;height:0.8em;'
            f'background:{BLUE.format(alpha=0.15)};margin-right:0.7em;vertical-align:middle">'
            f'<span style="position:absolute;top:0;bottom:0;left:{low:.1f}%;'
            f'width:{max(0.5, high - low):.1f}%;background:{BLUE.format(alpha=0.6)}"></span>'
            '<span style="position:absolute;top:-2px;bottom:-2px;width:2px;'
            f'left:{100 * estimate:.1f}%;background:currentColor"></span></span>'
        )
    return f"<div>{line}{escape(text)}</div>"


def of_comparison(text: str, score: str, a: float, b: float) -> str:
    """The scores of both models with bars, and the difference as text."""
    rows: list[Line] = [("a", None, [a]), ("b", None, [b])]
    return f"<div>{_table([score], rows)}<div>{escape(text)}</div></div>"


def of_labels(space: LabelSpace) -> str:
    """The classes with their colours, values and categories."""
    ids: dict[int, list[int]] = {}
    for value, index in (space.id_to_class or {c: c for c in range(len(space.names))}).items():
        ids.setdefault(index, []).append(value)
    category = {name: group for group, names in space.groups.items() for name in names}
    rows = [_row([("", "rh"), ("class", "lh"), ("values", "rh"), ("category", "lh")])]
    for index, name in enumerate(space.names):
        values = ", ".join(map(str, ids.get(index, [])))
        class_ = _swatch(space.colors[index]) + escape(name)
        cells = [(str(index), "r"), (class_, "l"), (values, "r")]
        rows.append(_row([*cells, (escape(category.get(name, "")), "l")]))
    ignored = ", ".join(map(str, space.ignore_index)) or "none"
    heading = f"<code>{escape(repr(space))}</code>"
    return f"<div>{heading}{_frame(rows)}{_remark(f'ignored values: {ignored}')}</div>"


# --- tables of scores -----------------------------------------------------------------------------

#: A row of a table: its name, its colour if it is a class, and its numbers.
Line = tuple[str, "Color | None", Sequence[float]]


def _tables(metric: Any, value: Any) -> list[str]:
    """A value of ``compute``, and if it is an average the scores of the classes."""
    names = metric.class_names or [str(c) for c in range(metric.num_classes)]
    space = metric.label_space
    colors = dict(zip(names, space.colors if space else palette(len(names)), strict=True))
    bounded = metric.plot_upper_bound == 1
    if isinstance(value, dict):
        values = {key.removeprefix(metric.prefix): score.item() for key, score in value.items()}
        return _keyed(values, colors, bounded)
    if value.ndim > 1:
        columns = names if value.ndim == 2 else OUTCOMES
        return [_matrix(value.flatten(1).tolist(), columns, colors)]
    lines: list[Line] = []
    if value.ndim == 0:
        of_classes = metric._of_classes_here()
        label = "" if of_classes is None else f"{metric.average} average"
        lines.append((label, None, [value.item()]))
        value = of_classes
    if value is not None:
        entries = zip(metric._entries(), value.tolist(), strict=True)
        lines += [(name, colors.get(name), [x]) for name, x in entries if name is not None]
    return [_table([type(metric).__name__], lines, bounded)]


def _keyed(values: Mapping[str, float], colors: Mapping[str, Color], bounded: bool) -> list[str]:
    """Scores by key, then those of classes or categories, one column a score."""
    columns: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        if "/" in key:
            head, name = key.split("/", 1)
            columns.setdefault(head, {})[name] = value
    single = {key: [value] for key, value in values.items() if "/" not in key}
    alone = [key for key in single if key not in columns]
    kinds = list(dict.fromkeys(key.split("_")[0] for key in alone))
    tables = []
    if len(kinds) > 1 and all(f"{kind}_I" in single for kind in kinds):  # scores of images
        levels = dict.fromkeys(key.split("_", 1)[1] for key in alone)
        of_levels: list[Line] = [
            (level, None, [values[f"{kind}_{level}"] for kind in kinds]) for level in levels
        ]
        tables.append(_table(kinds, of_levels, bounded))
    elif alone:
        tables.append(_table([""], [(key, None, single[key]) for key in alone], bounded))
    groups: dict[tuple[str, ...], list[str]] = {}
    for head, of_names in columns.items():
        groups.setdefault(tuple(of_names), []).append(head)
    for names, heads in groups.items():
        lines: list[Line] = []
        if all(head in single for head in heads):
            lines.append(("mean", None, [values[head] for head in heads]))
        lines += [(name, colors.get(name), [columns[h][name] for h in heads]) for name in names]
        tables.append(_table(heads, lines, bounded))
    return tables


def _table(head: Sequence[str], lines: Sequence[Line], bounded: bool = True) -> str:
    """Numbers, with bars from 0 to 1 if they are shares."""
    rows = [_row([("", "lh"), *((escape(title), "rh") for title in head)])]
    for name, color, numbers in lines:
        cells = [(_swatch(color) + escape(name), "l")]
        for title, number in zip(head, numbers, strict=True):
            barred = bounded or "dice" in f"{title}{name}"
            cells.append((_bar(number) if barred else _number(number), "r"))
        rows.append(_row(cells))
    return _frame(rows)


def _matrix(
    rows: Sequence[Sequence[float]], columns: Sequence[str], colors: Mapping[str, Color]
) -> str:
    """A confusion matrix, shaded by the share of the row."""
    if len(rows) > LARGEST:
        return _remark(f"{len(rows)} × {len(columns)} cells, which `plot()` draws")
    lines = [_row([("target", "lh"), *((escape(column), "rh") for column in columns)])]
    for (name, color), row in zip(colors.items(), rows, strict=True):
        cells = [(_swatch(color) + escape(name), "l")]
        total = sum(row)
        for x in row:
            share = x / total if total else 0.0
            shade = f"background:{BLUE.format(alpha=0.7 * share)};padding:0 4px"
            cells.append((f'<span style="{shade}">{_number(x)}</span>', "r"))
        lines.append(_row(cells))
    return _frame(lines)


# --- pieces ---------------------------------------------------------------------------------------


def _frame(rows: Sequence[str]) -> str:
    """A table, which scrolls if it is long."""
    style = "border-collapse:collapse;margin:0.3em 0;font-variant-numeric:tabular-nums"
    return (
        '<div style="max-height:26em;overflow:auto">'
        f'<table style="{style}">{"".join(rows)}</table></div>'
    )


def _row(cells: Sequence[tuple[str, str]]) -> str:
    """A row of cells, each to the left (``"l"``) or right (``"r"``), headings with an ``"h"``."""
    parts = []
    for content, kind in cells:
        tag = "th" if kind.endswith("h") else "td"
        align = "left" if kind.startswith("l") else "right"
        parts.append(f'<{tag} style="{CELL.format(align=align)}">{content}</{tag}>')
    return f'<tr style="background:none">{"".join(parts)}</tr>'


def _bar(value: float) -> str:
    """A number over a bar of that length, full at 1."""
    width = 0.0 if value != value else 100 * max(0.0, min(1.0, value))
    return (
        '<div style="position:relative;min-width:8em">'
        '<div style="position:absolute;top:2px;bottom:2px;left:0;'
        f'width:{width:.1f}%;background:{BLUE.format(alpha=0.35)}"></div>'
        f'<span style="position:relative">{_number(value)}</span></div>'
    )


def _number(value: float) -> str:
    """A score with three digits, a count with all digits, – for nan."""
    if isinstance(value, int):
        return f"{value:,}"
    if value != value:
        return "–"
    return f"{value:.3f}".replace("inf", "∞")


def _swatch(color: Color | None) -> str:
    """A square of a colour."""
    if color is None:
        return ""
    return (
        '<span style="display:inline-block;width:0.8em;height:0.8em;margin-right:0.5em;'
        "vertical-align:-0.05em;border:1px solid rgba(128,128,128,.6);"
        f'background:rgb{color}"></span>'
    )


def _remark(text: str) -> str:
    return f'<div style="opacity:0.7">{escape(text)}</div>'
