"""The triangular factor of a covariance, and what is solved by it.

LAPACK is called as it is: SciPy's checks and copies take as long as a small system does.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs

Floats: TypeAlias = NDArray[np.float64]

JITTER = 1e-7
"""Of a variance near 1: what keeps rounding from making a covariance indefinite."""


def solved(factor: Floats, right: Floats, *, in_place: bool = False) -> Floats:
    """L⁻¹b; `in_place` of b, which is then in Fortran's order."""
    if factor.flags.f_contiguous:
        found, _ = dtrtrs(factor, right, lower=1, overwrite_b=in_place)
    else:  # a corner of another factor
        found, _ = dtrtrs(factor.T, right, lower=0, trans=1, overwrite_b=in_place)
    result: Floats = found
    return result


def solved_back(factor: Floats, right: Floats) -> Floats:
    """L⁻ᵀb."""
    found, _ = dtrtrs(factor, right, lower=1, trans=1)
    result: Floats = found
    return result


def weights_of(factor: Floats, right: Floats) -> Floats:
    """K⁻¹b of K = LLᵀ."""
    found, _ = dpotrs(factor, right, lower=1)
    result: Floats = found
    return result


def cholesky(covariance: Floats) -> Floats:
    """L of a covariance LLᵀ; where rounding has made that indefinite, of one with a little more variance."""
    jitter = 0.0
    factor, failed = dpotrf(covariance, lower=1, clean=1)
    while failed:
        jitter = max(10 * jitter, JITTER)
        factor, failed = dpotrf(covariance + jitter * np.eye(len(covariance)), lower=1, clean=1)
    found: Floats = factor
    return found
