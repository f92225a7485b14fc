"""Distances between two sets of embeddings, and the diversity of one."""

from __future__ import annotations

from typing import Any

import numpy as np


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of vectors `[n, D]` and `[m, D]`.

    |a - b|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson and Landau, Journal of Multivariate Analysis, 1982; for embeddings
    Heusel et al., NeurIPS 2017). The last trace is the sum of the singular values of X Y^T, where X and Y are the
    centred sets, so that nothing of size D x D is needed. Small sets have a large positive bias: compare with a floor
    of the same size.

    Raises:
        ValueError: a set has less than two vectors.
    """
    first, second = _checked(first, 2), _checked(second, 2)
    means, scatters = [], []
    for each in (first, second):
        mean = each.mean(axis=0)
        means.append(mean)
        scatters.append((each - mean) / np.sqrt(len(each) - 1))  # scatter.T @ scatter is the covariance
    x, y = scatters
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(np.square(means[0] - means[1]).sum() + np.square(x).sum() + np.square(y).sum() - 2 * cross, 0.0))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy of two sets of vectors `[n, D]` and `[m, D]`.

    Gretton et al. (JMLR 2012, equation 3) with the kernel (x.y / D + 1)^3 of Binkowski et al. (ICLR 2018). It is 0 on
    average for two samples of one distribution, whatever their sizes, and may be negative.

    Raises:
        ValueError: a set has less than two vectors.
    """
    first, second = _checked(first, 2), _checked(second, 2)

    def kernel(a: np.ndarray, b: np.ndarray) -> Any:
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(first), len(second)
    own, other = kernel(first, first), kernel(second, second)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2 * kernel(first, second).mean())


def vendi_score(vectors: np.ndarray) -> float:
    """Return the effective number of different vectors in a set `[n, D]`: 1 if all are alike, n if all are orthogonal.

    The exponential of the entropy of the eigenvalues of K / n, where K are the cosines (Friedman and Dieng, TMLR 2023,
    definition 3.1).
    """
    vectors = _checked(vectors, 1)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    values = np.linalg.svd(unit, compute_uv=False) ** 2 / len(unit)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def unigram_entropy(codes: np.ndarray) -> float:
    """Return the bits per code of codes under their own frequencies: -sum p log2 p (Shannon, 1948).

    It is a lower bound for any model that ignores the order of codes.
    """
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _checked(vectors: np.ndarray, least: int) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < least or not np.isfinite(vectors).all():
        raise ValueError(f"A set needs at least {least} finite vectors [n, D], not an array {list(vectors.shape)}.")
    return vectors
