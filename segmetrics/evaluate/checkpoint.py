"""A file that holds what has been counted by now, whole at any moment."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Size and time of change of each file of a pair.
Signature = list[list[int]]

#: Saving takes at most one of so many seconds.
SHARE = 25


class Checkpoint:
    """Saves and loads arrays, and the names of what they were counted from.

    Args:
        path: the file. It is replaced as a whole, so that a process may be killed at any time.
        settings: what decides the counts; a file saved with other settings is refused.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self._next = 0.0

    def load(self, signatures: Mapping[str, Signature]) -> tuple[list[str], dict[str, Array]]:
        """Names and arrays as saved last; nothing where there is no file.

        Args:
            signatures: of all that is there now, by name.

        Raises:
            ValueError: the file is none of ours, was made with other settings, or what it counted
                is no longer there or has changed.
        """
        if not self.path.exists():
            return [], {}
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                found = dict(arrays)
            about = json.loads(bytes(found.pop("about")))
            names, then = list(about["signatures"]), about["signatures"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"--checkpoint {self.path} is no checkpoint ({error}). Name another file."
            ) from error
        mend = "Finish with what it was made with, or delete it to start anew."
        for name, value in about["settings"].items():
            if self.settings.get(name) != value:
                raise ValueError(
                    f"--checkpoint {self.path} was made with {name} {_short(value)}, now it is "
                    f"{_short(self.settings.get(name))}. {mend}"
                )
        changed = [name for name in names if signatures.get(name) != then[name]]
        if changed:
            what = "has changed since" if changed[0] in signatures else "is no longer there"
            raise ValueError(
                f"--checkpoint {self.path} was made with other files: {changed[0]} {what}, and so "
                f"for {len(changed) - 1} more of {len(names)}. {mend}"
            )
        return names, found

    def save_if_due(
        self, signatures: Mapping[str, Signature], names: Sequence[str], arrays: Mapping[str, Array]
    ) -> None:
        """Save, unless that would take too much of the time."""
        if time.monotonic() >= self._next:
            self.save(signatures, names, arrays)

    def save(
        self, signatures: Mapping[str, Signature], names: Sequence[str], arrays: Mapping[str, Array]
    ) -> None:
        """Save arrays, and from what they were counted."""
        begin = time.monotonic()
        about = {
            "settings": self.settings,
            "signatures": {name: signatures[name] for name in names},
        }
        partial = self.path.with_name(f"{self.path.name}.partial")
        with partial.open("wb") as file:
            contents: dict[str, Any] = dict(arrays)
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)
        if hasattr(os, "O_DIRECTORY"):  # the new name is on the disk, too
            folder = os.open(self.path.parent, os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)
        end = time.monotonic()
        self._next = end + SHARE * (end - begin)


def signature(files: Sequence[Path]) -> Signature:
    """Size and time of change of files."""
    return [[(status := path.stat()).st_size, status.st_mtime_ns] for path in files]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
