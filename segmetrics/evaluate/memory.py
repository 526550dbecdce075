"""How much memory there is."""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from pathlib import Path

#: Limits of containers, where Linux tells them (version 2 and 1 of control groups).
CONTAINER = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory() -> float:
    """Bytes that this process may use: of the machine, its container or ``ulimit``; or inf."""
    found = inf
    with suppress(ValueError, OSError, AttributeError):  # no POSIX
        found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in CONTAINER:
        with suppress(ValueError, OSError):  # "max", or there is none
            found = min(found, float(Path(path).read_text()))
    with suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found = found if limit == resource.RLIM_INFINITY else min(found, float(limit))
    return found
