"""The saddle-point equations of a perceptron that learns from selected samples (Sorscher et al. 2022).

Only the plane of the probe J and the teacher T matters: z = J·x, and w orthogonal to it. The student's field
on an input is rho z + b w + s u, with u ~ N(0, 1) and rho² + b² + s² = 1. Divided by s, its part in the plane
is r x, where x is the coordinate along a direction at some angle to the probe, and y the one across. With
K = margin/s, m = K - r x, and G1(m), G2(m) the means over u of (m - u)_+ and of its square, the greatest
margin on ``kept`` samples per parameter has

    kept E[G2] = 1,    kept E[G1 x] = r (1 - kept E[Phi(m)]),    E[G1 y] = 0

(the replica equations of arXiv 2206.14486, appendix, brought to this form). Given x, the kept inputs are an
interval of y, whose weight and mean are closed forms; one integral over x is left. A greatest margin is a
convex problem, so a root found is the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import root
from scipy.special import ndtr

from scaling_laws.effective_data import Floats

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PANELS_AROUND = np.array([-8.0, -4.0, -2.0, 0.0, 2.0, 4.0, 8.0])
_REACH = 9.0  # a standard normal lies beyond with probability 2e-19
_SCARCE = 0.02  # kept samples per parameter at which the first guess converges
_FIRST_STEP, _LEAST_STEP = np.log(2.0), 1e-4
_TOLERANCE = 1e-9


class NoSolutionError(ArithmeticError):
    """The equations could not be solved at these values."""


@dataclass(frozen=True)
class PerceptronSolution:
    """The student at one point of the theory.

    Parameters
    ----------
    error
        Probability that it disagrees with the teacher on a fresh input, arccos(R)/pi.
    margin
        kappa: its margin on the kept samples, per unit length of the student.
    overlap
        R: cosine of the angle between student and teacher.
    """

    error: float
    margin: float
    overlap: float


@dataclass(frozen=True)
class SaddlePoint:
    """The equations for one selection: inputs with |z| < cut are kept (hard), or those beyond (easy).

    A point is log K, log r and, unless the probe is the teacher, the angle between x and the probe (radians).
    """

    teacher_angle: float
    cut: float
    keep_ratio: float
    hard: bool

    def path(self, kept_abundance: Sequence[float] | Floats) -> list[Floats]:
        """Return the point at each number of kept samples per parameter (ascending), each from the last.

        The path starts where samples are scarce and is followed in log kept, by secant steps that shrink
        where it bends.
        """
        first = min(_SCARCE, kept_abundance[0])
        point = self._root(first, self._scarce_guess(first))
        if point is None:
            raise NoSolutionError(f"no solution at {first:.4g} kept samples per parameter")
        at, slope, found = np.log(first), np.zeros_like(point), []
        step = _FIRST_STEP
        for target in np.log(kept_abundance):
            while at < target:
                reach = min(step, target - at)
                following = self._root(np.exp(at + reach), point + slope * reach)
                if following is not None:
                    slope, point, at = (following - point) / reach, following, at + reach
                    step = 1.5 * step
                elif (step := reach / 2) < _LEAST_STEP:
                    raise NoSolutionError(f"no solution near {np.exp(at):.4g} kept samples per parameter")
                if target - at < 1e-14:
                    break
            found.append(point)
        return found

    def solution(self, point: Floats) -> PerceptronSolution:
        """Return error, margin and overlap at a point."""
        ratio, radius = np.exp(point[:2])
        off = self.teacher_angle - self._angle(point)
        length = np.hypot(1.0, radius)
        along, across = radius * np.cos(off), np.hypot(1.0, radius * np.sin(off))
        # arctan2 keeps the digits of small errors that arccos of an overlap near 1 would lose
        return PerceptronSolution(
            float(np.arctan2(across, along) / np.pi), float(ratio / length), float(along / length)
        )

    def _scarce_guess(self, kept: float) -> Floats:
        """Return the limit of few samples: every one lies below the margin, and the student is their mean."""
        x, density = self._quadrature(1.0, 1.0, self.teacher_angle)
        weight, moment = self._kept_across(x, self.teacher_angle)
        along, across = density @ (x * weight), density @ moment
        angle = self.teacher_angle + np.arctan2(across, along)
        radius = np.sqrt(kept) * np.hypot(along, across)
        return np.array([-np.log(kept) / 2, np.log(radius), angle])[: 3 if self.teacher_angle else 2]

    def _angle(self, point: Floats) -> float:
        return float(point[2]) if self.teacher_angle else 0.0

    def _root(self, kept: float, guess: Floats) -> Floats | None:
        with np.errstate(all="ignore"):  # a step too far overflows, and is then refused
            found = root(self._residuals, guess, args=(kept,), method="hybr", options={"xtol": 1e-13})
        point = np.asarray(found.x, float)
        return point if np.all(np.abs(found.fun) < _TOLERANCE) else None

    def _residuals(self, point: Floats, kept: float) -> Floats:
        ratio, radius = np.exp(np.clip(point[:2], -50.0, 50.0))
        angle = self._angle(point)
        x, density = self._quadrature(float(ratio), float(radius), angle)
        weight, moment = self._kept_across(x, angle)
        m = ratio - radius * x
        below = ndtr(m)
        gap = m * below + _normal_density(m)
        squared_gap = m * gap + below
        stretch = density @ (gap * x * weight) / radius + density @ (below * weight)
        residuals = [kept * (density @ (squared_gap * weight)) - 1.0, kept * stretch - 1.0]
        return np.array([*residuals, kept * (density @ (gap * moment))][: len(point)])

    def _quadrature(self, ratio: float, radius: float, angle: float) -> tuple[Floats, Floats]:
        """Return nodes x and weights times density, with panels dense where the integrand bends."""
        off = self.teacher_angle - angle
        bends = [(0.0, np.tan(off)), (ratio / radius, 1 / radius)]
        if np.isfinite(self.cut):
            edge, width = self.cut / np.cos(angle), np.tan(angle)
            bends += [(edge, width), (-edge, width)]
            if self.teacher_angle:  # where the cut meets the teacher's boundary
                corner = self.cut * np.sin(off) / np.sin(self.teacher_angle)
                bends += [(corner, 0.0), (-corner, 0.0)]
        edges = [centre + _PANELS_AROUND * width for centre, width in bends]
        whole = np.arange(-_REACH, _REACH + 1)
        ends = np.unique(np.clip(np.concatenate([whole, *edges]), -_REACH, _REACH))
        half = np.diff(ends)[:, None] / 2
        x = (ends[:-1, None] + half + half * _NODES).ravel()
        # the teacher's half plane and the cut leave this much of the whole plane
        return x, (half * _NODE_WEIGHTS).ravel() * _normal_density(x) / (self.keep_ratio / 2)

    def _kept_across(self, x: Floats, angle: float) -> tuple[Floats, Floats]:
        """Return the weight and the first moment of the kept y at each x."""
        off = self.teacher_angle - angle
        with np.errstate(divide="ignore"):
            boundary = -x * np.cos(off) / np.sin(off)
            ends = (x * np.cos(angle) + np.multiply.outer([-1, 1], np.full_like(x, self.cut))) / np.sin(angle)
        low, high = np.full_like(x, -np.inf), np.full_like(x, np.inf)
        if off == 0:
            low = np.where(x > 0, -np.inf, np.inf)
        elif off > 0:
            low = boundary
        else:
            high = boundary
        if not np.isfinite(self.cut):
            return _slice(low, high)
        inside = _slice(np.maximum(low, ends.min(axis=0)), np.minimum(high, ends.max(axis=0)))
        if self.hard:
            return inside
        weight, moment = _slice(low, high)
        return weight - inside[0], moment - inside[1]


def _slice(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return probability and first moment of a standard normal between two bounds; empty if reversed."""
    high = np.maximum(low, high)
    return ndtr(high) - ndtr(low), _normal_density(low) - _normal_density(high)


def _normal_density(x: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi))
