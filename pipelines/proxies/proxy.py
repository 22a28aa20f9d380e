"""One proxy: a small CLIP trained on one pool with one seed, measured at several budgets.

With the schedule `cooldown`, one training at a constant rate, the trunk, is shared by all budgets: at each, a
copy branches off, its rate falls to 0 over the last part of the budget, and it is measured (Hägele et al.
2024, arXiv 2405.18392, sections 3 and 4). With `cosine` every budget starts at step 0.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import threading
from collections.abc import Callable
from typing import Any

import torch

from pipelines.lock import own
from pipelines.pool.shards import expand
from pipelines.proxies.config import ProxyRun
from pipelines.proxies.evaluate import evaluate
from pipelines.storage import Folder
from pipelines.training.gradient import Stepper
from pipelines.training.phase import parts_of, starting_model, training_set
from pipelines.training.step import learning_rate, make_optimizer
from pipelines.training.train import as_configured, fingerprint_of
from scoring.encoder import Encoder, usable_device
from scoring.encoder_spec import EncoderSpec
from scoring.transform import Fast, Preprocessing

VERSION = 1  # raise it when a change of the code changes the measurements
_PLACES = {"retrieval": {"shards"}, "zero_shot": {"shards"}}
MEASURED = "measured.json"
TRUNK, BRANCH = "trunk.pt", "branch.pt"

_one_at_a_time = threading.Lock()  # torch's chance and threads belong to the process, not to a thread

Rate = Callable[[int], float]
Row = dict[str, Any]


def run_proxy(run: ProxyRun) -> list[dict[str, Any]]:
    """Do what is missing of a proxy and return a row for each of its budgets.

    Killed at any point and called again with the same number of threads, it returns the same rows as if
    undisturbed.

    Returns
    -------
    list of dict
        `step`, `samples_seen`, `pool_size`, `status` (`done` or `diverged`), `loss` and `measures` by name.
    """
    folder = Folder(run.train.output)
    with _one_at_a_time, own(folder):
        fingerprint = _fingerprint(run)
        rows = _rows_so_far(folder, fingerprint)
        if any(step not in rows for step in run.budgets):
            with as_configured(run.train):
                _Proxy(run, folder, fingerprint, rows).finish()
        return [rows[step] for step in run.budgets]


def _fingerprint(run: ProxyRun) -> str:
    endless = run.train.model_copy(update={"samples_seen": None})  # larger budgets may be added
    content = {
        "train": fingerprint_of(endless, dict(run.data)),
        "cooldown": run.cooldown,
        # What is held out counts by its content, in `data`, not by its place.
        "evaluations": [each.model_dump(mode="json", exclude=_PLACES) for each in run.evaluations],
        "version": VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _rows_so_far(folder: Folder, fingerprint: str) -> dict[int, dict[str, Any]]:
    try:
        content = json.loads(folder.read(MEASURED))
    except (FileNotFoundError, ValueError):
        return {}
    if content.get("fingerprint") != fingerprint:
        return {}
    return {int(row["step"]): row for row in content["rows"]}


class _DivergedError(Exception):
    """The loss, or a weight, is no longer a number."""


class _Proxy:
    """A model on its way through the budgets; `step` is where it stands, `loss` the last step's."""

    def __init__(self, run: ProxyRun, folder: Folder, fingerprint: str, rows: dict[int, Row]) -> None:
        self.run, self.folder, self.fingerprint, self.rows = run, folder, fingerprint, rows
        self.step, self.loss = 0, math.nan
        config = run.train
        self.device = usable_device(config.device)
        loaded = starting_model(config, self.device)
        self.model = loaded.model
        self.transform = Fast(Preprocessing.of(self.model))
        self.stepper = Stepper(
            self.model,
            make_optimizer(self.model, config),
            self.device,
            config.gradient_clip,
            config.precision,
            config.micro_batch_size,
        )
        self.encoder = Encoder(EncoderSpec(model=config.model), loaded, self.device)
        self.data = training_set(config, expand(config.shards), loaded, self.transform)

    def finish(self) -> None:
        """Go through the budgets that are missing; the trunk stays, for larger ones that may be added."""
        missing = [end for end in self.run.budgets if end not in self.rows]
        self._resume(TRUNK, at_most=self._branches_off(missing[0]))
        try:
            for end in missing:
                self._walk(self._branches_off(end), self._trunk_rate, TRUNK)
                self._measure(end)
        except _DivergedError:
            for end in missing:
                if end not in self.rows:
                    self._record(end, "diverged", {})
        self.folder.remove(BRANCH)

    def _measure(self, end: int) -> None:
        """Go down a budget's branch, measure, and come back to the trunk."""
        trunk = copy.deepcopy(self._state())
        self._save(TRUNK, trunk)
        self._resume(BRANCH, branch=end)
        try:
            self._walk(end, self._branch_rate(trunk["step"], end), BRANCH, branch=end)
            self._record(end, "done", self._evaluated())
        except _DivergedError:
            self._record(end, "diverged", {})
        self._restore(trunk)

    def _branches_off(self, end: int) -> int:
        return 0 if self.run.cooldown is None else round(end * (1 - self.run.cooldown))

    def _trunk_rate(self, step: int) -> float:
        return self.run.train.learning_rate * min(1.0, (step + 1) / max(1, self.run.train.warmup_steps))

    def _branch_rate(self, start: int, end: int) -> Rate:
        if self.run.cooldown is None:
            return lambda step: learning_rate(step, end, self.run.train)
        return lambda step: self._trunk_rate(step) * (1 - math.sqrt((step - start) / (end - start)))

    def _walk(self, end: int, rate: Rate, name: str, branch: int | None = None) -> None:
        """Train up to a step, leaving checkpoints under `name`."""
        config, whole = self.run.train, slice(0, self.run.train.batch_size)
        self.model.train()
        for batch in self.data.batches(config.seed, config.batch_size, range(self.step, end)):
            parts = parts_of(batch, 0, self.transform, config, self.step, self.device)
            outcome = self.stepper.take(parts, whole, rate(self.step))
            if not math.isfinite(outcome.loss):
                raise _DivergedError
            self.step, self.loss = self.step + 1, outcome.loss
            if self.step < end and self.step % config.checkpoint_every == 0:
                self._save(name, {**self._state(), "branch": branch})

    def _evaluated(self) -> dict[str, float]:
        if not all(bool(torch.isfinite(value).all()) for value in self.model.parameters()):
            raise _DivergedError
        self.model.eval()
        return evaluate(self.encoder, self.run.evaluations)

    def _record(self, end: int, status: str, measures: dict[str, float]) -> None:
        self.rows[end] = {
            "step": end,
            "samples_seen": end * self.run.train.batch_size,
            "pool_size": len(self.data.pictures),
            "status": status,
            "loss": self.loss if status == "done" else None,
            "measures": measures,
        }
        content = {"fingerprint": self.fingerprint, "rows": [self.rows[step] for step in sorted(self.rows)]}
        self.folder.write(MEASURED, json.dumps(content, indent=1).encode())

    def _state(self) -> dict[str, Any]:
        return {**self.stepper.state_dict(), "step": self.step, "loss": self.loss}

    def _restore(self, state: dict[str, Any]) -> None:
        self.stepper.load_state_dict(state)
        self.step, self.loss = int(state["step"]), float(state["loss"])

    def _save(self, name: str, state: dict[str, Any]) -> None:
        with self.folder.create(name) as stream:
            torch.save({**state, "fingerprint": self.fingerprint}, stream)

    def _resume(self, name: str, *, at_most: int | None = None, branch: int | None = None) -> None:
        """Go on from a checkpoint of this very proxy, if there is one that leads to where it is wanted."""
        try:
            with self.folder.open(name) as stream:
                state = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception:  # unreadable is as good as none: it is trained anew
            return
        fits = state.get("fingerprint") == self.fingerprint and state.get("branch") == branch
        if fits and (at_most is None or state["step"] <= at_most):
            self._restore(state)
