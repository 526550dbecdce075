"""Output of the command while it runs: progress, warnings, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from segmetrics.evaluate.settings import NotScored
from segmetrics.evaluate.workers import Progress
from segmetrics.evaluate.writing import problem_lines
from segmetrics.files import printable

BAD_INPUT = 2
BELOW = 3
INTERRUPTED = 130
#: Seconds between lines of progress without a terminal.
PAUSE = 10.0

ERROR, WARNING = "[bold red]error:[/]", "[bold yellow]warning:[/]"


class Screen:
    """Standard error; silent if another process reports for all."""

    def __init__(self) -> None:
        self.console, self.shown = Console(stderr=True, soft_wrap=True, highlight=False), True

    def error(self, text: str) -> None:
        """Print an error."""
        self._tell(ERROR, text)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._tell(WARNING, text)

    def _tell(self, kind: str, text: str) -> None:
        if self.shown:
            self.console.print(f"{kind} {escape(printable(text))}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """End the command with one line for an error within the block."""
        try:
            yield
        except NotScored as error:
            if self.shown:
                _print_problems(error, self.console)
            raise typer.Exit(BAD_INPUT) from None
        except (ValueError, TypeError, ImportError, OSError) as error:
            self.error(str(error))
            raise typer.Exit(BAD_INPUT) from error
        except MemoryError as error:
            self.error(f"out of memory. Fewer --workers need less. {error}")
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show progress: by a bar on a terminal, else by occasional lines."""
        if not self.shown:
            yield lambda done, number, problems: None
            return
        if not self.console.is_terminal:
            yield _Lines(self.console)
            return
        columns = (
            BarColumn(), MofNCompleteColumn(), TextColumn("pairs"),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            TextColumn("[red]{task.fields[problems]}"),
        )  # fmt: skip
        with Bar(*columns, console=self.console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task("", rate="", problems="")
            clock = _Clock()

            def tell(done: int, number: int, problems: int) -> None:
                if clock.due(done, number, 0.1):
                    noted = f"{problems} problems" if problems else ""
                    bar.update(
                        task, completed=done, total=number, rate=f"{clock.rate(done):.0f}/s",
                        problems=noted, refresh=True,
                    )  # fmt: skip

            yield tell


class _Clock:
    """When to report progress, and the rate."""

    def __init__(self) -> None:
        self.begin = self.last = time.monotonic()
        self.first: int | None = None

    def due(self, done: int, number: int, pause: float) -> bool:
        if self.first is None:  # a checkpoint may have brought some
            self.first, self.begin = done, time.monotonic()
        now = time.monotonic()
        if done < number and now < self.last + pause:
            return False
        self.last = now
        return True

    def rate(self, done: int) -> float:
        return (done - (self.first or 0)) / max(time.monotonic() - self.begin, 1e-9)


class _Lines:
    """Progress as plain lines."""

    def __init__(self, console: Console) -> None:
        self.console, self.clock = console, _Clock()

    def __call__(self, done: int, number: int, problems: int) -> None:
        if (
            self.clock.due(done, number, PAUSE)
            and done < number
            and (rate := self.clock.rate(done))
        ):
            left = (number - done) / rate
            noted = f", {problems} problems" if problems else ""
            self.console.print(
                f"{done:,} of {number:,} pairs, {rate:.0f}/s, {left:.0f} s left{noted}"
            )


def standard_output() -> Console:
    """Standard output, at least as wide as tables need."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=10_000)


def _print_problems(error: NotScored, console: Console) -> None:
    number = len(error.problems)
    files = "1 file cannot be scored" if number == 1 else f"{number:,} files cannot be scored"
    rest = ". To score the rest: --keep-going" if error.rest else ", and nothing is left to score."
    console.print(f"{ERROR} {files}{rest}")
    for line in problem_lines(error.problems):
        console.print(escape(line))
