"""Loggers that take pictures: Weights & Biases, MLflow, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segmetrics.overlays import Picture

#: Logs pictures under a key, each with a caption; one picture may come without.
Board = Callable[[str, list[Picture], "list[str] | None", int], None]


def board_of(logger: Any) -> Board | None:
    """The function that logs pictures to a logger; ``None`` if it takes no pictures."""

    def weights_and_biases(
        key: str, pictures: list[Picture], captions: list[str] | None, step: int
    ) -> None:
        logger.log_image(key, pictures, step, **({"caption": captions} if captions else {}))

    def tensorboard(
        key: str, pictures: list[Picture], captions: list[str] | None, step: int
    ) -> None:
        for i, picture in enumerate(pictures, start=1):
            tag = f"{key}/{i}" if captions else key
            logger.experiment.add_image(tag, picture, step, dataformats="HWC")
        if captions:
            logger.experiment.add_text(key, _listed(captions), step)

    def mlflow(key: str, pictures: list[Picture], captions: list[str] | None, step: int) -> None:
        for i, picture in enumerate(pictures, start=1):
            name = f"{key}/{i}" if captions else key
            logger.experiment.log_image(logger.run_id, picture, key=name, step=step)
        if captions:
            logger.experiment.log_text(logger.run_id, _listed(captions), f"{key}/{step}.md")

    if hasattr(logger, "log_image"):
        return weights_and_biases
    if hasattr(logger, "run_id") and hasattr(logger.experiment, "log_image"):
        return mlflow
    return tensorboard if hasattr(logger.experiment, "add_image") else None


def _listed(captions: list[str]) -> str:
    """The captions as one text, for loggers whose pictures have none."""
    return "".join(f"{i}. {caption}\n" for i, caption in enumerate(captions, start=1))
