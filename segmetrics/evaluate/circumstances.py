"""How a run was made and what it left out, in the words of all commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from segmetrics.evaluate.writing import counted, problem_lines
from segmetrics.files import Problem, valid


def of_report(
    arguments: Mapping[str, object],
    left_out: Iterable[Problem],
    warnings: Iterable[str],
    how_fast: str | None = None,
) -> dict[str, Any]:
    """The arguments of ``segmetrics.report``: how it was counted, what was left out, warnings.

    Args:
        arguments: the options of the command.
        left_out: what could not be scored.
        warnings: sentences.
        how_fast: the amount of data, and the time it took.
    """
    how = {name: valid(str(value)) for name, value in arguments.items()}
    return {
        "how": how if how_fast is None else {**how, "counted": how_fast},
        "left_out": [(valid(problem.file), valid(problem.reason)) for problem in left_out],
        "warnings": [valid(warning) for warning in warnings],
    }


def of_json(problem: Problem) -> dict[str, str]:
    """A file that could not be scored, for JSON."""
    return {"file": problem.file, "kind": problem.kind, "reason": problem.reason}


def print_left_out(
    console: Console, problems: Sequence[Problem], heading: str | None = None
) -> None:
    """Print what could not be scored, if there is any, by default under the number of files."""
    if not problems:
        return
    heading = heading or f"left out: {counted(len(problems), 'file')}"
    console.print(f"[bold]{escape(heading)}[/]")
    for line in problem_lines(problems):
        console.print(escape(line))
