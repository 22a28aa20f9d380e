"""Scaling laws of data pools: which pool for which budget, with the doubt stated.

A library: tables and arrays in, results out. It reads measurements, whoever made them, and imports none of
the project's other packages. Start at `RepetitionFit` and `choose`; ``docs/scaling_laws.md`` has the whole
way.
"""

from scaling_laws.chinchilla_fit import ChinchillaFit, chinchilla_objective
from scaling_laws.data_constrained_fit import DataConstrainedFit, r_squared
from scaling_laws.effective_data import FORMS, log_effective_samples
from scaling_laws.fit_flags import FitWarning
from scaling_laws.fitted_pools import FittedPools, MeasuredRange
from scaling_laws.intervals import Interval, ProfileCurve
from scaling_laws.mixtures import Mixture, Pool, mixture
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.pool_laws import EffectiveDataLaw, PoolLaw, RepetitionLaw, SaturatingDataLaw
from scaling_laws.power_fits import FrontierFit, OvertrainingFit, PowerLawFit
from scaling_laws.power_laws import (
    ChinchillaLaw,
    DataConstrainedLaw,
    FrontierLaw,
    OvertrainingLaw,
    PowerLaw,
)
from scaling_laws.runs import RunsError, check_runs, read_runs

__all__ = [
    "FORMS",
    "ChinchillaFit",
    "ChinchillaLaw",
    "DataConstrainedFit",
    "DataConstrainedLaw",
    "EffectiveDataLaw",
    "FitWarning",
    "FittedPools",
    "FrontierFit",
    "FrontierLaw",
    "Interval",
    "MeasuredRange",
    "Mixture",
    "OvertrainingFit",
    "OvertrainingLaw",
    "Pool",
    "PoolLaw",
    "PowerLaw",
    "PowerLawFit",
    "ProfileCurve",
    "RepetitionFit",
    "RepetitionLaw",
    "RunsError",
    "SaturatingDataLaw",
    "check_runs",
    "chinchilla_objective",
    "log_effective_samples",
    "mixture",
    "r_squared",
    "read_runs",
]
