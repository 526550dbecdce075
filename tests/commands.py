"""The command in processes of its own, started as torchrun starts them, but from warm ones.

Imports little, as every process imports it anew.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from processes import IMPORTED_ONCE

#: Forks processes that have imported all; set before anything starts it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [*IMPORTED_ONCE, "segmetrics.evaluate.command", "nibabel", "PIL.Image"]
)


def start(number: int, output: Path, *arguments: object) -> list[BaseProcess]:
    """Start the command in so many processes; each writes to a file ``output.<rank>``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(number):
        environment = {}
        if number > 1:
            environment = {"RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        given = [str(argument) for argument in arguments], f"{output}.{rank}"
        values = {name: str(value) for name, value in environment.items()}
        started.append(SERVER.Process(target=_work, args=(*given, values)))
        started[-1].start()
    return started


def finish(processes: list[BaseProcess], seconds: float = 60) -> list[int | None]:
    """Their exit statuses; none may hang."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
    assert not hung
    return [process.exitcode for process in processes]


def _work(arguments: list[str], output: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        from segmetrics.evaluate.command import app

        app(["evaluate", *arguments])
