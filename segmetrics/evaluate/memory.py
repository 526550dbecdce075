"""Available memory."""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from pathlib import Path

#: Files with the limits of containers (cgroups, versions 2 and 1).
CONTAINER = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory() -> float:
    """The bytes that this process may use, by machine, container and ``ulimit``; or inf."""
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
