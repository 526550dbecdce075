"""What the command prints while it runs: progress as lines and as a bar, and errors."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from math import nan
from pathlib import Path

import pytest
import typer
from rich.console import Console

from segmetrics.evaluate import screen as module
from segmetrics.evaluate.screen import Screen
from segmetrics.evaluate.settings import NotScored
from segmetrics.evaluate.writing import Table, write_json
from segmetrics.files import Problem


def screen(*, terminal: bool = False) -> tuple[Screen, io.StringIO]:
    """A screen that writes to memory."""
    text, found = io.StringIO(), Screen()
    found.console = Console(
        file=text, force_terminal=terminal, width=200, soft_wrap=True, highlight=False
    )
    return found, text


@dataclass
class Clock:
    """The time as the progress reads it."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_without_a_terminal_progress_is_a_line_after_every_pause(clock: Clock) -> None:
    shown, text = screen()
    with shown.progress() as tell:
        clock.now += 50  # until the workers are there
        for after, done, problems in (
            (0, 1000, 0),  # of a checkpoint: counted before
            (20, 1000, 0),  # no rate is known
            (5, 1050, 0),
            (5, 1090, 3),
            (9.9, 1100, 3),
            (0.2, 1201, 0),
            (60, 5000, 3),  # the result follows
        ):
            clock.now += after
            tell(done, 5000, problems)
    assert text.getvalue().splitlines() == [
        "1,090 of 5,000 pairs, 3/s, 1303 s left, 3 problems",  # 90 in 30 s
        "1,201 of 5,000 pairs, 5/s, 758 s left",  # 201 in 40.1 s
    ]


def test_a_terminal_has_a_bar_that_is_drawn_ten_times_a_second(clock: Clock) -> None:
    shown, text = screen(terminal=True)
    with shown.progress() as tell:
        for done, problems in ((1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (6, 2), (7, 2)):
            clock.now += 0.06
            tell(done, 7, problems)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    drawn = [int(done) for done in re.findall(r"(\d)/7 pairs", plain)]
    assert [done for done in dict.fromkeys(drawn) if done] == [2, 4, 6, 7]
    assert "17/s" in plain  # 6 in 0.36 s
    assert "2 problems" in plain
    assert "1 problems" not in plain


def test_another_process_reports_for_a_silent_one() -> None:
    shown, text = screen()
    shown.shown = False
    with shown.progress() as tell:
        tell(1, 2, 0)
    shown.warn("a warning")
    shown.error("an error")
    with pytest.raises(typer.Exit) as ended, shown.errors():
        raise NotScored([Problem("no target", "a.png")], rest=True)
    assert ended.value.exit_code == 2
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("a [b] c"), 2, "error: a [b] c\n"),
        (OSError("no disk"), 2, "error: no disk\n"),
        (MemoryError("8 GB"), 2, "error: out of memory. Fewer --workers need less. 8 GB\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_an_exit_status(
    error: BaseException, status: int, said: str
) -> None:
    shown, text = screen()
    with pytest.raises(typer.Exit) as ended, shown.errors():
        raise error
    assert (ended.value.exit_code, text.getvalue()) == (status, said)


@pytest.mark.parametrize("number", [1, 1200])
@pytest.mark.parametrize("rest", [True, False])
def test_files_that_cannot_be_scored_are_counted(number: int, rest: bool) -> None:
    shown, text = screen()
    with pytest.raises(typer.Exit), shown.errors():
        raise NotScored([Problem("no target", f"{i}.png") for i in range(number)], rest=rest)
    first = text.getvalue().splitlines()[0]
    files = "1 file cannot be scored" if number == 1 else "1,200 files cannot be scored"
    what = ". To score the rest: --keep-going" if rest else ", and nothing is left to score."
    assert first == f"error: {files}{what}"


# --- tables and JSON ------------------------------------------------------------------------------


def test_a_table_has_a_last_row_of_means_only_if_there_are_some() -> None:
    rows = [{"name": "a|b", "iou": 0.5, "pixels": 1200}, {"name": "c", "iou": nan, "pixels": 3}]
    plain = Table.of_rows("class", rows)
    with_means = Table.of_rows("class", rows, {"iou": 0.5})
    assert plain.markdown().splitlines() == [
        "| class | IoU | pixels |",
        "| --- | ---: | ---: |",
        r"| a\|b | 0.500 | 1,200 |",
        "| c | – | 3 |",
    ]
    assert with_means.markdown() == plain.markdown() + "| mean | 0.500 | – |\n"
    assert plain.text().splitlines() == [
        "class    IoU  pixels",
        "a|b    0.500   1,200",
        "c          –       3",
    ]
    assert with_means.text().splitlines()[3].split() == ["mean", "0.500", "–"]
    assert Table.of_rows("class", []).text() == "class\n"


def test_json_is_indented_by_one_space_and_undefined_values_are_null(tmp_path: Path) -> None:
    write_json(tmp_path / "o.json", {"a": {"b": [1, nan]}, "é": "–"})
    content = {"a": {"b": [1, None]}, "é": "–"}
    expected = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    assert (tmp_path / "o.json").read_text("utf-8") == expected
