"""What stages found of the whole pool, as it stands in the run folder: `state/STAGE.json`."""

from __future__ import annotations

import json
from typing import Any

from pipelines.storage import Folder

_STATE = "state"


def read_summary(run: Folder, stage: str) -> tuple[str | None, Any]:
    """Return what a stage's summary was made from, and the summary; (None, None) where there is none."""
    kept = read_json(run, _path(stage))
    return kept.get("made_from"), kept.get("summary")


def write_summary(run: Folder, stage: str, made_from: str, summary: Any) -> None:
    """Keep a stage's summary, and what it was made from."""
    run.write(_path(stage), json.dumps({"made_from": made_from, "summary": summary}, indent=1).encode())


def workspace(run: Folder, stage: str, made_from: str) -> Folder:
    """Return the folder for what is too large to stand in the summary."""
    return run / f"{_STATE}/{stage}-{made_from[:12]}"


def clear_workspaces(run: Folder, stage: str, but: str) -> None:
    """Remove what a stage's summaries left in the run folder, all but the one made from that."""
    current = f"{stage}-{but[:12]}"
    for name in (run / _STATE).files():
        folder = name.split("/", 1)[0]
        if "/" in name and folder.rpartition("-")[0] == stage and folder != current:
            run.remove(f"{_STATE}/{name}")


def read_json(folder: Folder, name: str) -> dict[str, Any]:
    """Return a JSON object, empty when the file is not there or is none."""
    try:
        found = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _path(stage: str) -> str:
    return f"{_STATE}/{stage}.json"
