"""The callback: the scores, the confusion matrix and the worst images of every epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from typing_extensions import Unpack

from segmetrics._arguments import boolean, integer, number
from segmetrics._help import explained
from segmetrics.labels import LabelSpace
from segmetrics.lightning.loggers import board_of
from segmetrics.lightning.pictures import (
    confusion_picture,
    drawn_figure,
    example_picture,
    label_maps,
)
from segmetrics.lightning.tally import Kept, Tally
from segmetrics.metrics import ProbabilityMetrics, SegmentationMetrics
from segmetrics.metrics.calibration import draw_bins
from segmetrics.metrics.probability import draw_dice
from segmetrics.overlays import Picture
from segmetrics.recipes import JointArguments
from segmetrics.report import Example

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:

    def _callback_base() -> type:
        """A base class that both ``pytorch_lightning`` and ``lightning.pytorch`` accept.

        Each package has a ``Callback`` of its own. With both installed, users may run either.
        """
        bases = []
        for package in ("pytorch_lightning", "lightning.pytorch"):
            with suppress(ModuleNotFoundError):
                bases.append(import_module(package).Callback)
        if not bases:
            raise ImportError(
                "`segmetrics.lightning` needs Lightning. Install it with "
                "`pip install segmetrics[lightning]`."
            )
        return type("Callback", tuple(bases), {})

    Callback = _callback_base()

#: How to get something from a batch: its key, its position, or a function of the batch.
Pick = str | int | Callable[[Any], Any]


@explained
class SegmentationCallback(Callback):
    """Log the scores of every validation, its confusion matrix and its worst images.

    For any LightningModule, of ``pytorch_lightning`` or ``lightning.pytorch``, whose
    ``validation_step`` returns ``{"preds": ..., "target": ...}``, and so for ``test_step``.

    Every epoch logs what :class:`~segmetrics.metrics.collection.SegmentationMetrics` computes:
    ``val/mIoU``, ``val/iou/<class>``, ... for all loggers, ``ModelCheckpoint(monitor="val/mIoU")``
    and ``EarlyStopping``. Scores are those of all devices together, by one all-reduce. With
    ``probabilities=True`` also the keys of ``ProbabilityMetrics``: ``val/ECE``, ``val/NLL``, ...;
    the step must then return scores, and ``from_logits`` matters for several classes, too.
    TensorBoard, Weights & Biases and MLflow also get pictures: ``val/confusion_matrix``, and as
    ``val/worst`` the worst images, by their mIoU as
    :class:`~segmetrics.metrics.image.ImageScores` defines it, each as image, target, prediction and
    errors (wrong pixels red, ignored ones grey).

    In epochs with pictures, each batch synchronizes with the device: it reads one score an image,
    then the images that are among the worst so far. Otherwise nothing waits for the device.

    With several dataloaders each has its own keys, ending in ``/dataloader_idx_0`` and so on. The
    sanity check before training runs all of this, so that mistakes show early, but logs nothing.

    Args:
        preds: the key of labels or scores in what the step returns.
        target: the key of the labels.
        image: how to get the images ``(N, 3, H, W)`` or ``(N, 1, H, W)`` from a batch: a key, a
            position, or a function of the batch. uint8 is shown as it is.
        name: how to get their names; by default images are numbered. An image that is repeated, as
            by Lightning's padding sampler, is shown once if it has a name.
        mean: the mean that normalisation subtracted from each channel.
        std: the standard deviation that it then divided each channel by.
        white: the value of white before normalisation, 1 or 255.
        worst: how many images are shown. An image without a counted pixel never is.
        max_side: larger images are shrunk until no side has more pixels.
        confusion_matrix: whether the matrix is drawn, by matplotlib.
        probabilities: whether calibration is measured, too; its diagram is drawn as
            ``val/reliability``, and of ``task="binary"`` the Dice score over the threshold as
            ``val/dice``, if the confusion matrix is drawn.
        every_n_epochs: in ``fit``, pictures are logged every so many epochs; in ``validate`` and
            ``test`` always.
        prefix: of all keys; by default ``"val/"``, in ``test`` ``"test/"``.
        aggregation_level: ``"global"``: the scores are those of the confusion matrix.
        task: ``"multiclass"`` or ``"binary"`` (the score of the foreground).

    Attributes:
        counts: the confusion matrix of the last epoch over all devices, one a dataloader: int64
            ``(C, C + 1)`` on the CPU, the last column abstentions.
        examples: the worst images of the last epoch with pictures, one list a dataloader, the worst
            first; ``segmetrics.report.write`` takes both.

    Raises:
        ImportError: matplotlib or both Lightning packages are missing.
        TypeError: an argument is of the wrong type; later, the step returns no such mapping.
        ValueError: an argument is out of range; later, a batch holds no such images.

    Example:
        >>> from pytorch_lightning import Trainer
        >>> from segmetrics.lightning import SegmentationCallback
        >>> callback = SegmentationCallback(
        ...     21,
        ...     ignore_index=255,
        ...     mean=(0.485, 0.456, 0.406),
        ...     std=(0.229, 0.224, 0.225),
        ...     every_n_epochs=5,
        ... )
        >>> trainer = Trainer(callbacks=callback, logger=False)
    """

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        preds: str = "preds",
        target: str = "target",
        image: Pick = 0,
        name: Pick | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        white: float = 1.0,
        worst: int = 4,
        max_side: int = 1024,
        confusion_matrix: bool = True,
        probabilities: bool = False,
        every_n_epochs: int = 1,
        prefix: str | None = None,
        class_names: Sequence[str] | None = None,
        per_class: bool = True,
        **counting: Unpack[JointArguments],
    ) -> None:
        if counting.get("task") == "multilabel":
            raise ValueError(
                "`task='multilabel'` has no one confusion matrix and no one colour a pixel. Log a "
                "`SegmentationMetrics(..., task='multilabel')` in the module instead."
            )
        if counting.get("aggregation_level", "global") != "global":
            raise ValueError(
                "`aggregation_level` must be 'global', as the confusion matrix is. Log a "
                "`SegmentationMetrics(..., aggregation_level='samplewise')` in the module."
            )
        metric = SegmentationMetrics(
            num_classes,
            class_names=class_names,
            per_class=per_class,
            sync_on_compute=False,  # scores and confusion matrix share one sync
            **counting,
        )
        if boolean("confusion_matrix", confusion_matrix) and not find_spec("matplotlib"):
            raise ImportError(  # before the first epoch
                "the confusion matrix is drawn by matplotlib. Install it with "
                "`pip install segmetrics[plot]`, or pass `confusion_matrix=False`."
            )
        if not isinstance(prefix, str | None):
            raise TypeError(f"`prefix` must be a string, got {prefix!r}.")
        self.preds, self.target = preds, target
        self.image, self.name = image, name
        self.mean, self.std = _normalisation(mean, std)
        self.white = number("white", white)
        if not self.white > 0:
            raise ValueError(f"`white` must be above 0, 1 or 255, got {white}.")
        self.worst = _at_least("worst", worst, 0)
        self.max_side = _at_least("max_side", max_side, 1)
        self.confusion_matrix = confusion_matrix
        self.every_n_epochs = _at_least("every_n_epochs", every_n_epochs, 1)
        self.prefix = prefix
        self.class_names = metric._names()
        self.space = (
            num_classes if isinstance(num_classes, LabelSpace) else LabelSpace(self.class_names)
        )
        self.counts: list[Tensor] = []
        self.examples: list[list[Example]] = []
        calibration = None
        if boolean("probabilities", probabilities):
            of_segments = ("include_background", "zero_division", "aggregation_level", "threshold")
            read_as: Any = {k: v for k, v in counting.items() if k not in of_segments}
            calibration = ProbabilityMetrics(num_classes, **read_as)
        self._tallies = [Tally(metric, calibration)]
        self._warned: set[str] = set()

    # --- what Lightning calls ---------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the previous epoch, or one that was interrupted."""
        del self._tallies[1:]
        self._tallies[0].reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch, and keep its images that are among the worst so far."""
        while len(self._tallies) <= dataloader_idx:
            self._tallies.append(self._tallies[0].another())
        tally = self._tallies[dataloader_idx]
        preds, target = self._returned(outputs, trainer, pl_module)
        if not (self.worst and self._pictures_are_due(trainer)):
            tally.count(preds, target)
            return
        scores = tally.count_each(preds, target)
        images, names = self._images(batch, len(scores)), self._names(batch, len(scores))
        for i, score in enumerate(scores):
            position, tally.seen = tally.seen, tally.seen + 1
            if tally.is_among_the_worst(score, self.worst):
                one = slice(i, i + 1)
                maps = label_maps(preds[one], target[one], tally.metric.counting)
                name = names[i] if names else f"image {position}{_of_process(trainer)}"
                example = self._example(name, score, images[i], maps)
                tally.keep(Kept(score, position, example), self.worst)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch."""
        pictures = self._pictures_are_due(trainer)
        counts = [tally.sync(pl_module.device) for tally in self._tallies]
        if pictures:
            examples = [self._worst_of_all(tally.kept, trainer) for tally in self._tallies]
        if trainer.sanity_checking:
            return
        self.counts = counts
        for tally, suffix in self._with_suffix():
            of_probabilities = () if tally.calibration is None else tally.calibration.items()
            for key, score in (*tally.metric.items(), *of_probabilities):
                # as a metric: Lightning averages plain values over devices, or complains.
                # It needs a name, as the metric is not an attribute of the module
                pl_module.log(
                    f"{self._prefix(trainer)}{key}{suffix}",
                    score,
                    metric_attribute=type(self).__name__,
                    add_dataloader_idx=False,
                )
        if pictures:
            self.examples = examples
            if trainer.is_global_zero:
                self._show(trainer)

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    # --- when pictures are logged, and under which key --------------------------------------------

    def _pictures_are_due(self, trainer: Trainer) -> bool:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        return not fitting or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _prefix(self, trainer: Trainer) -> str:
        if self.prefix is not None:
            return self.prefix
        return "test/" if trainer.testing else "val/"

    def _with_suffix(self) -> Iterator[tuple[Tally, str]]:
        """The tally of each dataloader, with the suffix that Lightning gives its keys."""
        several = len(self._tallies) > 1
        for i, tally in enumerate(self._tallies):
            yield tally, f"/dataloader_idx_{i}" if several else ""

    # --- what a step returns and a batch holds ----------------------------------------------------

    def _returned(
        self, outputs: Any, trainer: Trainer, pl_module: LightningModule
    ) -> tuple[Tensor, Tensor]:
        """Predictions and target of a step."""
        if isinstance(outputs, Mapping) and self.preds in outputs and self.target in outputs:
            return outputs[self.preds], outputs[self.target]
        step = "test_step" if trainer.testing else "validation_step"
        given = type(outputs).__name__ if outputs is not None else "nothing"
        if isinstance(outputs, Mapping):
            given = f"a mapping with {', '.join(map(repr, outputs)) or 'no key'}"
        raise TypeError(
            f"`{step}` of {type(pl_module).__name__} must return a mapping with {self.preds!r} and "
            f"{self.target!r}, got {given}. Return {{{self.preds!r}: logits, {self.target!r}: "
            "masks}, or name other keys by `preds` and `target` of the callback."
        )

    def _images(self, batch: Any, number: int) -> Tensor:
        images = _picked("image", self.image, batch)
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
            given = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(
                f"`image={self.image!r}` must be images (N, 3, H, W) or (N, 1, H, W), got {given}. "
                "Name their key or position, or pass a function of the batch that gives them so; "
                "`worst=0` shows none."
            )
        if len(images) != number:
            raise ValueError(f"`image` gave {len(images)} images for {number} masks.")
        return images

    def _names(self, batch: Any, number: int) -> list[str] | None:
        if self.name is None:
            return None
        picked = _picked("name", self.name, batch)
        names = [picked] if isinstance(picked, str) else list(picked)
        if len(names) != number:
            raise ValueError(f"`name` gave {len(names)} names for {number} masks.")
        return [str(name.item() if isinstance(name, Tensor) else name) for name in names]

    # --- the worst images -------------------------------------------------------------------------

    def _example(self, name: str, score: float, image: Tensor, maps: Tensor) -> Example:
        """An image with its label maps as they are shown, on the CPU."""
        size = tuple(maps.shape[1:])
        if len(size) != 2:
            raise ValueError(
                f"`worst` shows masks (H, W), got {size}. Pass `worst=0` for volumes and points."
            )
        if (longest := max(size)) > self.max_side:
            size = tuple(max(1, round(side * self.max_side / longest)) for side in size)
            maps = interpolate(maps[None].float(), size, mode="nearest-exact")[0]
        target, preds = maps.to(torch.int16).cpu().numpy()
        return Example(name, score, target, preds, self._pixels(image, size))

    def _pixels(self, image: Tensor, size: tuple[int, ...]) -> Picture:
        """An image ``(channels, H, W)`` resized, as uint8 ``(H, W, 3)``."""
        levels = image.float() if image.dtype == torch.uint8 else self._levels(image.float())
        if tuple(levels.shape[1:]) != size:
            levels = interpolate(levels[None], size, mode="bilinear", antialias=True)[0]
        pixels = levels.round().clamp(0, 255).to(torch.uint8).expand(3, *size).movedim(0, -1)
        return pixels.cpu().contiguous().numpy()

    def _levels(self, image: Tensor) -> Tensor:
        """The image before normalisation, with black 0 and white 255."""
        if self.mean is not None and self.std is not None:
            mean, std = image.new_tensor(self.mean), image.new_tensor(self.std)
            if len(mean) not in (1, len(image)):
                raise ValueError(
                    f"`mean` and `std` must have one value a channel, {len(image)}, got "
                    f"{len(mean)}."
                )
            image = image * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
        lowest, highest = image.min().item(), image.max().item()
        if lowest < -0.05 * self.white or highest > 1.05 * self.white:
            self._warn_once(
                "images",
                f"`image` has values from {lowest:.3g} to {highest:.3g}: below black, which is 0, "
                f"or above white, {self.white:g}. They are clipped. Pass the `mean` and `std` of "
                "its normalisation, and `white=255` if white was 255.",
            )
        return image * (255 / self.white)

    def _worst_of_all(self, kept: list[Kept], trainer: Trainer) -> list[Example]:
        """The worst images over all processes, in every process.

        Scores are gathered, then only the worst images are broadcast. The earlier of equal scores
        comes first, as in one process that sees the same images in turn.
        """
        if trainer.world_size == 1 or not self.worst:
            return [each.example for each in kept]
        device = trainer.strategy.root_device
        rows = torch.full((self.worst, 2), inf, dtype=torch.float64, device=device)
        for row, each in zip(rows, kept, strict=False):
            row[0], row[1] = each.score, each.position
        gathered = trainer.strategy.all_gather(rows).view(-1, self.worst, 2).tolist()
        candidates = sorted(
            (score, position, rank, i)
            for rank, of_rank in enumerate(gathered)
            for i, (score, position) in enumerate(of_rank)
            if score < inf
        )
        worst: dict[str, Example] = {}  # by name, as a padding sampler repeats images
        for _, _, rank, i in candidates:
            if len(worst) == self.worst:
                break
            own = kept[i].example if rank == trainer.global_rank else None
            example: Any = trainer.strategy.broadcast(own, src=rank)
            worst.setdefault(example.name, example)
        return list(worst.values())

    # --- pictures ---------------------------------------------------------------------------------

    def _show(self, trainer: Trainer) -> None:
        """Log the pictures to all loggers that take pictures."""
        boards = [board for logger in trainer.loggers if (board := board_of(logger)) is not None]
        if not boards:
            if trainer.loggers:
                names = ", ".join(type(logger).__name__ for logger in trainer.loggers)
                self._warn_once(
                    "loggers",
                    f"{names} takes no pictures: the confusion matrix and the worst images are not "
                    "logged. Add a TensorBoardLogger, a WandbLogger or an MLFlowLogger, or "
                    "pass `worst=0` and `confusion_matrix=False`.",
                )
            return
        prefix = self._prefix(trainer)
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # as the scores are logged
        for i, (tally, suffix) in enumerate(self._with_suffix()):
            if self.confusion_matrix:
                picture = confusion_picture(self.counts[i][:, :-1], self.class_names)
                for board in boards:
                    board(f"{prefix}confusion_matrix{suffix}", [picture], None, step)
            if self.confusion_matrix and tally.calibration is not None and tally.bins:
                read_as, found = tally.calibration.counting, tally.calibration.compute()
                title = f"ECE {found['ECE']:.4f}"
                drawn = {
                    "reliability": draw_bins(tally.bins, read_as, self.class_names, title, None)
                }
                if tally.dice is not None:
                    best = found["best_threshold"].item(), found["best_dice"].item()
                    drawn["dice"] = draw_dice(*tally.dice, best)
                for board in boards:
                    for name, (figure, _) in drawn.items():
                        board(f"{prefix}{name}{suffix}", [drawn_figure(figure)], None, step)
            if self.examples[i]:
                score = next(iter(tally.metric.recipes))
                captions = [f"{e.name}: {score} {e.score:.3f}" for e in self.examples[i]]
                pictures = [example_picture(example, self.space) for example in self.examples[i]]
                for board in boards:
                    board(f"{prefix}worst{suffix}", pictures, captions, step)

    def _warn_once(self, subject: str, message: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(message, stacklevel=2)


def _of_process(trainer: Trainer) -> str:
    return f" of process {trainer.global_rank}" if trainer.world_size > 1 else ""


def _picked(argument: str, pick: Pick, batch: Any) -> Any:
    if callable(pick):
        return pick(batch)
    try:
        return batch[pick]
    except (IndexError, KeyError, TypeError) as error:
        holds = type(batch).__name__
        if isinstance(batch, Mapping):
            holds += f" with {', '.join(map(repr, batch))}"
        elif isinstance(batch, Sequence):
            holds += f" of {len(batch)}"
        raise ValueError(
            f"`{argument}={pick!r}` is not in the batch, a {holds}. Pass a key, a position, or a "
            "function of the batch."
        ) from error


def _normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    if mean is None and std is None:
        return None, None
    if mean is None or std is None or len(mean) != len(std):
        raise ValueError(
            f"`mean` and `std` must be given both, one value a channel, got {mean} and {std}."
        )
    return tuple(number("mean", m) for m in mean), tuple(number("std", s) for s in std)


def _at_least(name: str, value: int, least: int) -> int:
    if integer(name, value) < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    return value
