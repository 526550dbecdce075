"""``segmetrics`` and ``python -m segmetrics``: the command, also for ``torchrun -m``."""

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback, also while it is being loaded."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from segmetrics.evaluate.command import app

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
