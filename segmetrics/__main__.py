"""``python -m segmetrics``: the command, also for ``torchrun -m``."""

from segmetrics.evaluate.command import app

if __name__ == "__main__":
    app()
