"""The page of speeds: charts and tables of what ``benchmarks/results/*.json`` hold.

Of each form the newest rows count. A part of the results gives a chart of ratios, on which a dot
left of 1 is faster than we are, and a table of the same numbers with the floor: the time of merely
reading the inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
Row = dict[str, Any]
Seconds = dict[str, float]

OURS_COLOR, FLOOR_COLOR = "#cc3311", "#888888"
PEER_COLORS = (
    "#0077bb",
    "#ee7733",
    "#009988",
    "#33bbee",
    "#ee3377",
    "#997700",
    "#555555",
    "#aa99dd",
)
MARKERS = "osD^vPX*"
MOST_SHOWN = 12  # rows of a table that is open


@dataclass(frozen=True)
class Family:
    """A part of the results, and how its rows are read."""

    part: str
    title: str
    ours: str
    #: Contenders that are other forms of ours, which are shown but never beat us.
    own: tuple[str, ...] = ()
    floor: str = "`sum()`"
    seconds: Callable[[Row], Mapping[str, float]] = lambda row: row["seconds"]
    floor_of: Callable[[Row], float | None] = lambda row: row.get("floor")
    charted: Callable[[Row], bool] = lambda row: True
    #: 1e3 for milliseconds.
    scale: float = 1e3
    unit: str = "ms"
    #: Of its chart, where a part has several.
    name: str = ""


def _totals(row: Row) -> Seconds:
    """Seconds of a validation by way of logging: all steps, the first one and the epoch's end."""
    steps = row["size"][0] - 1
    return {
        way: steps * of_way["step"] + of_way["first"] + of_way["end"]
        for way, of_way in row["seconds"].items()
    }


def _logged(row: Row) -> Seconds:
    return {way: seconds for way, seconds in _totals(row).items() if way != "no metric"}


def _decoded(row: Row) -> Seconds:
    return {who: s for who, s in row["seconds"].items() if not who.startswith("decoding")}


#: By the name of its chart.
FAMILIES = {
    family.name or family.part.replace(" ", "-"): family
    for family in (
        Family(
            "speed", "Counting and logits", "segmetrics", ("… samplewise",),
            charted=lambda row: row["classes"] == 21,
        ),
        Family(
            "memory", "Memory above the inputs", "segmetrics",
            seconds=lambda row: {k: v for k, v in row["bytes"].items() if v is not None},
            scale=1e-6, unit="MB", charted=lambda row: row["classes"] == 21,
        ),
        Family(
            "load", "While other processes are busy", "2 threads",
            ("1 thread", "2 threads before", "1 thread before"),
            seconds=lambda row: {who: of["median"] for who, of in row["seconds"].items()},
        ),
        Family(
            "load", "While other processes are busy: 90th percentiles", "2 threads",
            ("1 thread", "2 threads before", "1 thread before"),
            seconds=lambda row: {who: of["p90"] for who, of in row["seconds"].items()},
            name="load-p90",
        ),
        Family(
            "logging", "Logging in Lightning", "log_dict at the end",
            ("values at the end", "callback", "log_dict in every step", "update, nothing logged",
             "log of MeanIoU in every step"),
            seconds=_logged, floor="no metric", floor_of=lambda row: _totals(row)["no metric"],
        ),
        Family(
            "evaluate", "Folders of masks", "segmetrics evaluate", seconds=_decoded,
            floor="decoding by Pillow", scale=1, unit="s",
            floor_of=lambda row: min(
                s for who, s in row["seconds"].items() if who.startswith("decoding")
            ),
        ),
        Family("surfaces", "Surfaces and boundaries", "segmetrics"),
        Family(
            "volumes", "Surfaces of volumes in files", "segmetrics evaluate --surfaces",
            ("SurfaceMetrics",), floor="reading alone", scale=1, unit="s",
            seconds=lambda row: {
                who: s for who, s in row["seconds"].items()
                if not who.startswith("reading") and who != "zlib alone"
            },
        ),
        Family(
            "objects", "Components and pairs of objects", "segmetrics", floor="reading both maps"
        ),
        Family("panoptic", "Panoptic quality", "segmetrics", floor="reading both maps"),
        Family("panoptic files", "Panoptic files", "segmetrics", floor_of=lambda row: None),
        Family(
            "lesions", "Dice of every lesion", "segmetrics",
            ("segmetrics, by IoU", "segmetrics, HD95 too"),
        ),
        Family(
            "probability", "Calibration", "CalibrationError",
            ("BrierScore", "NegativeLogLikelihood", "ProbabilityMetrics"),
            seconds=lambda row: row["update"],
        ),
        Family(
            "probability", "Calibration: memory above the inputs", "CalibrationError",
            ("BrierScore", "NegativeLogLikelihood", "ProbabilityMetrics"),
            seconds=lambda row: {k: max(v, 1e3) for k, v in row["bytes"].items()},
            floor_of=lambda row: None, scale=1e-6, unit="MB", name="probability-memory",
        ),
        Family(
            "curves", "Curves", "ours", ("512 cells an image", "increments alone"),
            floor="reading the inputs",
        ),
    )
}  # fmt: skip


def newest(part: str) -> tuple[list[Row], dict[str, Any]]:
    """The newest rows of each form, and the results that hold the last of them."""
    rows: list[Row] = []
    last: dict[str, Any] = {}
    for path in sorted(RESULTS.glob("*-cpu.json")):
        found = json.loads(path.read_text())
        if part not in found:
            continue
        again = {_kind(row) for row in found[part]}
        same_machine = last and last["machine"]["processor"] == found["machine"]["processor"]
        kept = [row for row in rows if _kind(row) not in again] if same_machine else []
        rows, last = [*found[part], *kept], found
    return rows, last


def _kind(row: Row) -> tuple[object, ...]:
    return row.get("form"), row.get("classes"), row.get("busy")


def write(folder: Path) -> dict[str, str]:
    """Write the charts as SVG, and give the Markdown of each part of the page by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    for name, family in FAMILIES.items():
        rows, results = newest(family.part)
        if rows:
            draw(family, [row for row in rows if family.charted(row)], folder / f"{name}.svg")
            pages[name] = _section(family, rows, results, name)
    for part, of_part in (("start", _start), ("first update", _first), ("share", _share)):
        rows, results = newest(part)
        if rows:
            pages[part.replace(" ", "-")] = _where(results) + of_part(rows)
    pages["losses"] = losses()
    return pages


# --- Markdown -------------------------------------------------------------------------------------


def _section(family: Family, rows: Sequence[Row], results: dict[str, Any], name: str) -> str:
    compared = "as much others need" if family.unit == "MB" else "as long others take"
    return "\n".join(
        [
            _where(results),
            f"![{family.title}: how many times {compared}](_generated/pictures/speed/{name}.svg)",
            "",
            f"`{family.ours}` in {family.unit}, and how many times {compared}:",
            "",
            table(family, rows),
        ]
    )


def _where(results: dict[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    return (
        f"*{results['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"torch {versions['torch']}, torchmetrics {versions['torchmetrics']}.*\n\n"
    )


def table(family: Family, rows: Sequence[Row]) -> str:
    """Ours in absolute numbers, the floor and all others as ratios to ours; losses are bold."""
    others = list(
        dict.fromkeys(who for row in rows for who in family.seconds(row) if who != family.ours)
    )
    with_floor = any(family.floor_of(row) is not None for row in rows)
    head = ["", family.ours, *([family.floor] if with_floor else []), *others]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        seconds, floor = family.seconds(row), family.floor_of(row)
        ours = seconds[family.ours]
        cells = [form(row), f"{digits(family.scale * ours)} {family.unit}"]
        if with_floor:
            cells.append("–" if floor is None else ratio(floor / ours))
        lines.append([*cells, *(_compared(family, who, seconds, ours) for who in others)])
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
    if len(rows) <= MOST_SHOWN:
        return text
    return f"<details><summary>{len(rows)} rows</summary>\n\n{text}\n</details>\n"


def _compared(family: Family, who: str, seconds: Mapping[str, float], ours: float) -> str:
    if who not in seconds:
        return "–"
    times = ratio(seconds[who] / ours)
    return f"**{times}**" if seconds[who] < ours and who not in family.own else times


def losses() -> str:
    """Every case in which another library is faster, the worst first."""
    found = []
    for family in FAMILIES.values():
        for row in newest(family.part)[0]:
            seconds = family.seconds(row)
            ours = seconds[family.ours]
            found += [
                (seconds[who] / ours, f"| {family.title} | {form(row)} | {who}")
                for who in seconds
                if seconds[who] < ours and who not in family.own
            ]
    lines = ["| | case | faster | its time, of ours |", "|---|---|---|---:|"]
    return "\n".join([*lines, *(f"{line} | {part:.0%} |" for part, line in sorted(found))]) + "\n"


def _start(rows: Sequence[Row]) -> str:
    lines = ["| whole process | seconds | of them CPU | MiB |", "|---|---:|---:|---:|"]
    for row in rows:
        cells = [f"{row['seconds']:.2f}", f"{row['cpu']:.2f}", f"{row['bytes'] / 2**20:.0f}"]
        lines.append(" | ".join(["| " + form(row), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _first(rows: Sequence[Row]) -> str:
    lines = ["| seconds of the first update | on a machine | in a process |", "|---|---:|---:|"]
    for row in rows:
        compiled, loaded = (f"{row['seconds'][name]:.2f}" for name in ("compiled", "loaded"))
        lines.append(f"| {row['form']} | {compiled} | {loaded} |")
    return "\n".join(lines) + "\n"


def _share(rows: Sequence[Row]) -> str:
    lines = ["| of a validation with FCN-ResNet50 | ms a batch | share |", "|---|---:|---:|"]
    for row in rows:
        for who, seconds in row["seconds"].items():
            part = row["share"].get(who)
            share = "–" if part is None else f"{part:.2%}"
            lines.append(f"| {who} | {digits(1e3 * seconds)} | {share} |")
    return "\n".join(lines) + "\n"


def form(row: Row) -> str:
    """What a row measures, in words."""
    text = str(row["form"])
    if row.get("classes", 1) > 1 and not text.startswith(("many", "BoundaryIoU")):
        text += f", {row['classes']} classes"
    size = row.get("size")
    if size and "×" not in text and "x" not in text.split()[-1]:
        text += f", {'×'.join(map(str, size))}"
    if "busy" in row:
        busy = {0: "idle", 1: "one busy", 2: "two busy"}
        text += f", {busy.get(row['busy'], row['busy'])}"
    return text


def digits(value: float) -> str:
    """Two or three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(times: float) -> str:
    """``41×``."""
    return f"{digits(times) if times >= 10 else f'{times:.2g}'}×"


# --- charts ---------------------------------------------------------------------------------------


def draw(family: Family, rows: Sequence[Row], path: Path) -> None:
    """A dot for each contender, on a logarithmic axis of its ratio to ours; a line at 1."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    others = list(
        dict.fromkeys(who for row in rows for who in family.seconds(row) if who != family.ours)
    )
    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 1.3 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.axvline(1, color=OURS_COLOR, linewidth=1.5, label=family.ours)
        for i, who in enumerate(others):
            places = [y for y, row in enumerate(rows) if who in family.seconds(row)]
            seconds = [family.seconds(rows[y]) for y in places]
            axes.plot(
                [s[who] / s[family.ours] for s in seconds],
                places,
                MARKERS[i % len(MARKERS)],
                color=PEER_COLORS[i % len(PEER_COLORS)],
                markersize=5,
                label=who,
            )
        floors = [(y, family.floor_of(row)) for y, row in enumerate(rows)]
        axes.plot(
            [f / family.seconds(rows[y])[family.ours] for y, f in floors if f is not None],
            [y for y, f in floors if f is not None],
            "|",
            color=FLOOR_COLOR,
            markersize=9,
            label=family.floor.strip("`") if any(f is not None for _, f in floors) else None,
        )
        axes.set_yticks(range(len(rows)), [form(row) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="x", alpha=0.3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
        figure.savefig(path, metadata={"Date": None})
