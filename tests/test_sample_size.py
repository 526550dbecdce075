"""Sample sizes: populations whose answer is known, and what is refused."""

from math import ceil

import numpy as np
import pytest
import torch

from segmetrics.statistics import ImageCounts, confidence_interval, sample_size, statistic


def of_values(values: np.ndarray) -> ImageCounts:
    """Images with the given IoU, in ten thousandths, of one class."""
    tp = torch.from_numpy(np.round(10_000 * values).astype(np.int64))[:, None]
    return ImageCounts(tp, 0 * tp, 10_000 - tp)


def population(images: int, seed: int) -> ImageCounts:
    """Three classes of varying size; an image's quality is shared by its classes."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(6, 0.5, (images, 3)).astype(np.int64) * (rng.random((images, 3)) < 0.7)
    quality = np.clip(rng.normal(0.7, 0.15, (images, 1)), 0.05, 0.95)
    tp = rng.binomial(size, quality)
    return ImageCounts(*map(torch.from_numpy, (tp, rng.binomial(size, 0.1), size - tp)))


def test_the_number_is_that_of_a_mean_whose_spread_is_known():
    held, numbers = 0, []
    true = (2 * 1.96 / 0.02) ** 2 / 12 * 0.6**2  # uniform on [0.3, 0.9]
    for seed in range(100):
        values = np.random.default_rng(seed).uniform(0.3, 0.9, 150)
        found = sample_size(of_values(values), "mIoU_I", 0.02, seed=seed, n_resamples=1000)
        held += found.low <= true <= found.high
        numbers.append(found.images)
    assert np.median(numbers) == pytest.approx(true, rel=0.05)
    assert held >= 88


@pytest.mark.parametrize("score", ["mIoU_D", "mIoU_I_10"])
def test_the_number_is_that_of_samples_of_a_population(score):
    """The spread over many large samples says how many images are needed."""
    values = []
    for seed in range(400):
        sample = population(500, seed)
        weights = torch.ones(1, 500, dtype=torch.float64)
        values.append(statistic(score, sample)(weights).item())
    true = 500 * (2 * 1.96 * np.std(values) / 0.03) ** 2
    found = [sample_size(population(300, 1000 + i), score, 0.03, seed=i) for i in range(60)]
    assert np.median([f.images for f in found]) == pytest.approx(true, rel=0.2)
    assert np.mean([f.low <= true <= f.high for f in found]) >= 0.8


def test_an_interval_of_that_many_images_is_that_wide():
    pilot = population(200, 0)
    found = sample_size(pilot, width=0.03)
    assert found.low < found.images < found.high
    interval = confidence_interval(population(found.images, 1))
    assert interval.high - interval.low == pytest.approx(0.03, rel=0.15)
    now = confidence_interval(pilot)
    assert found.width_now == pytest.approx(now.high - now.low, rel=0.1)


def test_half_the_width_needs_four_times_the_images():
    pilot = population(200, 0)
    wide, narrow = (sample_size(pilot, width=width) for width in (0.04, 0.02))
    assert narrow.images == pytest.approx(4 * wide.images, rel=0.01)
    assert sample_size(pilot, level=0.99).images > narrow.images


def test_a_pilot_that_a_handful_of_images_decides_says_little():
    values = np.full(200, 0.8)
    values[:3] = 0.1
    few = sample_size(of_values(values), "mIoU_I", 0.01)
    many = sample_size(of_values(np.random.default_rng(0).uniform(0.7, 0.9, 200)), "mIoU_I", 0.01)
    assert few.high / few.low > 3 > 1.5 > many.high / many.low


def test_few_resamples_make_the_number_less_sure():
    pilot = population(200, 0)
    few, many = (sample_size(pilot, n_resamples=n) for n in (50, 2000))
    assert few.high / few.low > 1.3 * many.high / many.low


def test_an_interval_needs_two_images_however_wide_it_is():
    found = sample_size(population(50, 0), width=100)
    assert (found.low, found.images, found.high) == (2, 2, 2)


def test_groups_are_counted_as_one():
    alone = population(60, 0)
    copies = alone.images(torch.arange(60).repeat(4))
    groups = [i % 60 for i in range(240)]
    found = sample_size(copies, groups=groups)
    expected = sample_size(alone)
    assert found.groups == pytest.approx(expected.images, rel=0.1)
    assert found.images == pytest.approx(4 * (found.groups or 0), abs=4)
    assert f" in {found.groups:,} groups [" in str(found)


def test_it_prints_as_a_sentence():
    found = sample_size(population(200, 0), width=0.02)
    assert str(found) == (
        f"mIoU: {found.images:,} images [{found.low:,}, {found.high:,}] for a 95 % interval 0.02 "
        f"wide; 200 images give {found.width_now:.3f}"
    )
    assert ceil(found.images) == found.images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "`width` must be positive, got 0. For ± 0.01 pass `width=0.02`"),
        ({"width": float("nan")}, "`width` must be positive"),
        ({"score": "mIoU"}, "`score` must be"),
        ({"level": 95}, "pass `level=0.95`"),
        ({"groups": [0] * 50}, "at least two groups"),
    ],
)
def test_a_mistaken_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_size(population(50, 0), **arguments)


def test_a_pilot_without_spread_is_refused():
    with pytest.raises(
        ValueError, match="`score='mIoU_I'` does not vary over resamples of these 9"
    ):
        sample_size(of_values(np.full(9, 0.5)), "mIoU_I")
    zero = torch.zeros(5, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="does not vary"):
        sample_size(ImageCounts(zero, zero, zero))
    with pytest.raises(ValueError, match="at least two images, got 1"):
        sample_size(population(1, 0))
    values = np.linspace(0.3, 0.9, 100)
    values[1] = values[0]  # the worst image, twice
    with pytest.raises(ValueError, match="`score='mIoU_I_1'` is decided by too few of these 100"):
        sample_size(of_values(values), "mIoU_I_1")
