"""Conventions: every row against loops, the keys against ``ImageScores``, and how orders change."""

import math

import numpy as np
import pytest
import torch

import longhand
from segmetrics.statistics import ImageCounts, all_scores, conventions

FILLS = {"left out": math.nan, "0": 0.0, "1": 1.0}


def drawn(images: int = 20, classes: int = 4, seed: int = 0, **settings: object) -> ImageCounts:
    """Images of which some show nothing, and a class that is only predicted."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 40, (images, classes)) * (rng.random((images, classes)) < 0.4)
    size[:3] = size[:, 3] = 0
    tp = rng.binomial(size, 0.7)
    fp = rng.binomial(20, 0.2, size.shape) * (rng.random(size.shape) < 0.3)
    fp[0] = 0
    return ImageCounts(*map(torch.from_numpy, (tp, fp, size - tp)), **settings)  # type: ignore[arg-type]


def by_hand(counts: ImageCounts, kind: str, row) -> float:
    """One convention in loops over images and classes."""
    images = torch.stack([counts.tp, counts.fp, counts.fn], -1).tolist()
    classes = [c for c in range(counts.tp.shape[1]) if c not in counts.ignored]
    if row.over == "pooled":
        images = [[[sum(image[c][k] for image in images) for k in range(3)] for c in range(4)]]

    def score(tp: int, fp: int, fn: int) -> float:
        there = tp + fn > 0 or (row.presence == "either" and fp > 0)
        value = longhand.score_of(kind, tp, fp, fn) if there else math.nan
        return FILLS[row.absent] if math.isnan(value) else value

    scores = [[score(*image[c]) for c in classes] for image in images]
    if row.over == "per class":
        return longhand.mean([longhand.mean(list(column)) for column in zip(*scores, strict=True)])
    means = [longhand.mean(image) for image in scores]
    empty = FILLS[row.empty_image or "left out"]
    return longhand.mean([empty if math.isnan(mean) else mean for mean in means])


@pytest.mark.parametrize("kind", ["IoU", "Dice", "Acc"])
@pytest.mark.parametrize("ignored", [(), (1,)])
def test_every_convention_is_what_loops_give(kind, ignored):
    counts = drawn(ignored=ignored)
    table = conventions(counts, kind)
    assert len(table.rows) == len(
        {(r.over, r.presence, r.absent, r.empty_image) for r in table.rows}
    )
    assert len(table.rows) == 6 + 10 + 6
    for row in table.rows:
        assert row.values[0] == pytest.approx(by_hand(counts, kind, row)), row


@pytest.mark.parametrize("presence", ["target", "either"])
@pytest.mark.parametrize("kind", ["IoU", "Dice", "Acc"])
def test_a_row_with_a_key_has_the_value_of_image_scores(kind, presence):
    counts = drawn(presence=presence)
    expected = all_scores(counts, torch.ones(len(counts)))
    found = [
        (row.key, row.values[0])
        for row in conventions(counts, kind).rows
        if row.key and (row.presence == presence or row.over == "pooled")
    ]
    assert [key for key, _ in found] == [f"m{kind}_D", f"m{kind}_I", f"m{kind}_C"]
    for key, value in found:
        assert value == pytest.approx(expected[key].item())


def test_a_convention_alone_can_turn_the_order_round():
    # five images with a lesion and five without; "bold" finds more, and more that is not there
    size = torch.tensor([[100]] * 5 + [[0]] * 5)
    bold, shy = size * 9 // 10, size * 7 // 10
    false = torch.tensor([[0]] * 5 + [[10]] * 5)
    models = {
        "bold": ImageCounts(bold, false, size - bold),
        "shy": ImageCounts(shy, 0 * false, size - shy),
    }
    table = conventions(models, "Dice")
    ranks = {(row.over, row.presence, row.absent, row.empty_image): row.ranks for row in table.rows}
    assert ranks["per image", "target", "left out", "left out"] == (1, 2)
    assert ranks["per image", "either", "left out", "1"] == (2, 1)
    assert set(table.orders) == {("bold", "shy"), ("shy", "bold")}
    assert sum(table.orders.values()) == len(table.rows)
    assert sorted(table.orders.values(), reverse=True) == [*table.orders.values()]
    assert len(set(table.orders.values())) == 2
    text = str(table)
    assert text.startswith("mean Dice by convention\n")
    assert f"  bold, shy: {table.orders['bold', 'shy']}" in text
    columns = table.columns()
    assert columns["bold rank"] == [row.ranks[0] for row in table.rows]
    assert len(columns["over"]) == len(table.rows)


def test_equal_models_share_a_rank():
    table = conventions({"a": drawn(), "b": drawn()})
    assert {row.ranks for row in table.rows} == {(1, 1)}


def test_a_model_without_a_score_has_the_worst_rank():
    """No target has the class: only the model that predicts it has a score where that counts."""
    none = torch.zeros(2, 1, dtype=torch.int64)
    table = conventions(
        {"none": ImageCounts(none, none, none), "false": ImageCounts(none, none + 5, none)}, "Dice"
    )
    ranks = {(row.over, row.presence, row.absent): row.ranks for row in table.rows}
    assert ranks["pooled", "either", "left out"] == (2, 1)


def test_one_model_has_no_ranks():
    table = conventions(drawn())
    assert "mIoU" in table.columns()
    assert "mIoU rank" not in table.columns()
    assert "orders" not in str(table)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="`score` must be one of 'IoU', 'Dice', 'Acc'"):
        conventions(drawn(), "mIoU_D")
    with pytest.raises(ValueError, match="`models` must be at least two, got 1"):
        conventions({"a": drawn()})
    with pytest.raises(ValueError, match=r"`models\['a'\]` and `models\['b'\]` saw different"):
        conventions({"a": drawn(), "b": drawn(seed=1)})
    with pytest.raises(ValueError, match="must hold images"):
        conventions(drawn().images(torch.arange(0)))
