"""The report of a run: one HTML file to look at, made from the run folder's columns."""

from __future__ import annotations

import time
from dataclasses import dataclass

from curate.report.finished import open_run
from pipelines.storage import Folder, resolve

REPORT = "report.html"


@dataclass(frozen=True)
class Written:
    """What `write_report` made."""

    path: str
    bytes: int
    samples: int
    shown: int
    pictures: int
    seconds: float


def write_report(run: str, output: str | None = None) -> Written:
    """Write the report of a run that is done.

    Parameters
    ----------
    run
        The run folder, a path or URL; its columns are read, and of the pool the pictures that are shown.
    output
        The file; without it `report.html` in the run folder.

    Raises
    ------
    ConfigError
        When the folder is none of a run, or the run has work left.
    """
    from curate.report.collect import collect
    from curate.report.page import render
    from curate.report.samples import describe

    started = time.monotonic()
    finished = open_run(run)
    findings = collect(finished)
    samples = describe(finished, findings)
    page = render(finished, findings, samples).encode()
    path = finished.folder.path(REPORT) if output is None else resolve(output, ".")
    folder, _, name = path.rpartition("/")
    Folder(folder or "/").write(name, page)
    seconds = round(time.monotonic() - started, 2)
    return Written(path, len(page), finished.samples, len(samples.places), samples.pictures, seconds)
