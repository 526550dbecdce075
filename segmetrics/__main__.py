"""``segmetrics`` and ``python -m segmetrics``: the command, also for ``torchrun -m``."""

import gc
import os
import signal
import sys

BAD_INPUT, INTERRUPTED = 2, 130
#: What numba imports if it is installed: for products of matrices, C functions, and coverage of
#: tests. Together they take longer than NumPy, and no kernel of ours needs them.
UNUSED = ("scipy.linalg.cython_blas", "cffi", "coverage")


def main() -> None:
    """Run the command. Ctrl-C ends it without a traceback, also during imports."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of a second
    unused = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unused))  # type: ignore[arg-type]  # makes the imports fail
    try:
        import numba.core.typing.cffi_utils  # tries them, as the next one
        import numba.np.arraymath  # noqa: F401

        for name in unused:
            del sys.modules[name]
        from segmetrics.evaluate.command import app
    except ModuleNotFoundError as error:
        install = "Install it with `pip install segmetrics[cli]`."
        print(f"error: the command needs {error.name}. {install}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error

    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, _interrupt)
    app()


def _interrupt(*_: object) -> None:
    """End the command in order; on a second Ctrl-C at once, as threads may take a while."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
