"""Scaling laws of data pools: which pool for which budget, with the doubt stated.

A library: tables and arrays in, results out. It reads measurements, whoever made them, and imports none of
the project's other packages. Start at `RepetitionFit` and `choose`; ``docs/scaling_laws.md`` has the whole
way.
"""

from scaling_laws.baselines import budget_levels, default_laws, fit_baselines, ranking_errors
from scaling_laws.bootstrap import Bootstrap, bootstrap, run_noise_sd, seed_noise_sd
from scaling_laws.candidates import Candidates, make_candidates
from scaling_laws.chinchilla_fit import ChinchillaFit, chinchilla_objective
from scaling_laws.choice import BudgetChoice, Choice, Contender, choose
from scaling_laws.compute import Compute
from scaling_laws.data_constrained_fit import DataConstrainedFit, r_squared
from scaling_laws.effective_data import FORMS, log_effective_samples
from scaling_laws.error_surface import point_errors
from scaling_laws.fit_flags import FitWarning
from scaling_laws.fitted_pools import FittedPools, MeasuredRange
from scaling_laws.grid_search import GridOptimum, grid_search
from scaling_laws.intervals import Interval, ProfileCurve, percentile_interval
from scaling_laws.mixtures import Mixture, Pool, mixture
from scaling_laws.model_choice import compare_laws
from scaling_laws.next_run import plan_next_run
from scaling_laws.openclip_logs import read_openclip_run
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.pool_laws import (
    EffectiveDataLaw,
    PoolLaw,
    RepetitionLaw,
    SaturatingDataLaw,
    make_pool_law,
)
from scaling_laws.power_fits import FrontierFit, OvertrainingFit, PowerLawFit
from scaling_laws.power_laws import (
    ChinchillaLaw,
    DataConstrainedLaw,
    FrontierLaw,
    OvertrainingLaw,
    PowerLaw,
)
from scaling_laws.profiles import profile, profile_interval
from scaling_laws.range_check import OutsideRangeError, RangeLimits
from scaling_laws.report import choice_to_json, refusal_to_json, rollout_to_json, table_to_json
from scaling_laws.rollout import Rollout, rollout
from scaling_laws.runs import RunsError, check_runs, read_runs
from scaling_laws.study import Study, StudyError, study_runs
from scaling_laws.switches import Switch, find_switches

__all__ = [
    "FORMS",
    "Bootstrap",
    "BudgetChoice",
    "Candidates",
    "ChinchillaFit",
    "ChinchillaLaw",
    "Choice",
    "Compute",
    "Contender",
    "DataConstrainedFit",
    "DataConstrainedLaw",
    "EffectiveDataLaw",
    "FitWarning",
    "FittedPools",
    "FrontierFit",
    "FrontierLaw",
    "GridOptimum",
    "Interval",
    "MeasuredRange",
    "Mixture",
    "OutsideRangeError",
    "OvertrainingFit",
    "OvertrainingLaw",
    "Pool",
    "PoolLaw",
    "PowerLaw",
    "PowerLawFit",
    "ProfileCurve",
    "RangeLimits",
    "RepetitionFit",
    "RepetitionLaw",
    "Rollout",
    "RunsError",
    "SaturatingDataLaw",
    "Study",
    "StudyError",
    "Switch",
    "bootstrap",
    "budget_levels",
    "check_runs",
    "chinchilla_objective",
    "choice_to_json",
    "choose",
    "compare_laws",
    "default_laws",
    "find_switches",
    "fit_baselines",
    "grid_search",
    "log_effective_samples",
    "make_candidates",
    "make_pool_law",
    "mixture",
    "percentile_interval",
    "plan_next_run",
    "point_errors",
    "profile",
    "profile_interval",
    "r_squared",
    "ranking_errors",
    "read_openclip_run",
    "read_runs",
    "refusal_to_json",
    "rollout",
    "rollout_to_json",
    "run_noise_sd",
    "seed_noise_sd",
    "study_runs",
    "table_to_json",
]
