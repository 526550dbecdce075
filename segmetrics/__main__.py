"""``segmetrics`` and ``python -m segmetrics``: the command, also for ``torchrun -m``."""

import os
import signal
import sys

BAD_INPUT, INTERRUPTED = 2, 130
#: numba imports it with the first kernel if SciPy is installed, for matrix products. The import
#: takes as long as NumPy's, and no kernel of ours multiplies matrices.
BLAS = "scipy.linalg.cython_blas"


def main() -> None:
    """Run the command. Ctrl-C ends it without a traceback, also during imports."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    if unloaded := BLAS not in sys.modules:
        sys.modules[BLAS] = None  # type: ignore[assignment]  # makes the import fail
    import numba.np.arraymath  # noqa: F401  # tries the import

    if unloaded:
        del sys.modules[BLAS]
    try:
        from segmetrics.evaluate.command import app
    except ModuleNotFoundError as error:
        install = "Install it with `pip install segmetrics[cli]`."
        print(f"error: the command needs {error.name}. {install}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from error

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
