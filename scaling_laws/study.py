"""A fit with its doubt, its baselines and its runs: everything `choose` needs, as one JSON document."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.baselines import fit_baselines
from scaling_laws.bootstrap import Bootstrap, BootstrapKind, bootstrap, run_noise_sd, seed_noise_sd
from scaling_laws.candidates import CandidateKind
from scaling_laws.choice import Choice, choose
from scaling_laws.effective_data import Floats
from scaling_laws.fit_flags import FitWarning
from scaling_laws.fitted_pools import FittedPools, MeasuredRange
from scaling_laws.intervals import Interval
from scaling_laws.pool_fit import RepetitionFit
from scaling_laws.profiles import profile_interval
from scaling_laws.range_check import DEFAULT_LIMITS, RangeLimits

DOCUMENT = "curate scaling law"
VERSION = 1


class StudyError(ValueError):
    """A file that is no study, or one of another version."""


@dataclass(frozen=True)
class Study:
    """A joint fit and everything said about it.

    Attributes
    ----------
    settings
        The arguments of the `RepetitionFit`.
    pools, draws
        The fit and its bootstrap draws.
    intervals, profiles
        Bootstrap interval of every parameter; profile-likelihood interval of every half-life.
    correlation
        Of the parameters, in the order of ``intervals``; nan at a bound.
    statistics
        ``rmse``, ``rss``, ``noise_sd``, ``aicc``, ``n_runs``, ``n_parameters``.
    runs
        The checked runs with ``predicted`` and ``residual`` (predicted minus measured).
    baselines
        Other laws fitted to the same runs, and the pool that ranks first at the largest common budget.
    warnings
        What a reader must know.
    """

    settings: Mapping[str, Any]
    pools: FittedPools
    draws: FittedPools
    intervals: Mapping[str, Interval]
    profiles: Mapping[str, Interval]
    correlation: Floats
    statistics: Mapping[str, float]
    runs: pd.DataFrame
    baselines: Mapping[str, FittedPools | str]
    warnings: tuple[str, ...]

    @property
    def noise_sd(self) -> float:
        """Run-to-run standard deviation of the error (nan if unknown)."""
        return float(self.statistics["noise_sd"])

    @property
    def flops_per_sample(self) -> float | None:
        """Training FLOPs of one sample, from the runs' ``flops`` if they have them."""
        if "flops" not in self.runs:
            return None
        return float((self.runs["flops"] / self.runs["samples_seen"]).median())

    def choose(
        self,
        budgets: Sequence[float],
        candidates: CandidateKind | Sequence[Mapping[str, float]] = "subsets",
        *,
        keep_ratios: Sequence[float] = (1.0,),
        limits: RangeLimits = DEFAULT_LIMITS,
        force: bool = False,
    ) -> Choice:
        """Return `choose` for these pools, with their draws, noise and baselines."""
        noise = self.noise_sd if np.isfinite(self.noise_sd) else None
        return choose(
            budgets,
            self.pools,
            candidates,
            keep_ratios=keep_ratios,
            draws=self.draws,
            noise_sd=noise,
            baselines=self.baselines,
            limits=limits,
            force=force,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document; open ends of intervals and infinite half-lives are null."""
        return {
            "document": DOCUMENT,
            "version": VERSION,
            "settings": {name: _plain(value) for name, value in self.settings.items()},
            "measured": None if self.pools.measured is None else vars(self.pools.measured),
            "parameters": {name: interval_to_json(value) for name, value in self.intervals.items()},
            "half_life_profiles": {name: interval_to_json(value) for name, value in self.profiles.items()},
            "correlation": _plain(self.correlation),
            "statistics": {name: _plain(value) for name, value in self.statistics.items()},
            "warnings": list(self.warnings),
            "pools": pools_to_json(self.pools),
            "baselines": {
                name: rule if isinstance(rule, str) else pools_to_json(rule)
                for name, rule in self.baselines.items()
            },
            "runs": json.loads(self.runs.to_json(orient="records", double_precision=15)),
            "draws": pools_to_json(self.draws),
        }

    def save(self, path: str | Path) -> None:
        """Write the document."""
        text = json.dumps(self.to_json(), indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """Read a document written by `save`.

        Raises
        ------
        StudyError
            If the file is missing, is no such document, or is of another version.
        """
        file = Path(path)
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as reason:
            raise StudyError(f"{file}: not readable as a law: {reason}") from None
        if not isinstance(document, dict) or document.get("document") != DOCUMENT:
            raise StudyError(f"{file}: no law; write one with `curate scaling fit RUNS.csv -o law.json`")
        if document.get("version") != VERSION:
            raise StudyError(f"{file}: version {document.get('version')}, expected {VERSION}; fit it again")
        try:
            return _from_document(document)
        except (KeyError, TypeError, ValueError) as reason:
            raise StudyError(f"{file}: damaged law, {reason!r}; fit it again") from None


def study_runs(
    runs: pd.DataFrame,
    law: RepetitionFit | None = None,
    *,
    n_draws: int = 1000,
    kind: BootstrapKind | None = None,
    noise_sd: float | None = None,
    random_state: int = 0,
) -> Study:
    """Fit runs and gather the doubt: bootstrap, half-life profiles, baselines.

    Parameters
    ----------
    runs
        Columns as in `check_runs`, of one model.
    law
        Unfitted `RepetitionFit`; default: the paper's form with everything fitted.
    n_draws, kind, noise_sd, random_state
        As in `bootstrap`; ``kind`` is parametric by default if seeds or ``noise_sd`` tell the noise, else
        residual.

    Raises
    ------
    RunsError
        If the runs fail a check or cannot determine the law.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FitWarning)
        fit = replace(law or RepetitionFit()).fit(runs)
        profiles = {n: profile_interval(fit, n) for n in fit.parameter_names_ if n.startswith("half_life")}
    if kind is None:
        known = noise_sd is not None or seed_noise_sd(fit.runs_) is not None
        kind = "parametric" if known else "residual"
    drawn = bootstrap(fit, n_draws, kind=kind, noise_sd=noise_sd, random_state=random_state)
    messages = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, FitWarning))
    noise = noise_sd if noise_sd is not None else run_noise_sd(fit)
    return _assemble(fit, drawn, profiles, noise, tuple(messages), fit_baselines(fit.runs_, law))


def _assemble(
    fit: RepetitionFit,
    drawn: Bootstrap,
    profiles: Mapping[str, Interval],
    noise_sd: float,
    messages: tuple[str, ...],
    baselines: Mapping[str, FittedPools | str],
) -> Study:
    statistics = {
        "rmse": fit.rmse_,
        "rss": fit.rss_,
        "noise_sd": noise_sd,
        "aicc": fit.aicc_,
        "n_runs": float(len(fit.runs_)),
        "n_parameters": float(fit.n_parameters_),
    }
    return Study(
        settings=fit.get_params() | {"bootstrap": drawn.kind},
        pools=fit.pools_,
        draws=drawn.pools,
        intervals=drawn.intervals(fit),
        profiles=profiles,
        correlation=fit.correlation_,
        statistics=statistics,
        runs=fit.runs_.assign(predicted=fit.runs_["error"] + fit.residuals_, residual=fit.residuals_),
        baselines=baselines,
        warnings=messages,
    )


def interval_to_json(interval: Interval) -> dict[str, Any]:
    """Return an interval with null for an open end."""
    return {name: _plain(value) for name, value in vars(interval).items()}


def pools_to_json(pools: FittedPools) -> dict[str, Any]:
    """Return laws as lists; an infinite half-life is null."""
    return {
        "names": list(pools.names),
        "sizes": _plain(pools.sizes),
        "form": pools.form,
        "exponents": _plain(pools.exponents),
        "half_lives": _plain(pools.half_lives),
        "anchor": _plain(pools.anchor),
        "irreducible": _plain(pools.irreducible),
    }


def _plain(value: Any) -> Any:
    """Return lists and numbers for arrays, with null for what JSON has no number for."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value] if value.ndim else _plain(float(value))
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _from_document(document: dict[str, Any]) -> Study:
    measured = document["measured"] and MeasuredRange(**document["measured"])
    return Study(
        settings=document["settings"],
        pools=_pools(document["pools"], measured),
        draws=_pools(document["draws"], measured),
        intervals={name: _interval(value) for name, value in document["parameters"].items()},
        profiles={name: _interval(value) for name, value in document["half_life_profiles"].items()},
        correlation=_array(document["correlation"], np.nan),
        statistics={n: np.nan if v is None else float(v) for n, v in document["statistics"].items()},
        runs=pd.DataFrame(document["runs"]),
        baselines={
            name: rule if isinstance(rule, str) else _pools(rule, measured)
            for name, rule in document["baselines"].items()
        },
        warnings=tuple(document["warnings"]),
    )


def _pools(document: dict[str, Any], measured: MeasuredRange | None) -> FittedPools:
    return FittedPools(
        tuple(document["names"]),
        _array(document["sizes"]),
        document["form"],
        _array(document["exponents"]),
        _array(document["half_lives"], np.inf),
        _array(document["anchor"]),
        _array(document["irreducible"]),
        measured,
    )


def _interval(document: dict[str, Any]) -> Interval:
    ends = {"estimate": np.inf, "low": -np.inf, "high": np.inf, "level": np.nan}
    return Interval(**{n: missing if document[n] is None else document[n] for n, missing in ends.items()})


def _array(values: Any, missing: float = np.nan) -> Floats:
    array = np.array(values, dtype=float)  # None becomes nan
    return np.where(np.isnan(array), missing, array)
