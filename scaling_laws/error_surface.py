"""Errors of many mixtures at many budgets over many draws, in bounded memory.

log(y - d) of a mixture is sum_i w_i b_i (log X_i - log n0): linear in the exponents, and the half-life
enters each term through one smooth function of one variable. Interpolating that function at a few Chebyshev
nodes per pool turns all draws of all mixtures at one budget into one matrix product, where evaluating the
law would take a sum over epochs for each of (mixture, pool, draw).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scaling_laws.candidates import Candidates
from scaling_laws.effective_data import Floats, Form, log_effective_samples
from scaling_laws.fitted_pools import FittedPools
from scaling_laws.mixtures import mixture_error

BLOCK_ELEMENTS = 1 << 25
"""Elements of the largest left factor held at once: 128 MB."""
NODE_COUNTS = (6, 8, 10, 12, 14, 16, 24, 32)
INTERPOLATION_TOLERANCE = 3e-6
"""Largest error of log X allowed between nodes: it reaches the error times the exponent, below 1e-6."""


def point_errors(pools: FittedPools, candidates: Candidates, budgets: Floats) -> Floats:
    """Return the exact errors of a single fit, shape (n_candidates, n_budgets); budgets in samples."""
    errors = np.empty((len(candidates), len(budgets)))
    for row in range(len(candidates)):
        members = candidates.members(row)
        size = float(candidates.sizes[row])
        weights = candidates.keep_ratios[row, members] * pools.sizes[members] / size
        half_lives = pools.half_lives[members] * size / pools.sizes[members]
        if pools.form == "effective_data":
            errors[row] = mixture_error(
                pools.form, budgets, size, weights, pools.exponents[members], half_lives,
                pools.anchor, pools.irreducible,
            )  # fmt: skip
            continue
        weighted = weights * pools.exponents[members]
        power = weighted @ log_data_table(budgets, size, half_lives, pools.form)
        slope = weighted.sum()
        errors[row] = np.exp(power - slope * np.log(pools.anchor))
        later = np.exp(power - slope * np.log(np.minimum(budgets, size))) if pools.form == "code" else 1.0
        errors[row] += pools.irreducible * later
    return errors


def log_data_table(budgets: Floats, size: float, half_lives: Floats, form: Form) -> Floats:
    """Return log X for every half-life (M,) and budget (N,): shape (M, N).

    In the paper's form the sum over epochs is a running one, so that all budgets cost as much as the largest.
    """
    if form in ("effective_data", "saturating"):
        return log_effective_samples(budgets, size, half_lives[:, None], form)
    epochs = budgets / size
    whole = np.maximum(np.ceil(epochs - 1e-9).astype(int) - 1, 0)
    finished = np.arange(1, int(whole.max()) + 1, dtype=float)
    rate = np.log(2.0) / half_lives
    running = np.zeros((len(half_lives), len(finished) + 1))
    np.cumsum(np.exp(-rate[:, None] * finished) * np.log1p(1.0 / finished), axis=1, out=running[:, 1:])
    last = np.maximum(whole, 1)
    part = np.where(whole > 0, np.log(np.maximum(epochs, last) / last), 0.0)
    gain = running[:, last - 1] + np.exp(-rate[:, None] * last) * part
    return np.asarray(np.log(np.minimum(budgets, size)) + np.where(whole > 0, gain, 0.0))


class ErrorSurface:
    """Errors of all candidates over all draws, one budget at a time.

    Parameters
    ----------
    draws
        `FittedPools` with a leading axis of draws.
    candidates
        The mixtures.
    budgets
        In samples, shape (n_budgets,).
    """

    def __init__(self, draws: FittedPools, candidates: Candidates, budgets: Floats) -> None:
        self.draws, self.candidates, self.budgets = draws, candidates, np.asarray(budgets, float)
        self.reference = float(np.exp(np.log(draws.anchor).mean()))
        self.weights = candidates.keep_ratios * draws.sizes / candidates.sizes[:, None]
        if draws.form == "effective_data":
            return
        self.nodes, basis = self._interpolation()
        # One row per (pool, node), then one per pool for the anchor's share; one column per draw.
        anchor = -draws.exponents * (np.log(draws.anchor) - np.log(self.reference))[:, None]
        self.slopes = draws.exponents.T
        spread = (basis * draws.exponents[:, :, None]).reshape(draws.n_draws, -1)
        self.factors = np.concatenate([spread, anchor], axis=1).T.astype(np.float32)

    def __iter__(self) -> Iterator[Floats]:
        """Yield the errors (n_candidates, n_draws) of one budget after the other."""
        if self.draws.form == "effective_data":
            yield from self._effective_data()
            return
        width = max(1, BLOCK_ELEMENTS // (len(self.candidates) * len(self.factors)))
        for start in range(0, len(self.budgets), width):
            block = self.budgets[start : start + width]
            for table, budget in zip(self._tables(block), block, strict=True):
                yield self._errors(table, float(budget))

    def _errors(self, table: Floats, budget: float) -> Floats:
        # One row per draw, so that the search for the best candidate runs along memory.
        power = (self.factors.T @ table.T).T
        if self.draws.form != "code":
            np.exp(power, out=power)
            power += self.draws.irreducible.astype(np.float32)
            return power
        first = np.log(np.minimum(budget, self.candidates.sizes) / self.reference)
        reference_power = table[:, : -self.draws.n_pools] @ self.factors[: -self.draws.n_pools]
        later = reference_power - first[:, None] * (self.weights @ self.slopes)
        return np.asarray(np.exp(power) + self.draws.irreducible * np.exp(later))

    def _tables(self, budgets: Floats) -> Floats:
        """Return the left factors, shape (n_budgets, n_candidates, n_pools * (n_nodes + 1))."""
        n_pools, n_nodes = self.nodes.shape
        table = np.zeros((len(budgets), len(self.candidates), n_pools * (n_nodes + 1)), np.float32)
        table[:, :, -n_pools:] = self.weights
        for row in range(len(self.candidates)):
            members = self.candidates.members(row)
            size = float(self.candidates.sizes[row])
            half_lives = self.nodes[members] * (size / self.draws.sizes[members])[:, None]
            values = log_data_table(budgets, size, half_lives.ravel(), self.draws.form)
            values = (values - np.log(self.reference)).reshape(len(members), n_nodes, len(budgets))
            values *= self.weights[row, members][:, None, None]
            target = table[:, row, :-n_pools].reshape(len(budgets), n_pools, n_nodes)
            target[:, members] = values.transpose(2, 0, 1)
        return table

    def _interpolation(self) -> tuple[Floats, Floats]:
        """Return half-lives at the nodes (n_pools, K) and Lagrange weights of the draws (n_draws, n_pools,
        K).
        """
        finite = self.draws.half_lives[np.isfinite(self.draws.half_lives)]
        scale = float(np.median(finite)) if finite.size else 1.0
        position = _squash(self.draws.half_lives, scale)
        low, high = position.min(axis=0), position.max(axis=0)
        for count in NODE_COUNTS:
            nodes = _chebyshev(low, high, count)
            if self._node_error(nodes, low, high, scale) < INTERPOLATION_TOLERANCE:
                break
        return _unsquash(nodes, scale), _lagrange(nodes, position)

    def _node_error(self, nodes: Floats, low: Floats, high: Floats, scale: float) -> float:
        """Return the largest error between nodes, over the candidates with the most epochs of each pool."""
        between = _chebyshev(low, high, 41)
        worst = 0.0
        for pool in range(self.draws.n_pools):
            rows = np.flatnonzero(self.candidates.keep_ratios[:, pool])
            if not rows.size:
                continue
            size = float(self.candidates.sizes[rows].min())
            stretch = size / self.draws.sizes[pool]
            budgets = np.array([self.budgets.max(), np.median(self.budgets)])
            exact = log_data_table(budgets, size, _unsquash(between[pool], scale) * stretch, self.draws.form)
            known = log_data_table(budgets, size, _unsquash(nodes[pool], scale) * stretch, self.draws.form)
            weights = _lagrange(nodes[pool : pool + 1], between[pool][:, None])[:, 0]
            worst = max(worst, float(np.abs(weights @ known - exact).max()))
        return worst

    def _effective_data(self) -> Iterator[Floats]:
        """Evaluate the one form whose mixtures are not linear in the exponents, draw by draw."""
        draws, candidates = self.draws, self.candidates
        for budget in self.budgets:
            errors = np.empty((len(candidates), draws.n_draws))
            for row in range(len(candidates)):
                members = candidates.members(row)
                size = float(candidates.sizes[row])
                errors[row] = mixture_error(
                    draws.form,
                    np.full(draws.n_draws, budget),
                    size,
                    self.weights[row, members],
                    draws.exponents[:, members],
                    draws.half_lives[:, members] * size / draws.sizes[members],
                    draws.anchor,
                    draws.irreducible,
                )
            yield errors


def _squash(half_lives: Floats, scale: float) -> Floats:
    """Map (0, inf] onto (0, 1], where log X is smooth right up to a half-life without bound.

    The square root spreads the bend of log X over the range: a quarter fewer nodes than the plain ratio
    needs.
    """
    return np.asarray(1.0 / (1.0 + np.sqrt(scale / half_lives)))


def _unsquash(position: Floats, scale: float) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(scale * (position / (1.0 - position)) ** 2)


def _chebyshev(low: Floats, high: Floats, count: int) -> Floats:
    """Return Chebyshev nodes in [low, high] per pool, shape (n_pools, count), slightly inside (0, 1)."""
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    angle = np.pi * (np.arange(count) + 0.5) / count
    nodes = middle[:, None] - half[:, None] * np.cos(angle)
    return np.asarray(np.clip(nodes, 1e-9, 1.0))


def _lagrange(nodes: Floats, position: Floats) -> Floats:
    """Return the Lagrange weights of positions (n_draws, n_pools) on nodes (n_pools, K)."""
    count = nodes.shape[1]
    angle = np.pi * (np.arange(count) + 0.5) / count
    barycentric = np.where(np.arange(count) % 2 == 0, 1.0, -1.0) * np.sin(angle)
    distance = position[:, :, None] - nodes[None]
    exact = np.abs(distance) < 1e-14
    weights = barycentric / np.where(exact, 1.0, distance)
    weights /= weights.sum(axis=-1, keepdims=True)
    hit = exact.any(axis=-1)
    weights[hit] = exact[hit]
    return np.asarray(weights)
