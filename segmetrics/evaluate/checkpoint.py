"""Checkpoints: a file with the counts so far, which is replaced atomically."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmetrics._files import replace_file
from segmetrics.evaluate.warnings import Warnings

Array = NDArray[Any]

#: The inverse of the largest share of time that saving may take.
SHARE = 25
#: Bytes of a file that are read at once.
BLOCK = 2**20


class Stored(Protocol):
    """What a checkpoint holds: counts, and the digests of the files of every pair by its name."""

    @property
    def digests(self) -> Mapping[str, tuple[str, ...]]: ...

    def stored(self) -> Mapping[str, Array]: ...

    def restore(
        self, digests: Mapping[str, Sequence[str]], arrays: Mapping[str, Array]
    ) -> None: ...


class Checkpoint:
    """Saves and loads a ledger, and the digests of the files that it was counted from.

    Args:
        path: the file. It is replaced as a whole, so that a process may be killed at any time.
        settings: what affects the counts; a file with other settings is rejected.
        warnings: gets a sentence if saving fails. Counting then goes on without a checkpoint.
    """

    def __init__(self, path: Path, settings: Mapping[str, object], warnings: Warnings) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.warnings, self._ended, self._next = warnings, False, 0.0

    def load(self, ledger: Stored, files: Mapping[str, Sequence[Path]], threads: int) -> None:
        """Load the saved counts into a ledger, unless there is no file or an empty one.

        All counted files are read again: a file that was replaced by one of the same size and time
        would go unnoticed otherwise.

        Args:
            ledger: an empty one.
            files: those of all pairs that exist now, by name.
            threads: the number of threads that read files.

        Raises:
            ValueError: the file is no checkpoint, was made with other settings, or files that it
                counted are missing or have changed.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            return
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                found = dict(arrays)
            about = json.loads(bytes(found.pop("about")))
            settings, saved = dict(about["settings"]), dict(about["digests"])
        except Exception as error:  # zipfile raises errors of many kinds for a damaged archive
            raise self._refused(error) from error
        fix = "Finish with what it was made with, or delete it to start anew."
        for name, value in settings.items():
            if self.settings.get(name) != value:
                raise ValueError(
                    f"--checkpoint {self.path} was made with {name} {_short(value)}, now it is "
                    f"{_short(self.settings.get(name))}. {fix}"
                )
        with ThreadPoolExecutor(threads) as pool:
            now = dict(zip(saved, pool.map(lambda name: _now(files.get(name)), saved), strict=True))
        changed = [name for name in saved if now[name] != tuple(saved[name])]
        if changed:
            what = "has changed since" if changed[0] in files else "is no longer there"
            raise ValueError(
                f"--checkpoint {self.path} was made with other files: {changed[0]} {what}, and so "
                f"for {len(changed) - 1} more of {len(saved)}. {fix}"
            )
        try:
            ledger.restore(saved, found)
        except (ValueError, KeyError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> ValueError:
        return ValueError(
            f"--checkpoint {self.path} is no checkpoint, or a damaged one ({error}). Name another "
            "file, or delete it to start anew."
        )

    def save_if_due(self, ledger: Stored) -> None:
        """Save, unless that would take too large a share of the time."""
        if time.monotonic() >= self._next:
            self.save(ledger)

    def save(self, ledger: Stored) -> None:
        """Save the counts. After a failure saving is not tried again."""
        if self._ended:
            return
        begin = time.monotonic()
        about = {"settings": self.settings, "digests": ledger.digests}
        arrays: dict[str, Any] = dict(ledger.stored())
        content = io.BytesIO()
        np.savez(content, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        try:
            replace_file(self.path, content.getbuffer())
        except OSError as error:
            self._ended = True
            older = "What was saved before is intact" if self.path.exists() else "Nothing is saved"
            self.warnings.add(
                f"--checkpoint {self.path} cannot be written: {error.strerror}. {older}; counting "
                "goes on without it."
            )
        end = time.monotonic()
        self._next = end + SHARE * (end - begin)


def digests(files: Sequence[Path]) -> tuple[str, ...]:
    """A digest of the content of each file; empty for one that cannot be read."""
    return tuple(_digest(path) for path in files)


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _now(files: Sequence[Path] | None) -> tuple[str, ...] | None:
    return None if files is None else digests(files)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
