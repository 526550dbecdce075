"""Results: a table on screen, JSON to keep, a chart for the README."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.machine import machine, versions

OURS = ("segmetrics", "… samplewise")
RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, the first to the left."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def milliseconds(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def title(row: Row) -> str:
    """The case of a row."""
    return f"{row['form']}, C = {row['classes']}, {'×'.join(map(str, row['size']))}"


def speed_table(rows: Sequence[Row]) -> str:
    """Milliseconds of the floor and of ours, and the ratio of every peer to ours."""
    ours, *others = CONTENDERS
    head = ["", "sum() ms", f"{ours} ms", "/ sum()", *others, "repeated rounds"]
    lines = []
    for row in rows:
        times = row["seconds"]
        reads_all = row["form"].startswith("logits") and not row["form"].endswith("1/8")
        lines.append(
            [
                title(row),
                milliseconds(row["floor"]),
                milliseconds(times[ours]),
                f"{times[ours] / row['floor']:.2f}" if reads_all else "–",
                *(f"{times[name] / times[ours]:.1f}×" if name in times else "–" for name in others),
                str(row["repeated"]),
            ]
        )
    return table(head, lines)


def memory_table(rows: Sequence[Row]) -> str:
    """Megabytes that an update needs beyond its inputs."""
    names = list(rows[0]["bytes"]) if rows else []
    lines = [
        [
            title(row),
            *(
                "–" if row["bytes"][name] is None else f"{row['bytes'][name] / 1e6:.1f}"
                for name in names
            ),
        ]
        for row in rows
    ]
    return table(["MB above the inputs", *names], lines)


def default_path(device: str) -> Path:
    """Where this machine's results of today are kept."""
    return RESULTS / f"{date.today().isoformat()}-{device.split(':')[0]}.json"


def keep(path: Path, device: str, part: str, rows: Sequence[Row]) -> None:
    """Add rows to a part of a results file; a case that is measured again replaces its old row."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def case(row: Row) -> str:
        return json.dumps([row.get(name) for name in ("form", "classes", "size", "busy")])

    kept |= {"date": date.today().isoformat(), "machine": machine(device), "versions": versions()}
    kept[part] = list({case(row): row for row in [*kept.get(part, []), *rows]}.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say where the rows of a program go."""
    parser.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    parser.add_argument("--no-save", action="store_true", help="only print")


def save(options: argparse.Namespace, part: str, rows: Sequence[Row]) -> None:
    """Keep the rows, unless told not to."""
    if not options.no_save:
        keep(options.output or default_path("cpu"), "cpu", part, rows)


def chart(path: Path, *, classes: int = 21) -> Path | None:
    """Draw what a results file has of the first size, as bars, in an SVG file next to it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    forms = {
        "logits fp32": "fp32 logits",
        "labels int64": "int64 label pairs",
        "logits fp32 at 1/8": "fp32 logits at 1/8 of the size",
    }
    rows = [row for row in json.loads(path.read_text())["speed"] if row["classes"] == classes]
    first = [row for row in rows if row["size"] == rows[0]["size"] and row["form"] in forms]
    if not first:
        return None
    figure, axes = plt.subplots(
        1, len(first), figsize=(1.2 + 3.4 * len(first), 2.9), sharey=True, squeeze=False
    )
    for ax, row in zip(axes[0], first, strict=True):
        names = [name for name in reversed(CONTENDERS) if name in row["seconds"]]
        times = [row["seconds"][name] for name in names]
        ours = row["seconds"]["segmetrics"]
        colors = ["#cc6677" if name in OURS else "#bbbbbb" for name in names]
        drawn = ax.barh(names, [1e3 * time for time in times], color=colors)
        labels = [
            milliseconds(time) + (f"  {time / ours:.0f}×" if time != ours else "") for time in times
        ]
        ax.bar_label(drawn, labels, padding=3, fontsize=8)
        ax.set_title(forms[row["form"]], fontsize=10)
        ax.set_xlim(0, 1.35e3 * max(times))
        ax.set_xlabel("ms an update", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"C = {classes}, {'×'.join(map(str, first[0]['size']))}", fontsize=10)
    figure.tight_layout()
    target = path.with_suffix(".svg")
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)
    return target
