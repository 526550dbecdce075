"""The inputs: forms of predictions, and masks with realistic shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

VOID = 255
FORMS = (
    "logits fp32",
    "logits fp32 channels-last",
    "logits bf16",
    "logits fp16",
    "logits fp32 at 1/8",
    "labels uint8",
    "labels int64",
    "binary fp32",
)
DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "uint8": torch.uint8,
    "int64": torch.int64,
}


@dataclass(frozen=True)
class Case:
    """One form of predictions, for C classes and a batch ``(N, H, W)``."""

    form: str
    classes: int
    size: tuple[int, int, int]

    @property
    def kind(self) -> str:
        """``logits``, ``labels`` or ``binary``."""
        return self.form.split()[0]

    @property
    def resized(self) -> bool:
        """Whether the logits have an eighth of the target's size."""
        return self.form.endswith("1/8")

    def __str__(self) -> str:
        return f"{self.form}, C = {self.classes}, {'×'.join(map(str, self.size))}"

    def inputs(self, device: str) -> tuple[Tensor, Tensor]:
        """``preds`` and ``target``: coherent regions, a twentieth void, most pixels right."""
        torch.manual_seed(0)
        n, height, width = self.size
        dtype = DTYPES[self.form.split()[1]]
        coarse = torch.randint(0, self.classes, (n, 1, -(-height // 40), -(-width // 40)))
        target = F.interpolate(coarse.float(), (height, width)).squeeze(1).to(device, torch.int64)
        wrong = torch.rand(target.shape, device=device) < 0.2
        void = torch.rand(target.shape, device=device) < 0.05
        if self.kind == "labels":
            preds = target.clone()
            preds[wrong] = torch.randint_like(preds, self.classes)[wrong]
            target[void] = VOID
            return preds.to(dtype), target.to(dtype)
        if self.kind == "binary":
            preds = torch.rand(target.shape, device=device)
            preds[~wrong] = (preds[~wrong] + target[~wrong]) / 2
            target[void] = VOID
            return preds.to(dtype), target
        shape = (n, self.classes, height, width)
        labels = target
        if self.resized:
            shape = (n, self.classes, -(-height // 8), -(-width // 8))
            labels = F.interpolate(target.unsqueeze(1).float(), shape[2:]).squeeze(1).long()
        logits = torch.empty(shape, device=device)
        for image, label in zip(logits, labels, strict=True):  # one by one, to take little memory
            image.normal_().scatter_(0, label.unsqueeze(0), 3.0)
        target[void] = VOID
        if self.form.endswith("channels-last"):
            logits = logits.contiguous(memory_format=torch.channels_last)
        return logits.to(dtype), target


def cases(classes: list[int], sizes: list[tuple[int, int, int]], only: str) -> list[Case]:
    """All cases whose form contains ``only``; binary has no number of classes."""
    return [
        Case(form, c, size)
        for c in classes
        for size in sizes
        for form in FORMS
        if only in form and (c == 2 or not form.startswith("binary"))
    ]
