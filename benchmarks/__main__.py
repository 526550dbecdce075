"""Run the benchmarks of this machine's device: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import gc
import warnings
from pathlib import Path

import torch

from benchmarks import curves, load, memory, probability, report
from benchmarks.cases import FORMS, Case, cases
from benchmarks.contenders import CONTENDERS
from benchmarks.share import shares, validation_share
from benchmarks.timing import ROUNDS, interleaved

SIZES = ["4x520x520", "1x1024x2048"]
PARTS = ("speed", "memory", "share", "load", "logging", "probability", "curves", "curve memory")
MEASURED_MEMORY = ("segmetrics", "torchmetrics Jaccard")


def main() -> None:
    """Measure, print and keep."""
    options = parser().parse_args()
    warnings.simplefilter("ignore")
    device = options.device
    path = options.output or report.default_path(device)
    chosen = cases(options.classes, options.size, options.only)
    rows: list[report.Row]
    if "speed" in options.parts:
        rows = []
        for case in chosen:
            rows.append(speed(case, device, options.rounds))
            print(f"measured {case}", flush=True)
            if not options.no_save:
                report.keep(path, device, "speed", rows[-1:])
        print(report.speed_table(rows), end="\n\n")
    if "memory" in options.parts:
        rows = [peaks(case, device) for case in chosen]
        print(report.memory_table(rows), end="\n\n")
        if not options.no_save:
            report.keep(path, device, "memory", rows)
    if "share" in options.parts:
        row = share(device, options.share_batch, options.share_side, options.rounds)
        if not options.no_save:
            report.keep(path, device, "share", [row])
    if "load" in options.parts:
        forms = [form for form in load.FORMS if options.only in form]
        rows = load.measure(forms, options.before, options.calls, options.busy)
        print(load.table(rows), end="\n\n")
        if not options.no_save:
            report.keep(path, device, "load", rows)
    if "probability" in options.parts:
        names = [name for name in probability.CASES if options.only in name]
        rows = probability.measure(names, options.scale, options.rounds)
        print(probability.shown(rows), end="\n\n")
        if not options.no_save:
            report.keep(path, device, "probability", rows)
    if "curves" in options.parts:
        forms = [form for form in curves.FORMS if options.only in form]
        rows = curves.measure(forms, options.scale, options.rounds)
        print(curves.shown(rows), end="\n\n")
        if not options.no_save:
            report.keep(path, device, "curves", rows)
    if "curve memory" in options.parts:
        names = [name for name in curves.CASES if options.only in name]
        rows = curves.memory(names, options.scale)
        if not options.no_save:
            report.keep(path, device, "curve memory", rows)
    if "logging" in options.parts:
        for classes in (c for c in options.classes if c > 2):
            for processes in (1, 2):
                row = logging_(classes, options.logging_steps, processes)
                if not options.no_save:
                    report.keep(path, device, "logging", [row])
    if not options.no_save:
        drawn = report.chart(path) if "speed" in options.parts else None
        print("\n".join(f"written: {file}" for file in (path, drawn) if file))


def speed(case: Case, device: str, rounds: int) -> report.Row:
    """Time every contender that reads the case's form."""
    preds, target = case.inputs(device)
    made = {name: make(case, preds, target) for name, make in CONTENDERS.items()}
    steps = {name: step for name, step in made.items() if step is not None}
    timing = interleaved(preds.sum, steps, device=device, rounds=rounds)
    del preds, target, made, steps
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return {
        "form": case.form,
        "classes": case.classes,
        "size": list(case.size),
        "floor": timing.floor,
        "seconds": timing.contenders,
        "repeated": timing.repeated,
    }


def peaks(case: Case, device: str) -> report.Row:
    """Peak memory of ours and of torchmetrics' default."""
    found = {name: memory.peak_above_inputs(case, name, device) for name in MEASURED_MEMORY}
    return {
        "form": case.form,
        "classes": case.classes,
        "size": list(case.size),
        "bytes": found,
    }


def share(device: str, batch: int, side: int, rounds: int) -> report.Row:
    """The metric's share of a validation with FCN-ResNet50."""
    seconds = validation_share(device, batch=batch, side=side, rounds=rounds)
    part = shares(seconds)
    print(f"FCN-ResNet50, {batch}×3×{side}×{side}: ms a batch, share of the validation's time")
    lines = [
        [name, report.milliseconds(value), f"{part[name]:.2%}" if name in part else ""]
        for name, value in seconds.items()
    ]
    print(report.table(["", "ms", "share"], lines), end="\n\n")
    return {"size": [batch, side, side], "seconds": seconds, "share": part}


def logging_(classes: int, steps: int, processes: int) -> report.Row:
    """The time of each way of logging in a validation of Lightning."""
    from benchmarks import logged  # Lightning is needed here alone

    seconds = logged.measured(classes, steps, processes)
    plain = seconds[logged.PLAIN]
    form = f"{processes} process{'es' * (processes > 1)}"
    print(f"logging, C = {classes}, {steps} steps, {form}: ms, and the two against plain values")
    lines = [
        [
            way,
            *(report.milliseconds(of_way[part]) for part in ("step", "first", "end")),
            f"{(of_way['first'] + of_way['end']) / (plain['first'] + plain['end']):.2f}×",
        ]
        for way, of_way in seconds.items()
    ]
    head = ["", "a step", "the first step", "the epoch's end", "first and end"]
    print(report.table(head, lines), end="\n\n", flush=True)
    size = [steps, logged.SIDE, logged.SIDE]
    return {"form": form, "classes": classes, "size": size, "seconds": seconds}


def parser() -> argparse.ArgumentParser:
    """The options, each of which leaves something out."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options.add_argument("--classes", type=int, nargs="+", default=[2, 21, 150], metavar="C")
    options.add_argument("--size", type=size, nargs="+", default=list(map(size, SIZES)))
    options.add_argument(
        "--only", default="", metavar="WORD", help=f"a word of a form: {', '.join(FORMS)}"
    )
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--share-batch", type=int, default=4)
    options.add_argument("--share-side", type=int, default=520)
    options.add_argument("--calls", type=int, default=load.CALLS, help="of each form under load")
    options.add_argument("--busy", type=int, nargs="+", default=load.BUSY, metavar="PROCESSES")
    options.add_argument(
        "--before",
        type=Path,
        metavar="CHECKOUT",
        help="whose code is timed under load, too",
    )
    options.add_argument("--scale", type=int, default=1, help="divides the sides of probabilities")
    options.add_argument("--logging-steps", type=int, default=500)
    options.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    options.add_argument("--no-save", action="store_true", help="only print")
    return options


def size(text: str) -> tuple[int, int, int]:
    """``4x520x520``, or one side for a batch of four squares."""
    numbers = [int(number) for number in text.split("x")]
    if len(numbers) == 1:
        return 4, numbers[0], numbers[0]
    n, height, width = numbers
    return n, height, width


if __name__ == "__main__":
    main()
