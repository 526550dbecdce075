"""Figures: a confusion matrix as a heat map, scores of classes as sorted bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 30  # more classes than this leave no room for numbers in the cells


def bars(
    scores: Tensor,
    names: Sequence[str],
    *,
    title: str,
    mean: float | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """Scores of classes ``(C,)`` as horizontal bars, the best on top; undefined ones are left out.

    ``mean`` is drawn as a line across.
    """
    rows = [(s, n) for s, n in zip(scores.tolist(), names, strict=True) if s == s]
    rows.sort()
    figure, ax = _axes(ax, (6.0, 1.2 + 0.24 * len(rows)))
    drawn = ax.barh([name for _, name in rows], [score for score, _ in rows], color="#4477aa")
    ax.bar_label(drawn, fmt="%.3f", padding=3, fontsize="small")
    if mean is not None and mean == mean:
        ax.axvline(mean, color="#bb5566", linestyle="--", label=f"mean {mean:.3f}")
        ax.legend(loc="lower right", frameon=False)
    low, high = limits
    ax.set_xlim(low, high + 0.08 * (high - low))
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure, ax


def heat_map(
    matrix: Tensor,
    names: Sequence[str],
    *,
    title: str,
    ax: Axes | None = None,
) -> tuple[Figure, Axes]:
    """A confusion matrix ``(C, C)``, counts or shares, as an annotated heat map.

    Colours are shares of the row, so that a rare class is seen as well as a frequent one.
    """
    classes = len(matrix)
    side = 2.2 + 0.42 * min(classes, 60)
    figure, ax = _axes(ax, (side + 0.8, side))
    shares = matrix.double() / matrix.double().sum(1, keepdim=True).clamp(min=1e-300)
    image = ax.imshow(shares.cpu().numpy(), cmap="Blues", vmin=0, vmax=1)
    ticks = range(classes)
    size = 9 if classes <= ANNOTATED else 5
    ax.set_xticks(ticks, names, rotation=90, fontsize=size)
    ax.set_yticks(ticks, names, fontsize=size)
    ax.set_xlabel("prediction")
    ax.set_ylabel("target")
    ax.set_title(title)
    if classes <= ANNOTATED:
        for row in ticks:
            for column in ticks:
                value, share = matrix[row, column].item(), shares[row, column].item()
                if value:
                    color = "white" if share > 0.5 else "black"
                    text = short(value)
                    ax.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    figure.colorbar(image, ax=ax, label="share of the target", fraction=0.046, pad=0.04)
    figure.tight_layout()
    return figure, ax


def short(value: float) -> str:
    """A count or share in few characters: 12, 3.4k, 56M, .07."""
    if value < 1:
        return f"{value:.2f}".lstrip("0")
    if value < 1000:
        return f"{value:.0f}"
    power = min((len(f"{value:.0f}") - 1) // 3, 5)
    scaled = value / 1000**power
    return f"{scaled:.1f}"[:3].rstrip(".") + " kMGTP"[power]


def _axes(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    if ax is not None:
        return ax.get_figure(root=True), ax  # type: ignore[return-value]  # it stands in a figure
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "`plot` needs matplotlib. Install it with `pip install segmetrics[plot]`."
        ) from error
    return plt.subplots(figsize=size)
