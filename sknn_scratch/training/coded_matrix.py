"""A matrix some of whose columns are codes or levels, kept as two numbers for each feature and sample."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse import csr_array


class Coding:
    """Which columns are the codes of which feature, and products with their weights, once for all samples."""

    def __init__(self, starts: NDArray, means: NDArray, n_of_levels: int = 0):
        self.starts = starts  # the first code of each feature, and the number of all codes
        self.means = means  # what is subtracted from each code
        self.n_of_levels = n_of_levels  # so many features, the first, have codes that are levels

    @property
    def n_edges(self) -> int:
        """Edges of the bins of all features."""
        return len(self.means) + len(self.starts) - 1

    @cached_property
    def at_each_edge(self) -> list[NDArray]:
        """For each piecewise-linear feature, the codes of its edges, as a matrix of shape (n_bins + 1, n_bins)."""
        return [
            np.tri(stop - start + 1, stop - start, -1, dtype=self.means.dtype) - self.means[start:stop]
            for start, stop in pairwise(self.starts[self.n_of_levels :])
        ]

    def at_edges(self, weights: NDArray) -> NDArray:
        """Return ``C`` of all features, one below the other, for the weights of all codes."""
        out = np.empty((self.n_edges, weights.shape[1]), dtype=weights.dtype)
        for j, (start, stop) in enumerate(pairwise(self.starts)):
            W, C = weights[start:stop], out[start + j : stop + j + 1]
            if j < self.n_of_levels:
                np.subtract(W, self.means[start:stop] @ W, out=C[:-1])
                C[-1] = 0
            else:
                np.dot(self.at_each_edge[j - self.n_of_levels], W, out=C)
        return out

    def gradient(self, of_edges: NDArray, out: NDArray) -> None:
        """Fill the derivatives by the weights, given those by ``C``."""
        for j, (start, stop) in enumerate(pairwise(self.starts)):
            D = of_edges[start + j : stop + j + 1]
            if j < self.n_of_levels:
                np.subtract(D[:-1], np.outer(self.means[start:stop], D[:-1].sum(axis=0)), out=out[start:stop])
            else:
                np.dot(self.at_each_edge[j - self.n_of_levels].T, D, out=out[start:stop])


class CodedMatrix:
    """Samples whose last columns are codes, with products that need no dense matrix.

    A coded feature has edges that bound ``T`` bins, and a column for each bin: 1 for the bins below that of a sample,
    the fraction ``f`` of its own bin ``t`` that lies below it, and 0 above; less the mean ``m`` of the column. They are
    linear between edges, and so is their product with weights ``W`` that have a row for each column::

        (codes - m) @ W = (1 - f) * C[t] + f * C[t + 1]          C[k] = W[0] + ... + W[k - 1] - m @ W

    for the edges ``k = 0, ..., T``. If ``D[k]`` is the derivative by ``C[k]``, that by ``W[k]`` is ``D[k + 1] + ... +
    D[T] - m[k] * sum(D)``. So a sample takes two rows of a feature rather than ``T``.

    Levels of a category are kept likewise: column ``t`` is 1, all others are 0, ``C[k] = W[k] - m @ W`` and ``f = 0``.
    What counts as the mean is at the last edge, where ``C`` is 0: ``t`` is the last level and ``f = 1``. With ``f > 1``
    it lies beyond: so does 0, if there is a single column.

    Rows can be taken, ``X[rows]``, and multiplied, ``X @ W`` and ``delta.T @ X``, as those of an array.

    Parameters
    ----------
    plain : ndarray of shape (n_samples, n_plain)
        The other columns, as they are.
    edges : ndarray of int32 of shape (n_samples, n_coded)
        The last edge below each sample, counted over all features.
    fractions : ndarray of shape (n_samples, n_coded)
        From 0 to 1.
    coding : Coding
        With means of the dtype of ``plain``.
    """

    __array_ufunc__ = None  # so that an array leaves products to us

    def __init__(self, plain: NDArray, edges: NDArray, fractions: NDArray, coding: Coding):
        self.plain, self.edges, self.fractions, self.coding = plain, edges, fractions, coding

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and columns."""
        return len(self.plain), self.plain.shape[1] + len(self.coding.means)

    @property
    def dtype(self) -> np.dtype:
        """Of the columns."""
        return self.plain.dtype

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, rows: NDArray | slice) -> CodedMatrix:
        return CodedMatrix(self.plain[rows], self.edges[rows], self.fractions[rows], self.coding)

    def without_bins(self) -> NDArray | CodedMatrix:
        """Return the columns before those of piecewise-linear codes."""
        n, coding = self.coding.n_of_levels, self.coding
        if n == 0:
            return self.plain
        starts = coding.starts[: n + 1]
        edges, fractions = (np.ascontiguousarray(array[:, :n]) for array in (self.edges, self.fractions))
        return CodedMatrix(self.plain, edges, fractions, Coding(starts, coding.means[: starts[-1]], n))

    def mean(self) -> NDArray:
        """Return the mean of each column, of the codes as they are before their means are subtracted."""
        n_samples, n_coded = self.edges.shape
        edges, n_edges, ends = self.edges.ravel(), self.coding.n_edges, self.coding.starts[1:] + np.arange(n_coded)
        n_below = np.cumsum(np.bincount(edges, minlength=n_edges))  # of this feature, and all of those before
        n_all = n_samples * np.arange(1, n_coded + 1).repeat(np.diff(self.coding.starts) + 1)
        sums = n_all - n_below + np.bincount(edges, self.fractions.ravel(), n_edges)
        n_of_levels = self.coding.starts[self.coding.n_of_levels] + self.coding.n_of_levels
        sums[:n_of_levels] = np.bincount(edges, 1 - self.fractions.ravel(), n_edges)[:n_of_levels]
        return np.concatenate([self.plain.mean(axis=0), np.delete(sums, ends) / n_samples])

    def toarray(self) -> NDArray:
        """Return the dense matrix."""
        n_plain = self.plain.shape[1]
        out = np.empty(self.shape, dtype=self.dtype)
        out[:, :n_plain] = self.plain
        for j, (start, stop) in enumerate(pairwise(self.coding.starts)):
            bins = self.edges[:, j] - (start + j)
            codes = out[:, n_plain + start : n_plain + stop]
            if j < self.coding.n_of_levels:
                share, mean = 1 - self.fractions[:, [j]], self.coding.means[start:stop]
                codes[...] = np.arange(stop - start) == bins[:, np.newaxis]
                codes[...] = np.where(share < 1, share * (codes - mean) + mean, codes)
            else:
                codes[...] = np.arange(stop - start) < bins[:, np.newaxis]
                codes[np.arange(len(out)), bins] = self.fractions[:, j]
        out[:, n_plain:] -= self.coding.means
        return out

    def shares(self, dtype: DTypeLike | None = None) -> Any:
        """Return a CSR matrix of shape (n_samples, n_edges) that interpolates between edges."""
        n_samples, n_coded = self.edges.shape
        values = np.empty((n_samples, n_coded, 2), dtype=self.dtype if dtype is None else dtype)
        values[..., 0], values[..., 1] = 1 - self.fractions, self.fractions
        indices = self.edges[..., np.newaxis] + np.arange(2, dtype=np.int32)
        ends = np.arange(n_samples + 1) * (2 * n_coded)
        return csr_array((values.ravel(), indices.ravel(), ends), shape=(n_samples, self.coding.n_edges))

    def __matmul__(self, weights: NDArray) -> NDArray:
        n_plain = self.plain.shape[1]
        product = self.shares() @ self.coding.at_edges(weights[n_plain:])
        product += self.plain @ weights[:n_plain]
        return product

    def __rmatmul__(self, other: NDArray) -> NDArray:
        n_plain = self.plain.shape[1]
        out = np.empty((self.shape[1], len(other)), dtype=other.dtype)
        np.dot(self.plain.T, other.T, out=out[:n_plain])
        self.coding.gradient(self.shares().T @ other.T, out[n_plain:])
        return out.T
