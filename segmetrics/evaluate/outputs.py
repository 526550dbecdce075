"""Output files: checked before anything is counted, written at the end."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from segmetrics._files import check_replaceable

STANDARD_OUTPUT = Path("-")
#: Replacements of characters that a terminal's encoding lacks.
PLAIN = {"–": "-", "—": "-", "×": "x", "…": "..."}


def table_csv(path: Path, table: str) -> Path:
    """The file of a table that is written with that of the classes, ``"images"`` say."""
    return path.with_suffix(f".{table}{path.suffix}")


def check_outputs(outputs: Mapping[str, Path]) -> None:
    """Raise for files that cannot be written.

    Args:
        outputs: the files by the option that names them, such as ``"--json"``.

    Raises:
        ValueError: one of them cannot be written, or two are the same file.
    """
    for option, path in outputs.items():
        if path == STANDARD_OUTPUT:
            if option not in ("--json", "--csv", "--markdown"):
                raise ValueError(f"{option} must be a file; - is standard output.")
            continue
        if not path.parent.is_dir():
            raise ValueError(
                f"{option} {path}: the folder {path.parent} does not exist. Make it first."
            )
        if path.is_dir():
            raise ValueError(f"{option} must be a file, {path} is a folder.")
        try:
            check_replaceable(path)
        except OSError as error:
            raise ValueError(f"{option} {path} cannot be written: {error.strerror}.") from error
    for one, other in combinations(outputs, 2):
        if _same(outputs[one], outputs[other]):
            raise ValueError(
                f"{one} and {other} are the same file, {outputs[one]}. Give each its own."
            )


def check_no_input(outputs: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Raise for an output that would overwrite an input.

    Raises:
        ValueError: with both names.
    """
    options = {_identity(path): option for option, path in outputs.items() if path.is_file()}
    for path in inputs if options else ():
        option = options.get(_identity(path))
        if option:
            raise ValueError(
                f"{option} {outputs[option]} would overwrite an input, {path}. Name another file."
            )


def write_all(
    writers: Sequence[tuple[str, Callable[[], None]]], failed: Callable[[str], object]
) -> bool:
    """Write all outputs that can be written.

    Args:
        writers: the name of each output, and the function that writes it.
        failed: called with a sentence for what cannot be written.

    Returns:
        Whether everything was written.
    """
    well = True
    for what, write in writers:
        try:
            write()
        except OSError as error:  # noqa: PERF203  # the next one may be fine
            well = False
            named = f" {error.filename}" if error.filename else ""
            failed(f"{what}{named} cannot be written: {error.strerror or error}.")
    return well


def print_what_can_be_printed() -> None:
    """Replace characters that the encoding of standard output and error lacks."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    wrong = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in wrong), error.end


def _identity(path: Path) -> tuple[int, int] | None:
    """The identity of a file, whatever its name; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of the same file, existing or not."""
    if one.exists() and other.exists():
        return one.samefile(other) and one.is_file()
    return os.path.realpath(one) == os.path.realpath(other)
