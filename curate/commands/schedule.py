"""`curate schedule`: runs by the clock."""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import AllowClass, AllowPlugin, AsJson, Overrides
from pipelines.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from curate.schedule.entry import Work

app = typer.Typer(no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="The run's configuration, YAML.")]
StoreFile = Annotated[
    Path | None,
    typer.Option("--store", help="The file with the schedules; default: ~/.config/curate/schedules.json."),
]
Refit = Annotated[
    str | None,
    typer.Option(
        help="Fit what is fitted over the whole pool `always`, `never` again, or `when_grown_by=0.1`."
    ),
]
Overlap = Annotated[
    str, typer.Option(help="When the run is still at work: `skip` the tick, or let one `wait`.")
]
Retries = Annotated[int, typer.Option(min=0, max=100, help="Further attempts of a tick that failed.")]
Backoff = Annotated[
    float, typer.Option(help="Seconds before the first of them, doubled each time, give or take a half.")
]
NotifyUrl = Annotated[
    str | None,
    typer.Option(
        help="POST a JSON object there after success or failure; env:NAME takes it from a variable."
    ),
]
NotifyCommand = Annotated[
    str | None,
    typer.Option(help="Start this after success or failure, the JSON on its standard input; no shell."),
]


@app.command()
def add(
    config: Config,
    cron: Annotated[str, typer.Option(help="Minute hour day month weekday, as cron has it: '0 3 * * *'.")],
    name: Annotated[
        str | None, typer.Option(help="What the schedule is called; default: as the run.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="Where the clock hangs that --cron is of.")] = "UTC",
    refit: Refit = None,
    overlap: Overlap = "skip",
    retries: Retries = 3,
    backoff: Backoff = 60.0,
    notify_url: NotifyUrl = None,
    notify_command: NotifyCommand = None,
    set_: Overrides = None,
    allow_class: AllowClass = None,
    allow_plugin: AllowPlugin = None,
    store: StoreFile = None,
) -> None:
    """Add a schedule. `curate schedule serve` does it, or what `curate schedule export` writes."""
    from curate.config import load
    from curate.schedule.entry import Entry, Store
    from curate.schedule.times import check, next_after
    from pipelines.planning import plan
    from pipelines.storage import resolve

    work = _work(
        config, refit, overlap, retries, backoff, notify_url, notify_command, set_, allow_class, allow_plugin
    )
    check(cron, timezone)
    checked, base = load(work.config, work.overrides, allow_plugin=work.allow_plugin)
    plan(checked, base)
    entry = Entry(
        **work.model_dump(),
        name=name or checked.name,
        cron=cron,
        timezone=timezone,
        run=resolve(checked.run, base),
        since=datetime.now(UTC),
    )
    Store(store).add(entry)
    due = next_after(cron, timezone, entry.since)
    print(f"added {entry.name}; first due {due:%Y-%m-%d %H:%M} {timezone}; next: curate schedule serve")


@app.command(name="list")
def list_(store: StoreFile = None, as_json: AsJson = False) -> None:
    """List all schedules: when they are due, and what became of their last ticks."""
    from rich.console import Console

    from curate.schedule.entry import Store
    from curate.schedule.show import described, print_entries

    there = Store(store)
    found = [described(entry, datetime.now(UTC)) for entry in there.read()]
    if as_json:
        print(json.dumps({"served": there.is_served(), "schedules": found}))
        return
    print_entries(Console(), found, served=there.is_served(), store=str(there.path))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="What the schedule is called.")], store: StoreFile = None
) -> None:
    """Remove a schedule. The run folder, its records and the output stay."""
    from curate.schedule.entry import Store

    Store(store).remove(name)
    print(f"removed {name}")


@app.command()
def serve(
    store: StoreFile = None,
    at_once: Annotated[int, typer.Option(min=1, help="How many ticks may be at work at a time.")] = 1,
) -> None:
    """Do all schedules when they are due, until SIGTERM or Ctrl-C. Missed times get one tick at the start."""
    from curate.schedule.entry import Store
    from curate.schedule.serve import serve as go

    def say(what: str) -> None:
        print(f"{datetime.now(UTC).isoformat(timespec='seconds')} {what}", file=sys.stderr, flush=True)

    there = Store(store)
    say(f"serving {there.path}, times in UTC")
    go(there, say, at_once)
    say("stopped")


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="What the schedule is called.")],
    as_: Annotated[str, typer.Option("--as", help="cron, systemd, kubernetes or airflow.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the files.")] = Path(),
    image: Annotated[str | None, typer.Option(help="kubernetes: an image that has `curate`.")] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:/PATH", help="kubernetes: a volume claim to mount; may be repeated."),
    ] = None,
    secret: Annotated[str | None, typer.Option(help="kubernetes: a secret for the environment.")] = None,
    store: StoreFile = None,
) -> None:
    """Write a schedule as files for another clock, which starts `curate schedule tick`."""
    from curate.schedule.entry import Store
    from curate.schedule.export import Place, unmounted
    from curate.schedule.export import export as files_of

    pairs = [each.partition(":")[::2] for each in claim or ()]
    if any(not found or not path.startswith("/") for found, path in pairs):
        raise ConfigError("--claim is written NAME:/PATH")
    place = Place(image, tuple(pairs), secret)
    entry = Store(store).find(name)
    for file, text in files_of(entry, as_, place).items():
        if not output.is_dir():
            raise ConfigError(f"there is no folder {output}")
        (output / file).write_text(text, encoding="utf-8")
        print(f"wrote {output / file}")
    if as_ == "kubernetes" and (lacking := unmounted(entry, place)):
        print(f"on this machine alone: {', '.join(lacking)}; bring them along by --claim NAME:/PATH")


@app.command()
def tick(
    config: Config,
    refit: Refit = None,
    overlap: Overlap = "skip",
    retries: Retries = 3,
    backoff: Backoff = 60.0,
    notify_url: NotifyUrl = None,
    notify_command: NotifyCommand = None,
    set_: Overrides = None,
    allow_class: AllowClass = None,
    allow_plugin: AllowPlugin = None,
    due: Annotated[datetime | None, typer.Option(hidden=True, formats=["%Y-%m-%dT%H:%M:%S%z"])] = None,
    as_json: AsJson = False,
) -> None:
    """Do one tick now: run if there is anything new. What cron, systemd and the like should start."""
    from dataclasses import asdict

    from curate.schedule.tick import Ticker

    signal.signal(signal.SIGTERM, _interrupted)
    work = _work(
        config, refit, overlap, retries, backoff, notify_url, notify_command, set_, allow_class, allow_plugin
    )
    try:
        done = Ticker().tick(work, due)
    except KeyboardInterrupt:
        raise StoppedError("the tick was stopped; the next one goes on from here") from None
    if as_json:
        print(json.dumps(asdict(done) if done else {"outcome": "nothing new"}))
    elif done is None or done.outcome != "failed":
        print("nothing new" if done is None else f"{done.outcome}: {done.message}")
    if done and done.outcome == "failed":
        log = done.attempts[-1].log if done.attempts else None
        raise StoppedError(
            f"failed {len(done.attempts)} times: {done.message}" + (f"; see {log}" if log else "")
        )


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def _work(
    config: Path,
    refit: str | None,
    overlap: str,
    retries: int,
    backoff: float,
    notify_url: str | None,
    notify_command: str | None,
    overrides: list[str] | None,
    allow_class: list[str] | None,
    allow_plugin: list[str] | None,
) -> Work:
    from pydantic import ValidationError

    from curate.schedule.entry import Work
    from curate.schedule.notify import check

    kind, equals, share = (refit or "").partition("=")
    refits = [f"refit={{{kind}: {share}}}" if equals else f"refit={kind}"] if refit else []
    try:
        work = Work(
            config=str(config.absolute()),
            overrides=(*(overrides or ()), *refits),
            allow_class=tuple(allow_class or ()),
            allow_plugin=tuple(str(Path(file).absolute()) for file in allow_plugin or ()),
            overlap=overlap,
            retries=retries,
            backoff=backoff,
            notify_url=notify_url,
            notify_command=notify_command,
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigError(f"--{'.'.join(str(each) for each in problem['loc'])}: {problem['msg']}") from None
    check(work)
    return work
