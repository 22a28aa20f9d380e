"""The demo from end to end: render a pool with known faults, train, curate, and compare with the truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from curate.demo.contact_sheet import draw_contact_sheet
from curate.demo.outcomes import Outcome, read_outcomes
from curate.demo.plan import plan_clean, plan_pool
from curate.demo.pool import write_samples, write_truth
from curate.demo.screen import Step, print_account
from curate.demo.settings import write_network_config, write_run_config
from curate.demo.truth import kept
from curate.report import REPORT, write_report
from pipelines.errors import ConfigError

N_CLEAN = 2400
MIN_SAMPLES = 120


def run_demo(folder: Path, *, seed: int = 0, samples: int = 3000, console: Console) -> None:
    """Render, train, run and report; what an earlier call has done in the folder is used again.

    Parameters
    ----------
    folder
        Gets everything: pool, network, run, curated shards, contact sheet.
    seed
        Of every random choice.
    samples
        Size of the pool, at least `MIN_SAMPLES`.
    console
        Where to tell about it.

    Raises
    ------
    ConfigError
        When the pool would be too small to hold each kind of fault.

    """
    if samples < MIN_SAMPLES:
        raise ConfigError(f"{samples} samples are too few to hold every fault; at least {MIN_SAMPLES}")
    started = time.monotonic()
    _introduce(console, folder, samples)
    _render(folder, seed, samples, console)
    _train(folder, seed, console)
    _curate(folder, seed, samples, console)
    outcomes = _compare(folder, console)
    print_account(console, outcomes)
    _conclude(console, folder, time.monotonic() - started)


def _introduce(console: Console, folder: Path, samples: int) -> None:
    console.print(
        f"\n{samples:,} pictures with captions, many spoilt on purpose: the result can be checked.\n"
        f"No network is used; everything goes to {folder}.\n",
        highlight=False,
        markup=False,
    )


def _render(folder: Path, seed: int, samples: int, console: Console) -> None:
    pool, clean = plan_pool(seed, samples), plan_clean(seed, N_CLEAN)
    total, done = len(pool) + len(clean), 0
    with Step(console, "Render") as step:

        def advance(n: int) -> None:
            nonlocal done
            done += n
            step.show(done, total, f"{done:,} of {total:,} pictures")

        new = write_samples(folder / "pool", pool, advance)
        write_truth(folder / "truth.parquet", pool)
        new = write_samples(folder / "clean", clean, advance) or new
        step.detail = (
            f"{len(pool):,} faulty and {len(clean):,} clean samples{'' if new else ' (done before)'}"
        )


def _train(folder: Path, seed: int, console: Console) -> None:
    from curate.commands.dfn import load_train_config

    path = folder / "filter-network.yaml"
    write_network_config(path, seed=seed)
    config = load_train_config(path)
    with Step(console, "Train") as step:
        step.show(0, None, "torch is being loaded")
        # It takes seconds: with the bar on the screen, and not for those who import this module.
        from pipelines.training.train import train_filter

        step.detail = "the filter network is trained already"

        def show(event: dict[str, Any]) -> None:
            if event["event"] == "step":
                step.show(event["step"], event["steps"], f"loss {event['loss']:.2f}")
                step.detail = (
                    f"a small CLIP on clean pairs, {event['steps']:,} steps, loss {event['loss']:.2f}"
                )

        with _root_logger_untouched():
            train_filter(config, on_event=show)


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Keep open_clip's `logging.info` from giving the root logger a handler that prints all Dask says."""
    guard = logging.NullHandler()
    logging.root.addHandler(guard)
    try:
        yield
    finally:
        logging.root.removeHandler(guard)


def _curate(folder: Path, seed: int, samples: int, console: Console) -> None:
    # The engine takes a second to import: not before it is needed.
    from curate import run

    config = folder / "curate.yaml"
    last = plan_pool(seed, samples)[-1]
    write_run_config(config, seed=seed, last_shard=f"{last.shard:05d}")
    with Step(console, "Curate") as step:
        done = 0

        def show(event: dict[str, Any]) -> None:
            nonlocal done
            match event["event"]:
                case "stage":
                    done = event["done"]
                    step.show(done, event["shards"], event["stage"])
                case "shard":
                    done += 1
                    step.show(done, last.shard + 1, event["stage"])
                case "stage_done":
                    going_on = f"{event['samples']:,} → {event['kept']:,}"
                    note = "" if event["new"] else " (done before)"
                    step.say(event["stage"], going_on + note, event["seconds"])

        step.show(0, None, "workers are being started")
        result = run(config, on_event=show)
        step.detail = f"{result.kept:,} of {result.samples:,} samples kept"


def _compare(folder: Path, console: Console) -> list[Outcome]:
    with Step(console, "Compare") as step:
        outcomes = read_outcomes(folder / "run", folder / "truth.parquet")
        title = f"curate demo: {len(outcomes):,} samples in, {len(kept(outcomes)):,} kept"
        draw_contact_sheet(folder / "contact_sheet.png", outcomes, folder / "pool", title)
        write_report(str(folder / "run"))
        step.detail = "each sample's fate with what it really is"
    return outcomes


def _conclude(console: Console, folder: Path, seconds: float) -> None:
    config = folder / "curate.yaml"
    lines = [
        "",
        f"  look at          {folder / 'run' / REPORT}",
        f"  and at           {folder / 'contact_sheet.png'}",
        f"  curated shards   {folder / 'curated'}",
        f"  every decision   {folder / 'run' / 'decisions'}",
        "",
        "  Try next, each redoes just what it changes:",
        f"    curate run {config} --set stages.keep.top=0.75",
        f"    curate run {config} --set stages.rules.caption_words=[4,77]",
        f"    curate status {folder / 'run'}",
        "",
        f"  All of it took {seconds:.0f} s.",
    ]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
