"""Curate from Python: what the commands call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from curate.clusters_plot import draw_accounts
from curate.config import load
from curate.events import EventLog, machine
from pipelines.config import RunConfig
from pipelines.failures import stop_when_files_fail
from pipelines.output.publish import put_if_changed
from pipelines.run import Result, execute
from pipelines.storage import Folder, resolve


def run(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    *,
    allow_class: Collection[str] = (),
    allow_plugin: Collection[str] = (),
) -> Result:
    """Curate a pool: do what is missing of a run and return the account of every sample.

    Parameters
    ----------
    config
        A YAML file, or the same content as a mapping.
    overrides
        `a.b=c`, as on the command line.
    on_event
        Called with every event of the run, a JSON object.
    allow_class
        Dask cluster classes that `engine.cluster` may name: no configuration runs code by itself.
    allow_plugin
        Files that `plugins` may name.

    Returns
    -------
    Result
        `samples`, `kept`, `dropped` by "stage.reason", `set_aside` by reason, `output`, `seconds`.

    Raises
    ------
    pipelines.errors.ConfigError
        When the configuration makes no sense or another run owns the folder.
    pipelines.errors.StoppedError
        When work is left; calling again goes on from there.
    """
    checked, base = load(config, overrides, allow_plugin=allow_plugin)
    return run_loaded(checked, base, on_event, allow_class=allow_class)


@stop_when_files_fail()
def run_loaded(
    config: RunConfig,
    base: Path,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    *,
    allow_class: Collection[str] = (),
) -> Result:
    """Curate as `run` does, by a configuration that is loaded; its relative paths start at `base`."""
    with EventLog(Folder(resolve(config.run, base))) as log:

        def emit(event: dict[str, Any]) -> None:
            if event["event"] == "pool":  # the first: the run owns its folder now
                put_if_changed(log.run, "run.yaml", resolved(config, base))
                log.write(machine())
            log.write(event)
            on_event(event)

        result = execute(config, base=base, emit=emit, allow_class=allow_class)
        draw_accounts(log.run)
        return result


def resolved(config: RunConfig, base: Path) -> bytes:
    """Return a configuration as YAML that means the same wherever it is read."""
    content = config.model_dump(mode="json", exclude_none=True, serialize_as_any=True)
    for kind in {"shards", "metadata"} & {*content["pool"]}:
        given = content["pool"][kind]
        patterns = [given] if isinstance(given, str) else given
        content["pool"][kind] = ["::".join(resolve(p, base) for p in s.split("::")) for s in patterns]
    if not content["plugins"]:
        del content["plugins"]
    content["run"] = resolve(config.run, base)
    for kind in {"shards", "subset"} & {*content["output"]}:
        content["output"][kind] = resolve(content["output"][kind], base)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
