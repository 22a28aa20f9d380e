"""Theory of data pruning (Sorscher et al. 2022, arXiv 2206.14486): when is it better to keep hard samples?

A **theory** of a perceptron in very many dimensions that learns the labels of another perceptron. It explains
why abundant data favour hard samples and scarce data easy ones. It says nothing about anybody's own pool:
neither its error, nor the budget at which its break-even lies.

A teacher T labels Gaussian inputs. A probe J, at an angle to T, scores each input by |J·x|; a share of the
inputs is kept, the smallest scores (``hard``) or the largest (``easy``). A student, the perceptron of
greatest margin, learns from what was kept.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtri

from scaling_laws.effective_data import Floats
from scaling_laws.sorscher_equations import NoSolutionError, PerceptronSolution, SaddlePoint

__all__ = ["Keep", "NoSolutionError", "PerceptronSolution", "break_even", "solve_perceptron", "theory_error"]

Keep = Literal["hard", "easy", "random"]
_LEAST_ABUNDANCE = 0.2  # keeping hard samples is worse than anything below one sample per parameter


def solve_perceptron(
    kept_abundance: float, keep_ratio: float = 1.0, keep: Keep = "hard", probe_angle: float = 0.0
) -> PerceptronSolution:
    """Solve the saddle point at one number of kept samples.

    Parameters
    ----------
    kept_abundance
        Kept samples per parameter (after pruning), positive.
    keep_ratio
        Share of the samples kept, in (0, 1].
    keep
        ``hard`` (least |z|), ``easy`` (greatest |z|) or ``random``.
    probe_angle
        Angle between probe and teacher in degrees, in [0, 90).

    Raises
    ------
    ValueError
        If an argument is outside its range.
    NoSolutionError
        If the root finder does not converge.
    """
    student = _student(keep_ratio, keep, probe_angle)
    if not (kept_abundance > 0 and np.isfinite(kept_abundance)):
        raise ValueError(f"samples per parameter must be positive, got {kept_abundance}")
    return student.solution(student.path([float(kept_abundance)])[0])


def theory_error(
    abundance: ArrayLike, keep_ratio: float = 1.0, keep: Keep = "hard", probe_angle: float = 0.0
) -> Floats:
    """Return the student's error against the samples available before pruning.

    Parameters
    ----------
    abundance
        Samples per parameter before pruning, any shape, positive; ``keep_ratio`` of them are kept.
    keep_ratio, keep, probe_angle
        As in `solve_perceptron`.

    Returns
    -------
    Errors in [0, 1/2], the shape of ``abundance``.

    Raises
    ------
    ValueError, NoSolutionError
        As in `solve_perceptron`.
    """
    total = np.asarray(abundance, float)
    student = _student(keep_ratio, keep, probe_angle)
    if not ((total > 0) & np.isfinite(total)).all():
        raise ValueError("samples per parameter must be positive")
    distinct, where = np.unique(total, return_inverse=True)
    errors = [student.solution(point).error for point in student.path(distinct * keep_ratio)]
    return np.array(errors)[where].reshape(total.shape)


def break_even(
    keep_ratio: float,
    rival: Literal["easy", "random"] = "random",
    probe_angle: float = 0.0,
    most_abundance: float = 60.0,
) -> float | None:
    """Return the samples per parameter, before pruning, from which keeping hard samples beats a rival.

    Parameters
    ----------
    keep_ratio
        Share of the samples kept, in (0, 1).
    rival
        Keeping as many ``easy`` samples, or as many at ``random``.
    probe_angle
        Angle between probe and teacher in degrees, in [0, 90).
    most_abundance
        Where to stop looking.

    Returns
    -------
    The first crossing, or None if there is none up to ``most_abundance``.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    if not 0 < keep_ratio < 1:
        raise ValueError(f"a break-even needs a keep ratio in (0, 1), got {keep_ratio}")
    if not most_abundance > _LEAST_ABUNDANCE:
        raise ValueError(f"most_abundance must exceed {_LEAST_ABUNDANCE}, got {most_abundance}")

    def lead(log_abundance: ArrayLike) -> Floats:
        """Return by what factor, in logs, hard samples leave more error than the rival."""
        total = np.exp(log_abundance)
        hard = theory_error(total, keep_ratio, "hard", probe_angle)
        return np.log(hard) - np.log(theory_error(total, keep_ratio, rival, probe_angle))

    grid = np.linspace(np.log(_LEAST_ABUNDANCE), np.log(most_abundance), 40)
    leads = lead(grid)
    crossings = np.flatnonzero((leads[:-1] > 0) & (leads[1:] <= 0))
    if not len(crossings):
        return None
    low, high = grid[crossings[0]], grid[crossings[0] + 1]
    return float(np.exp(brentq(lambda at: float(lead(at)), low, high, xtol=1e-8)))


def _student(keep_ratio: float, keep: Keep, probe_angle: float) -> SaddlePoint:
    if not 0 < keep_ratio <= 1:
        raise ValueError(f"keep_ratio must lie in (0, 1], got {keep_ratio}")
    if keep not in ("hard", "easy", "random"):
        raise ValueError(f"keep must be 'hard', 'easy' or 'random', got {keep!r}")
    if not 0 <= probe_angle < 90:
        raise ValueError(f"probe_angle must lie in [0, 90) degrees, got {probe_angle}")
    if keep == "random" or keep_ratio == 1:
        return SaddlePoint(0.0, np.inf, 1.0, hard=True)  # without selection the probe does not matter
    inside = keep_ratio if keep == "hard" else 1 - keep_ratio
    return SaddlePoint(
        float(np.radians(probe_angle)), float(ndtri((1 + inside) / 2)), keep_ratio, keep == "hard"
    )
