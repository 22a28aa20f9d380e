"""The command line. Each command says on stderr what it does and prints what it found on stdout."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from curate.commands import doctor, loop, pack, plugins, versions, view
from curate.commands.options import AllowClass, AllowPlugin, AsJson, Overrides
from pipelines.errors import ConfigError, StoppedError
from pipelines.failures import what_failed


class _Root(TyperGroup):
    """All commands; each ends in the same way when it is interrupted, before Typer ends it in its own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            again = shlex.join(["curate", *sys.argv[1:]])
            raise StoppedError(f"stopped; to go on from here, run it again: {again}") from None


app = typer.Typer(
    name="curate",
    cls=_Root,
    help="Raw image-text shards and a compute budget in, the shards to train on out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _loaded_when_used(module: str) -> type[TyperGroup]:
    """Return a group whose commands live in a module with heavy imports: no other command pays for them."""

    class Lazy(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            names: list[str] = self._group().list_commands(ctx)
            return names

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return self._group().get_command(ctx, cmd_name)

        def _group(self) -> Any:
            return typer.main.get_command(importlib.import_module(module).app)

    return Lazy


# How `curate --help` groups what there is.
_START, _RUN, _OUTPUT = "To start", "A run", "What a run wrote"
_METHODS, _BUDGET = "Its methods, closer", "Which pool for which budget"
_GROUPS = {
    "schedule": (_RUN, "Schedules: runs by the clock, which take what is new."),
    "clusters": (_METHODS, "Concept clusters: what a pruning kept of each, and why."),
    "duplicates": (_METHODS, "Semantic duplicates: what each threshold would keep."),
    "dfn": (_METHODS, "Filter networks: small CLIPs whose similarity decides what a big model trains on."),
    "scaling": (_BUDGET, "Scaling laws: which pool for which budget, from your own training runs."),
}
for _name, (_panel, _help) in _GROUPS.items():
    _group = typer.Typer(cls=_loaded_when_used(f"curate.commands.{_name}"), no_args_is_help=True)
    app.add_typer(_group, name=_name, help=_help, rich_help_panel=_panel)

Config = Annotated[Path, typer.Argument(help="The run's configuration, YAML; `curate init` writes one.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"curate {metadata.version('curate-pools')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take options that every command has."""


@app.command(rich_help_panel=_START)
def init(
    shards: Annotated[
        str, typer.Argument(help="Brace range (quoted), glob, folder or URL of the raw shards.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("curate.yaml"),
    model: Annotated[
        str | None, typer.Option(help="An encoder: open_clip name, hf-hub:… or local-dir:…")
    ] = None,
    pretrained: Annotated[str | None, typer.Option(help="The encoder's tag or weights file.")] = None,
) -> None:
    """Write a commented configuration for a pool of shards."""
    from curate.init import write_config
    from curate.show import counted

    n_shards = write_config(shards, output, model, pretrained)
    print(f"wrote {output} for {counted(n_shards, 'shard')}; next: curate check {output}")


@app.command(rich_help_panel=_RUN)
def check(
    config: Config,
    allow_plugin: AllowPlugin = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Validate a configuration and say what a run would do and cost, without starting anything."""
    from dataclasses import asdict

    from curate.config import load
    from curate.forecast import forecast
    from curate.show import counted, duration, facts, size

    checked, base = load(config, set_ or (), allow_plugin=allow_plugin or ())
    found = forecast(checked, base)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    encode = (
        "unknown before the first shard" if found.encode_seconds is None else duration(found.encode_seconds)
    )
    busy = counted(found.busy_workers, "worker")
    if found.busy_workers < checked.engine.workers:
        busy += f", of {checked.engine.workers:,}: each has a shard at a time"
    rows: list[tuple[str, Any]] = [
        (
            "shards",
            f"{found.shards:,}" + (f" (missing numbers: {', '.join(found.gaps)})" if found.gaps else ""),
        ),
        ("samples", f"{found.samples:,}" + ("" if found.counted else ", estimated from the largest shard")),
        ("bytes", size(found.pool_bytes)),
        ("stages", " → ".join(found.stages)),
        ("time to ingest", f"about {duration(found.ingest_seconds)} with {busy}"),
        *([("needs", f"--allow-class {checked.engine.cluster}")] if checked.engine.cluster else []),
        *([("time to embed", f"{encode} at most on CPUs")] if found.encode_seconds != 0 else []),
        ("disk for the run", f"about {size(found.run_bytes)}"),
        ("disk for the output", f"{size(found.output_bytes)} at most"),
        *([("and earlier versions", f"{size(found.earlier_bytes)} at most")] if found.earlier_bytes else []),
    ]
    facts(Console(), f"{checked.name}: this would be done", rows)


@app.command(rich_help_panel=_RUN)
def run(
    config: Config,
    allow_class: AllowClass = None,
    allow_plugin: AllowPlugin = None,
    set_: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Curate: do what is missing of a run, write the new shards, and account for every sample."""
    from curate import api
    from curate.config import load
    from curate.progress import shown
    from curate.show import funnel
    from pipelines.pool.placeholders import Placeholder, told_of_all
    from pipelines.storage import resolve

    checked, base = load(config, set_ or (), allow_plugin=allow_plugin or ())
    where = _short(resolve(checked.run, base))
    with shown(as_json) as show:
        result = api.run_loaded(checked, base, show, allow_class=allow_class or ())
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    console = Console()
    funnel(console, checked.name, result.samples, result.dropped, result.set_aside, result.kept)
    if result.placeholders:
        note = f"note: {told_of_all([Placeholder(**each) for each in result.placeholders])}"
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    written = f"written to {_short(result.output)} in {result.seconds:.1f} s"
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    console.print(f"to look at it: curate report {where}", highlight=False, markup=False, soft_wrap=True)


@app.command(rich_help_panel=_RUN)
def status(
    run: Annotated[str, typer.Argument(help="The run folder.")],
    cost: Annotated[
        bool, typer.Option("--cost", help="Say what each stage has cost: seconds, CPU seconds, GPU seconds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a run has come."""
    from dataclasses import asdict

    from curate.schedule.show import of_status
    from curate.show import costs, facts
    from curate.status import status as find

    found = find(run)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    if cost:
        costs(Console(), found.name, [(stage.name, stage.tally, stage.cost) for stage in found.stages])
        return
    rows: list[tuple[str, Any]] = [*found.lines(), *of_status(found.ticks)]
    rows.append(("output", f"{'complete' if found.published else 'not complete'}, {_short(found.output)}"))
    facts(Console(), f"{found.name}: {'running' if found.running else 'not running'}", rows)
    if not found.running and found.current:
        print(f"to go on: curate run {_short(str(Path(run, 'run.yaml').absolute()))}")


@app.command(rich_help_panel=_OUTPUT)
def export(
    run: Annotated[str, typer.Argument(help="The folder of a finished run.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The file, or the folder.")],
    as_: Annotated[
        str,
        typer.Option(
            "--as",
            help="datacomp: the subset, .npy; csv or parquet: every sample's decision and scores; "
            "clip-retrieval: the kept samples' vectors; hugging-face: a folder for load_dataset; "
            "fiftyone: a folder of images with what became of each.",
        ),
    ] = "datacomp",
    encoder: Annotated[str | None, typer.Option(help="Whose vectors, where the run has several.")] = None,
    images: Annotated[
        bool,
        typer.Option("--images/--no-images", help="hugging-face: with images, or just their URLs."),
    ] = True,
) -> None:
    """Write what a run decided, or its vectors, in a format that other tools read."""
    from curate.exchange import export as write

    n = write(run, output, as_, encoder, images)
    what = {"datacomp": "uids", "csv": "decisions", "parquet": "decisions"}.get(as_, "samples")
    what = "vectors of each kind" if as_ == "clip-retrieval" else what
    print(f"wrote {n:,} {what} to {output}")


@app.command(rich_help_panel=_OUTPUT)
def verify_subset(
    subset: Annotated[str, typer.Argument(help="A DataComp subset, .npy.")],
    pool: Annotated[
        str | None, typer.Option(help="A run folder, a configuration, or Parquet files with a column uid.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Sort it, into the file that --output names.")] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The sorted copy.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when the pool lacks a uid.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a subset file: its type and order, which uids repeat, and whether the pool has them all."""
    from curate.exchange import verify_subset as verify
    from curate.show import facts

    found = verify(subset, pool, fix, output)
    covered = found.get("pool")
    if as_json:
        print(json.dumps(found))
    else:
        name = Path(found.get("written", found["subset"])).name
        rows: list[tuple[str, Any]] = [
            ("uids", f"{found['uids']:,}, sorted"),
            ("different uids", f"{found['distinct']:,}"),
            ("most copies of one", f"{found['most_copies']:,}"),
        ]
        if covered:
            rows.append(
                ("samples in the pool", f"{covered['samples']:,}, {covered['wanted']:,} of them wanted")
            )
            rows.append(("uids not in the pool", f"{covered['missing']:,}"))
        facts(Console(), name, rows)
    if strict and covered and covered["missing"]:
        some = ", ".join(covered["examples"])
        raise ConfigError(f"{covered['missing']:,} uids of {subset} are not in the pool: {some} …")


@app.command(rich_help_panel=_RUN)
def report(
    run: Annotated[str, typer.Argument(help="The run folder.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The file; without it report.html in the run folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page to look at: the funnel, every threshold, and samples on both sides of it."""
    from dataclasses import asdict

    from curate.report import write_report
    from curate.show import size

    made = write_report(run, output)
    if as_json:
        print(json.dumps(asdict(made)))
        return
    shown = f"{made.shown:,} of {made.samples:,} samples, {made.pictures:,} with pictures"
    print(f"wrote {made.path}: {size(made.bytes)}, {shown}, in {made.seconds:.1f} s")


@app.command(rich_help_panel=_START)
def demo(
    folder: Annotated[Path, typer.Option(help="Where to put everything.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Draws other pictures and faults.")] = 0,
    samples: Annotated[int, typer.Option(min=100, help="Size of the pool.")] = 3000,
) -> None:
    """See it work: render a pool with known faults, curate it, compare with the truth. No network needed."""
    from curate.demo.demo import run_demo

    run_demo(folder, seed=seed, samples=samples, console=Console())


_COMMANDS = {
    _START: (pack.pack, doctor.doctor, plugins.plugins),
    _RUN: (view.view,),
    _OUTPUT: (versions.versions, versions.verify, versions.diff, versions.rollback),
    _BUDGET: (loop.buckets, loop.proxy, loop.advise, loop.autopilot),
}
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)


def _short(place: str) -> str:
    """Return a path as one would type it here."""
    here = str(Path.cwd()) + "/"
    return shlex.quote(place.removeprefix(here))


def main() -> None:
    """Run a command: exit 0 when done, 2 on a usage or configuration error, 3 when stopped with work left."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except StoppedError as error:
        _fail(error, 3)
    except KeyboardInterrupt:  # while the commands were being loaded
        _fail("stopped", 3)
    except Exception as error:
        if (what := what_failed(error)) is None:  # no full disk, no folder that may not be written to
            raise  # a defect of ours: where it happened is what people should send
        _fail(f"{what} and run it again", 3)


def _fail(message: object, code: int) -> None:
    print(f"curate: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
