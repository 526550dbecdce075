"""Exponential and logarithm of fp32 within 1 ulp, in operations that LLVM vectorises."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import bits_of, float_of, fma

ONE, HALF = np.float32(1), np.float32(0.5)
LOG2_E, LN_2, LN_2_REST = (
    np.float32(1.4426950408889634),
    np.float32(0.6931471805599453),
    np.float32(-1.904654299957768e-09),
)
#: Adding it rounds to an integer, which is then in the last bits.
ROUNDER = np.float32(1.5 * 2**23)
#: Below it the exponential is less than the smallest normal fp32.
LEAST = np.float32(-87.33654)
#: (exp(r) - 1 - r) / r² for |r| <= ln(2) / 2, least squares.
E5, E4, E3, E2, E1 = (
    np.float32(0.00019826478091999888),
    np.float32(0.0013946077087894082),
    np.float32(0.008333430625498295),
    np.float32(0.041666269302368164),
    np.float32(0.1666666567325592),
)
#: (log(1 + m) - m + m²/2) / m³ for sqrt(1/2) <= 1 + m < sqrt(2): Cephes, ``logf``.
L8, L7, L6, L5, L4, L3, L2, L1, L0 = (
    np.float32(7.0376836292e-2),
    np.float32(-1.1514610310e-1),
    np.float32(1.1676998740e-1),
    np.float32(-1.2420140846e-1),
    np.float32(1.4249322787e-1),
    np.float32(-1.6668057665e-1),
    np.float32(2.0000714765e-1),
    np.float32(-2.4999993993e-1),
    np.float32(3.3333331174e-1),
)
SMALLEST, SQRT_HALF = np.float32(2.0**-126), np.int32(0x3F3504F3)
INFINITY, NAN = np.float32(inf), np.float32(np.nan)


@kernel
def exp(x: float) -> Any:
    """The exponential of an fp32 x <= 0, within 1 ulp; 0 where it is no normal number."""
    shifted = fma(x, LOG2_E, ROUNDER)
    power = shifted - ROUNDER
    r = fma(power, -LN_2_REST, fma(power, -LN_2, x))
    series = fma(fma(fma(fma(fma(E5, r, E4), r, E3), r, E2), r, E1), r, HALF)
    mantissa = fma(series * r, r, r) + ONE
    bits = np.int32((bits_of(shifted) << np.int32(23)) + np.int32(127 << 23))
    return np.float32(0) if x < LEAST else mantissa * float_of(bits)


@kernel
def log(x: float) -> Any:
    """The natural logarithm of an fp32 x >= 0, within 1 ulp, denormals too."""
    denormal = x < SMALLEST
    bits = bits_of(x * np.float32(2**23) if denormal else x)
    power = np.int32(np.int32(bits - SQRT_HALF) >> np.int32(23))
    m = float_of(np.int32(bits - np.int32(power << np.int32(23)))) - ONE
    exponent = np.float32(power) - (np.float32(23) if denormal else np.float32(0))
    series = fma(fma(fma(fma(L8, m, L7), m, L6), m, L5), m, L4)
    series = fma(fma(fma(fma(series, m, L3), m, L2), m, L1), m, L0)
    square = m * m
    rest = fma(-HALF, square, fma(exponent, LN_2_REST, series * m * square))
    value = fma(exponent, LN_2, m + rest)
    return value if x > 0 else (-INFINITY if x == 0 else NAN)
