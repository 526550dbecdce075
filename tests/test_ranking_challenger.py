"""Rankings of challengeR's documented example, against what challengeR 1.0.5 computes of it.

challengeR: Wiesenfarth et al., Scientific Reports 11 (2021), github.com/wiesenfa/challengeR. Its
README draws the example by R's generator, as is done here again; the figures are those of its
functions on its ``data_matrix.csv``, which holds the same numbers, run in R 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtri
from torch import Tensor

from segmetrics.statistics import ImageId, Ranking, Resampled, Statistic, mean_of, ranking

#: ``aggregateThenRank(FUN = mean)``, ``rankThenAggregate(FUN = mean)``, both with ties "min".
MEANS = {
    "c_ideal": [0.95167613413464280, 0.84496662056511274, 0.74168877913337194,
                0.64475017464137629, 0.54236103901588362],
    "c_random": [0.80467995750707677, 0.79752129597162913, 0.76148075545286176,
                 0.78840668477337095, 0.76974137309605706],
    "c_worstcase": [0.9] * 5,
}  # fmt: skip
RANKS = {"c_ideal": [1, 2, 3, 4, 5], "c_random": [1, 2, 5, 3, 4], "c_worstcase": [1] * 5}
MEAN_RANKS = {
    "c_ideal": [1, 2, 3, 4, 5],
    "c_random": [2.72, 2.96, 3.32, 2.88, 3.12],
    "c_worstcase": [3] * 5,
}
RANKS_OF_MEAN_RANKS = {"c_ideal": RANKS["c_ideal"], "c_random": [1, 3, 5, 2, 4],
                       "c_worstcase": [1] * 5}  # fmt: skip
#: ``bootstrap(nboot = 1000)``: the shares of resamples of c_random in which A1 ... has rank 1 ...
SHARES = [
    [0.519, 0.254, 0.148, 0.069, 0.010],
    [0.274, 0.364, 0.232, 0.094, 0.036],
    [0.007, 0.037, 0.115, 0.329, 0.512],
    [0.158, 0.234, 0.319, 0.216, 0.073],
    [0.042, 0.111, 0.186, 0.292, 0.369],
]
#: and Kendall's tau of the ranking of c_random to those of the resamples.
TAU, TAU_LOW, TAU_HIGH = 0.5442, 0.0, 1.0


class R:
    """R's default generator: Mersenne Twister, normal numbers by inversion."""

    def __init__(self, seed: int) -> None:
        key = []
        for i in range(675):
            seed = (69069 * seed + 1) % 2**32
            if i > 50:  # the first number of the state is the place in it
                key.append(seed)
        self.twister = np.random.RandomState()
        self.twister.set_state(("MT19937", np.array(key, np.uint32), 624))

    def runif(self, number: int, low: float = 0, high: float = 1) -> np.ndarray:
        bits = self.twister.randint(0, 2**32, number, dtype=np.uint64)
        return low + (high - low) * (bits * 2.3283064365386963e-10)

    def rnorm(self, number: int) -> np.ndarray:
        first, second = self.runif(2 * number).reshape(number, 2).T
        big = 134217728
        return ndtri((np.floor(big * first) + second) / big)


def example() -> dict[str, np.ndarray]:
    """The example of the README: values ``(cases, algorithms)`` by task."""
    ideal = R(4)
    ideal.runif(50)
    ends = ((0.9, 1), (0.8, 0.89), (0.7, 0.79), (0.6, 0.69), (0.5, 0.59))
    worst = [[0.8 + 0.05 * place for place in order] for order in permutations(range(5))]
    return {
        "c_ideal": np.stack([ideal.runif(50, low, high) for low, high in ends], 1),
        "c_random": expit(1.5 + R(1).rnorm(250)).reshape(5, 50).T,
        "c_worstcase": np.array(worst),
    }


@dataclass(frozen=True, eq=False)
class Values(Resampled):
    """A value an image."""

    value: Tensor
    ids: tuple[ImageId, ...] | None = None

    def keys(self) -> tuple[str, ...]:
        return ("value",)

    def statistic(self, score: str) -> Statistic:
        return mean_of(self.value.unsqueeze(1))

    def targets(self) -> Tensor:
        return self.value.new_zeros(len(self.value), 1)


def ranked(task: str, **options: object) -> Ranking:
    values = torch.from_numpy(example()[task])
    ids = tuple(range(len(values)))
    models = {f"A{m + 1}": Values(column.contiguous(), ids) for m, column in enumerate(values.T)}
    return ranking(models, "value", **options)  # type: ignore[arg-type]


def test_the_example_is_the_one_that_challenger_ships() -> None:
    found = example()
    # the first cases of data_matrix.csv
    assert found["c_ideal"][:3, 0] == pytest.approx(
        [0.938860999816097, 0.97459288504906, 0.989542098436505], abs=1e-14
    )
    assert found["c_random"].shape == (50, 5)
    assert found["c_random"].mean(0) == pytest.approx(MEANS["c_random"], abs=1e-14)


@pytest.mark.parametrize("task", MEANS)
def test_means_and_ranks_are_those_of_challenger(task: str) -> None:
    models = {model.name: model for model in ranked(task).models}
    for m in range(5):
        model = models[f"A{m + 1}"]
        assert model.value == pytest.approx(MEANS[task][m], abs=1e-14)
        assert model.rank == RANKS[task][m]


@pytest.mark.parametrize("task", MEANS)
def test_mean_ranks_and_their_ranks_are_those_of_challenger(task: str) -> None:
    models = {model.name: model for model in ranked(task, method="rank-then-mean").models}
    for m in range(5):
        model = models[f"A{m + 1}"]
        assert model.value == pytest.approx(MEAN_RANKS[task][m], abs=1e-12)
        assert model.rank == RANKS_OF_MEAN_RANKS[task][m]


def test_ranks_over_resamples_and_tau_are_those_of_challenger() -> None:
    found = ranked("c_random", n_resamples=20_000)
    shares = {model.name: model.rank_shares for model in found.models}
    for m in range(5):
        for ours, theirs in zip(shares[f"A{m + 1}"], SHARES[m], strict=True):
            # their 1,000 resamples: four standard deviations
            assert ours == pytest.approx(theirs, abs=4 * (max(theirs, 0.01) / 1000) ** 0.5)
    assert found.tau == pytest.approx(TAU, abs=4 * 0.35 / 1000**0.5)
    assert (found.tau_low, found.tau_high) == pytest.approx((TAU_LOW, TAU_HIGH))


def test_a_clear_ranking_is_clear_and_equal_models_share_their_places() -> None:
    ideal = ranked("c_ideal")
    assert all(model.rank_shares[model.rank - 1] == 1 for model in ideal.models)
    assert all(model.best == model.worst for model in ideal.models)
    assert (ideal.tau, ideal.tau_low) == (1, 1)
    worst = ranked("c_worstcase", n_resamples=20_000)
    assert all((model.best, model.worst) == (1, 5) for model in worst.models)
    for model in worst.models:
        assert model.rank_shares == pytest.approx([0.2] * 5, abs=0.02)
