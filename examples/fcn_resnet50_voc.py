"""Train FCN-ResNet50 on PASCAL VOC 2012 (or on scenes drawn in its format) and score it.

    python examples/fcn_resnet50_voc.py

writes a small data set, scores the untrained network, trains it shortly and scores it again, in a
few minutes on two CPU cores. On the real data, with torchvision's weights, without training:

    python examples/fcn_resnet50_voc.py --data-root data --download \\
        --weights COCO_WITH_VOC_LABELS_V1 --max-steps 0
"""

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision import tv_tensors
from torchvision.datasets import VOCSegmentation, wrap_dataset_for_transforms_v2
from torchvision.models.resnet import Bottleneck
from torchvision.models.segmentation import FCN, FCN_ResNet50_Weights, fcn_resnet50
from torchvision.transforms import v2
from voc_scenes import VOID, write_scenes

from segmetrics import ConfusionMatrix, ImageScores, ProbabilityMetrics
from segmetrics.distributed import ExactDistributedSampler
from segmetrics.labels import VOC
from segmetrics.lightning import SegmentationCallback
from segmetrics.statistics import confidence_interval

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what torchvision's weights expect


class Segmenter(pl.LightningModule):
    """A torchvision FCN, trained with cross entropy and scored over the whole validation set."""

    def __init__(self, model: FCN, *, learning_rate: float = 1e-3, head_logits: bool = False):
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.learning_rate = learning_rate
        self.head_logits = head_logits
        self.images = ImageScores(VOC, upsample="bilinear")  # the head's logits, where asked for
        self.probabilities = ProbabilityMetrics(
            VOC, from_logits=True, upsample="bilinear", prefix="val/"
        )

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, masks = batch
        outputs = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = cross_entropy(outputs["out"], masks.squeeze(1), ignore_index=VOID)
        if "aux" in outputs:  # some weights bring an auxiliary head
            loss = loss + 0.5 * cross_entropy(outputs["aux"], masks.squeeze(1), ignore_index=VOID)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.learning_rate, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_validation_epoch_start(self) -> None:
        self.images.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor, list[str]]) -> dict[str, Tensor]:
        """What `SegmentationCallback` scores, logs and shows."""
        images, masks, names = batch
        logits, masks = self.logits(images), masks.squeeze(1)
        self.images.update(logits, masks, names)
        self.probabilities.update(logits, masks)
        return {"preds": logits, "target": masks}

    def on_validation_epoch_end(self) -> None:
        self.images.compute()  # on all devices, so that the first alone may look at images later
        self.log_dict(self.probabilities)
        self.reliability, _ = self.probabilities.plot()

    def logits(self, images: Tensor) -> Tensor:
        """`(N, 21, H, W)`, or as the head gives them, an eighth of that size."""
        images = images.contiguous(memory_format=torch.channels_last)
        if self.head_logits:
            return self.model.classifier(self.model.backbone(images)["out"])
        return self.model(images)["out"]


class VOCData(pl.LightningDataModule):
    """VOC 2012 below `root`: random crops to train on, whole images of any size to validate."""

    def __init__(
        self, root: Path, *, image_size: int, batch_size: int, workers: int, seed: int, source: str
    ):
        super().__init__()
        self.root = root
        self.image_size = image_size
        self.batch_size = batch_size
        self.workers = workers
        self.seed = seed
        self.source = source

    def prepare_data(self) -> None:
        if (self.root / "VOCdevkit").exists():
            return
        if self.source == "drawn":
            write_scenes(self.root)
        elif self.source == "downloaded":
            VOCSegmentation(self.root, download=True)

    def setup(self, stage: str) -> None:
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: VOID}
        crop = v2.RandomCrop(self.image_size, pad_if_needed=True, fill=fill)
        self.train = self.read("train", crop, v2.RandomHorizontalFlip())
        self.val = Named(self.read("val"))

    def read(self, split: str, *augmentations: v2.Transform) -> VOCSegmentation:
        dtypes = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
        transforms = v2.Compose(
            [
                v2.ToImage(),
                *augmentations,
                v2.ToDtype(dtypes, scale=True),
                v2.Normalize(MEAN, STD),
                v2.ToPureTensor(),
            ]
        )
        pairs = VOCSegmentation(self.root, image_set=split, transforms=transforms)
        return wrap_dataset_for_transforms_v2(pairs)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        processes, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = DistributedSampler(self.train, processes, rank, seed=self.seed)
        return DataLoader(
            self.train, self.batch_size, sampler=sampler, num_workers=self.workers, drop_last=True
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, str]]:
        processes, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = ExactDistributedSampler(self.val, processes, rank)
        if len(sampler) == 0:  # Lightning needs a batch from every process: one that counts nothing
            image, mask, _ = self.val[0]
            return DataLoader([(image, torch.full_like(mask, VOID), f"no image {rank}")])
        # One image a batch: padding images of different sizes would change what the network sees.
        return DataLoader(self.val, sampler=sampler, num_workers=self.workers)


class Named(Dataset[tuple[Tensor, Tensor, str]]):
    """The images and masks of a data set with the images' names."""

    def __init__(self, pairs: VOCSegmentation):
        self.pairs = pairs
        self.names = [Path(path).stem for path in pairs.images]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        image, mask = self.pairs[index]
        return image, mask, self.names[index]


def load_model(weights: str | None) -> FCN:
    """FCN-ResNet50 with weights of torchvision, from a checkpoint, or random ones."""
    if weights in FCN_ResNet50_Weights.__members__:
        return fcn_resnet50(weights=weights)
    if weights is None:
        model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=VOC.num_classes)
        # Every residual branch starts at zero, as torchvision's `zero_init_residual` does: from
        # random weights the short training would not get anywhere without it.
        for module in model.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        return model
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    state = checkpoint.get("state_dict", checkpoint)  # Lightning's, or the model's own
    state = {name.removeprefix("model."): value for name, value in state.items()}
    auxiliary = any(name.startswith("aux_classifier.") for name in state)
    model = fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=VOC.num_classes, aux_loss=auxiliary
    )
    model.load_state_dict(state)
    return model


def main() -> None:
    args = parse_arguments()
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    pl.seed_everything(args.seed, workers=True)
    args.output.mkdir(parents=True, exist_ok=True)

    data = VOCData(
        args.data_root or Path("runs/voc_scenes"),
        image_size=args.image_size,
        batch_size=args.batch_size,
        workers=args.workers,
        seed=args.seed,
        source="downloaded" if args.download else "given" if args.data_root else "drawn",
    )
    segmenter = Segmenter(
        load_model(args.weights), learning_rate=args.learning_rate, head_logits=args.head_logits
    )
    validation = SegmentationCallback(VOC, upsample="bilinear", image=0, name=2, mean=MEAN, std=STD)
    trainer = pl.Trainer(
        callbacks=validation,
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        use_distributed_sampler=False,  # it would score some images twice
        max_steps=args.max_steps,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_checkpointing=False,
        logger=[
            TensorBoardLogger(args.output, name="tensorboard", version=""),
            CSVLogger(args.output, name="csv", version=""),
        ],
    )

    scores = trainer.validate(segmenter, data, verbose=False)
    if args.max_steps:
        if trainer.is_global_zero:
            segmenter.reliability.savefig(args.output / "reliability_before.png")
        trainer.fit(segmenter, data)
        checkpoint = args.output / "model.ckpt"
        trainer.save_checkpoint(checkpoint, weights_only=True)
        # Score what was saved: while training, each process has BatchNorm statistics of its own.
        scores += trainer.validate(segmenter, data, ckpt_path=checkpoint, verbose=False)

    if trainer.is_global_zero:
        counts = validation.counts[0][:, :-1]  # the last column: pixels without a prediction
        ConfusionMatrix(VOC).plot(counts)[0].savefig(args.output / "confusion.png")
        write_counts(counts, args.output / "confusion.csv")
        segmenter.reliability.savefig(args.output / "reliability.png")
        print_scores(scores, counts)
        print_images(segmenter.images)
        print_files(args.output)


def write_counts(counts: Tensor, path: Path) -> None:
    """Write the confusion matrix: a row for each class of the target."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", *VOC.names])
        for name, row in zip(VOC.names, counts.tolist(), strict=True):
            writer.writerow([name, *row])


def print_scores(scores: list[dict[str, float]], counts: Tensor) -> None:
    """Print the scores of every class, before and after training if there was any."""
    before, after = scores[0], scores[-1]
    table = Table("class", title="Validation", show_footer=True)
    table.columns[0].footer = "mean"
    table.add_column("pixels", f"{counts.sum():,}", justify="right")
    if len(scores) > 1:
        table.add_column("IoU before", f"{before['val/mIoU']:.3f}", justify="right")
    table.add_column("IoU", f"{after['val/mIoU']:.3f}", justify="right")
    table.add_column("Dice", f"{after['val/mDice']:.3f}", justify="right")
    for name, pixels in zip(VOC.names, counts.sum(1).tolist(), strict=True):
        cells = [f"{s[f'val/iou/{name}']:.3f}" for s in scores]
        table.add_row(name, f"{pixels:,}", *cells, f"{after[f'val/dice/{name}']:.3f}")
    Console().print(table)
    for key in ("mIoU", "ECE"):
        print(key, " -> ".join(f"{s[f'val/{key}']:.3f}" for s in scores))


def print_images(images: ImageScores) -> None:
    """Print how far the scores are chance, and which images are worst."""
    for score in ("mIoU_D", "mIoU_I", "mIoU_I_10"):
        print(confidence_interval(images, score))
    print("worst images", ", ".join(f"{name} {iou:.3f}" for name, iou in images.worst(5)))


def print_files(output: Path) -> None:
    """Print where everything is."""
    print("confusion matrix  ", output / "confusion.png")
    print("its counts        ", output / "confusion.csv")
    print("reliability       ", output / "reliability.png")
    print("all scores        ", output / "csv" / "metrics.csv")
    print("TensorBoard        tensorboard --logdir", output / "tensorboard")
    if (checkpoint := output / "model.ckpt").exists():
        print("weights           ", checkpoint)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data-root", type=Path, help="folder with VOCdevkit; without it, scenes are drawn")
    add("--download", action="store_true", help="fetch VOC 2012 into --data-root if not there")
    add("--weights", help="torchvision's name of weights, or a checkpoint; default: random")
    add("--devices", type=int, default=1, help="number of processes, each with a GPU if there are")
    add("--head-logits", action="store_true", help="score the logits at stride 8")
    add("--max-steps", type=int, default=40, help="training steps; 0 only scores")
    add("--image-size", type=int, default=64, help="side of the crops to train on, in pixels")
    add("--batch-size", type=int, default=8, help="crops in a batch of each process")
    add("--learning-rate", type=float, default=1e-3, help="the highest of the one-cycle schedule")
    add("--workers", type=int, default=0, help="processes that load data, for each device")
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path("runs/fcn_resnet50_voc"))
    args = parser.parse_args()
    if args.download and not args.data_root:
        parser.error("--download needs --data-root, the folder to fetch VOC 2012 into")
    names = FCN_ResNet50_Weights.__members__
    if args.weights and args.weights not in names and not Path(args.weights).is_file():
        parser.error(f"--weights {args.weights}: neither a file nor one of {', '.join(names)}")
    return args


if __name__ == "__main__":
    main()
