"""Figures: confusion matrices, scores of classes, distributions of the scores of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 30  # the most classes for which cells have room for numbers


def bars(
    scores: Tensor,
    names: Sequence[str],
    *,
    title: str,
    line: tuple[str, float] | None = None,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Scores in [0, 1] as horizontal bars, the best on top; undefined ones are left out.

    ``line`` is a name and a value that is drawn across, unless it is undefined.
    """
    rows = [(s, n) for s, n in zip(scores.tolist(), names, strict=True) if s == s]
    rows.sort()
    figure, ax = _axes(ax, (6.0, 1.0 + 0.24 * len(rows)))
    drawn = ax.barh([name for _, name in rows], [score for score, _ in rows], color="#4477aa")
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # hides the line behind it
    ax.bar_label(drawn, fmt="%.3f", padding=3, fontsize="small", bbox=plate)
    if line is not None and line[1] == line[1]:
        name, value = line
        ax.axvline(value, color="#bb5566", linestyle="--", zorder=0.5, label=f"{name} {value:.3f}")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, frameon=False)
    ax.set_xlim(0, 1.1)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def heat_map(
    matrix: Tensor,
    names: Sequence[str],
    *,
    title: str,
    colours: str = "share of the target",
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """A confusion matrix ``(C, C)`` as an annotated heat map.

    Shares are coloured by their value, and ``colours`` is the label of the colour bar. Counts are
    coloured by their share of the row, so that rare classes are as visible as frequent ones.
    """
    classes = len(matrix)
    annotated = classes <= ANNOTATED
    cell = 0.42 if annotated else 0.13
    side = cell * classes
    figure, ax = _axes(ax, (side + 2.6, side + 1.4))
    shares = matrix.double().cpu()
    if not matrix.is_floating_point():
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    image = ax.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    ticks = range(classes)
    size = 9 if annotated else 5
    upright = max(map(len, names)) * size > 120 * cell
    ax.set_xticks(ticks, names, rotation=90 if upright else 0, fontsize=size)
    ax.set_yticks(ticks, names, fontsize=size)
    ax.set_xlabel("prediction")
    ax.set_ylabel("target")
    ax.set_title(title)
    if annotated:
        for row, values in enumerate(matrix.tolist()):
            for column, value in enumerate(values):
                text = ax.text(column, row, short(value), ha="center", va="center", fontsize=7)
                text.set_color("white" if shares[row, column] > 0.5 else "black")
    bar = ax.inset_axes((1 + 0.15 / side, 0, 0.2 / side, 1))  # as high as the matrix
    figure.colorbar(image, cax=bar, label=colours)
    return figure, ax


def histogram(
    values: Tensor, worst: Sequence[tuple[object, float]], *, ax: Axes | None = None
) -> tuple[Figure, Axes]:
    """A histogram of the images' mean IoU with its mean; the worst images are listed next to it."""
    figure, ax = _axes(ax, (7.5, 4.0))
    values = values[~values.isnan()]
    ax.hist(values.numpy(), bins=20, range=(0, 1), color="#4477aa", edgecolor="white")
    if len(values):
        mean = values.mean().item()
        ax.axvline(mean, color="#bb5566", linestyle="--")
        ax.set_title(f"{len(values)} images, mean {mean:.3f}")
    lines = [f"{value:.3f}  {image}" for image, value in worst]
    text = "\n".join(["worst images", *lines])
    ax.text(1.03, 1.0, text, transform=ax.transAxes, va="top", fontsize="small")
    ax.set_xlim(0, 1)
    ax.set_xlabel("mIoU of an image")
    ax.set_ylabel("images")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def lines(
    curves: Sequence[tuple[str, Tensor, Tensor]],
    axes: tuple[str, str],
    *,
    title: str,
    guide: bool = False,
    points: Sequence[tuple[float, float]] = (),
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Curves in the unit square, each with a name; undefined ones are left out.

    ``axes`` are the labels of both axes, ``guide`` draws the diagonal, ``points`` are marked.
    """
    figure, ax = _axes(ax, (5.5, 5.0))
    for name, x, y in curves:
        if not (x.isnan().any() or y.isnan().any()):
            ax.plot(x.cpu().numpy(), y.cpu().numpy(), label=name)
    if guide:
        ax.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    for x_at, y_at in points:
        ax.plot([x_at], [y_at], "o", color="#bb5566")
    if len(ax.get_legend_handles_labels()[0]):
        ax.legend(fontsize="small", frameon=False)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def reliability(
    pixels: Tensor,
    confidence: Tensor,
    accuracy: Tensor,
    axes: tuple[str, str],
    title: str,
    *,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Accuracy over confidence of bins ``(n,)``, with their gaps and their shares of the pixels."""
    figure, ax = _axes(ax, (5.5, 5.0))
    held = pixels > 0
    x, y = (part[held].cpu().numpy() for part in (confidence, accuracy))
    share = (pixels[held] / pixels.sum()).cpu().numpy()
    ax.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    ax.bar(x, share, width=0.02, color="#bbbbbb", label="share of the pixels")
    ax.vlines(x, x.clip(max=y), x.clip(min=y), color="#bb5566", linewidth=2, label="gap")
    ax.plot(x, y, "o-", color="#4477aa")
    ax.legend(fontsize="small", frameon=False, loc="upper left")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
    ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def row_of_axes(number: int, given: Sequence[Axes] | None) -> Sequence[Axes]:
    """Axes in a row: those given, or those of a new figure."""
    if number < 1:
        raise ValueError("`val` must hold at least one value to plot, got none.")
    if given is not None:
        if not isinstance(given, Iterable) or len(given) != number:
            raise ValueError(f"`ax` must be {number} axes, one for each of `val`.")
        return given
    pyplot = _pyplot()
    size = (6.0 * number, 5.0)
    axes: Sequence[Axes] = pyplot.subplots(
        1, number, figsize=size, squeeze=False, layout="constrained"
    )[1][0]
    return axes


def short(value: float) -> str:
    """A count or share in few characters: 12, 3.4k, 56M, .07; empty for 0."""
    if value < 1:
        return f"{value:.2f}".lstrip("0") if value >= 0.005 else ""
    power = 0
    while value >= 999.5:
        value, power = value / 1000, power + 1
    digits = 1 if power and value < 9.95 else 0
    return f"{value:.{digits}f}{' kMGTPE'[power]}".rstrip()


def _axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """The axes given, in their figure, or those of a new figure of a size in inches."""
    if ax is not None:
        return ax.get_figure(root=True), ax  # type: ignore[return-value]  # it has a figure
    return _pyplot().subplots(figsize=size, layout="constrained")  # type: ignore[no-any-return]


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "`plot` needs matplotlib. Install it with `pip install segmetrics[plot]`."
        ) from error
    return plt
