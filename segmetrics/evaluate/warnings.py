"""What looks wrong in a run that can be scored: it is reported with the scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def of_folders(preds: Path, targets: Path) -> Iterator[str]:
    """Warnings that need no file to be read."""
    if preds.samefile(targets):
        yield (
            f"{preds} and {targets} are the same {'folder' if preds.is_dir() else 'file'}: the "
            "targets are compared with themselves. Give the predictions first, then the targets."
        )
