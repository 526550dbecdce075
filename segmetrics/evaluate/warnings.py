"""Warnings of a run, which are reported with the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path


class Warnings:
    """Sentences, each reported once, as soon as it is known.

    Args:
        tell: called with each new one.
    """

    def __init__(self, tell: Callable[[str], object] = lambda text: None) -> None:
        self._tell, self._found = tell, dict[str, None]()

    def add(self, text: str) -> None:
        """Add a sentence, unless it is there."""
        if text not in self._found:
            self._found[text] = None
            self._tell(text)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)


def of_folders(preds: Path, targets: Path) -> Iterator[str]:
    """Warnings that need no file to be read."""
    if preds.samefile(targets):
        yield (
            f"{preds} and {targets} are the same {'folder' if preds.is_dir() else 'file'}: the "
            "targets are compared with themselves. Give the predictions first, then the targets."
        )
