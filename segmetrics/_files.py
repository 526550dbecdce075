"""Files that are replaced as a whole."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

#: Seconds after which a file that is being written is one that was left behind.
LEFT_BEHIND = 3600.0


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file under another name in its folder, then rename it.

    Whoever reads meanwhile sees the older file or the new one, and if writing fails the older one
    is as it was. Where the path is a link, what it leads to is replaced. A device or a pipe is
    written to.

    Raises:
        OSError: it cannot be written; ``filename`` is the path as it was given.
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
            partial.unlink(missing_ok=True)
        if hasattr(os, "O_DIRECTORY"):  # the new name is on the disk, too
            folder = os.open(partial.parent, os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_replaceable(path: Path) -> None:
    """Raise if a file could not be written.

    What was left behind by processes that were killed while they wrote it is removed.

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
            with suppress(OSError):  # another process removed it, or it belongs to another user
                if left.stat().st_mtime < time.time() - LEFT_BEHIND:
                    left.unlink()


def _partial(path: Path) -> Path | None:
    """A new name in the folder of a file, each time another; None for a device or a pipe."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    if path.exists() and not path.is_file():
        return None
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.partial")
