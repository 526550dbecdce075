"""Atomic replacement of files."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

#: The age in seconds from which a partial file is stale.
LEFT_BEHIND = 3600.0


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name in its folder, then rename it.

    Readers see the old file or the new one, and a failure leaves the old one unchanged. If the path
    is a link, its target is replaced. Devices and pipes are written directly.

    Raises:
        OSError: the file cannot be written; ``filename`` is the path as given.
    """
    partial = _partial(path)
    try:
        if partial is None:
            path.write_bytes(content)
            return
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, partial)
            os.replace(partial, os.path.realpath(path))
        finally:
            try:
                partial.unlink(missing_ok=True)
            except KeyboardInterrupt:  # Ctrl-C once more, before it was removed
                partial.unlink(missing_ok=True)
                raise
        if hasattr(os, "O_DIRECTORY"):  # makes the new name durable
            folder = os.open(partial.parent, os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_replaceable(path: Path) -> None:
    """Raise if a file cannot be replaced.

    Stale partial files, which killed processes leave behind, are removed.

    Raises:
        OSError: there is no such folder, the path is a folder, or it may not be written.
    """
    partial = _partial(path)
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    if partial is not None:
        partial.open("xb").close()
        partial.unlink()
        stem = partial.name.rsplit(".", 2)[0]
        for left in partial.parent.glob(f"{glob.escape(stem)}.*.partial"):
            with suppress(OSError):  # removed by another process, or owned by another user
                if left.stat().st_mtime < time.time() - LEFT_BEHIND:
                    left.unlink()


def _partial(path: Path) -> Path | None:
    """A new random name in the folder of a file; None for a device or a pipe."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    if path.exists() and not path.is_file():
        return None
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.partial")
