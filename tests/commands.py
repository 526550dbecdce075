"""The command in several processes, as torchrun starts them, but forked from warm ones.

Imports little, as every process imports it anew.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from processes import IMPORTED_ONCE

#: Forks processes in which everything is imported; set before its first use.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [*IMPORTED_ONCE, "segmetrics.evaluate.command", "nibabel", "PIL.Image"]
)


def start(
    number: int,
    output: Path,
    *arguments: object,
    before: Callable[[], None] | None = None,
    environment: dict[str, object] | None = None,
) -> list[BaseProcess]:
    """Start the command in several processes; each writes to a file ``output.<rank>``.

    ``before`` is called in each of them first; ``environment`` is added to that of torchrun.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(number):
        torchrun: dict[str, object] = {}
        if number > 1:
            torchrun = {"RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
            torchrun |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        given = [str(argument) for argument in arguments], f"{output}.{rank}"
        values = {name: str(value) for name, value in (torchrun | (environment or {})).items()}
        started.append(SERVER.Process(target=_work, args=(*given, values, before)))
        started[-1].start()
    return started


def finish(processes: list[BaseProcess], seconds: float = 60) -> list[int | None]:
    """The exit statuses of processes, none of which may hang."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
    assert not hung
    return [process.exitcode for process in processes]


def limit_files() -> None:
    """Make writes of more than 4,096 bytes to a file fail, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def limit_memory() -> None:
    """Limit the memory to 8 GiB."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))


def use_threads() -> None:
    """Count in threads, as on systems without fork."""
    from segmetrics.evaluate import workers

    workers.FORKS = False


def interrupt_twice() -> None:
    """Press Ctrl-C before an output is renamed, and again before its partial file is removed."""
    events = ["os.rename", "os.remove"]

    def interrupt(event: str, arguments: tuple[object, ...]) -> None:
        if event in events[:1] and str(arguments[0]).endswith(".partial"):
            events.pop(0)
            signal.raise_signal(signal.SIGINT)

    sys.addaudithook(interrupt)


def _work(
    arguments: list[str],
    output: str,
    environment: dict[str, str],
    before: Callable[[], None] | None,
) -> None:
    os.environ.update(environment)
    if before is not None:
        before()
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        from segmetrics.evaluate.command import app

        app(["evaluate", *arguments])
