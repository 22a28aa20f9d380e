"""Whether what is installed is what curate needs, by the packages' own metadata."""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from curate.doctor.finding import Finding
from pipelines.machine import installed

PACKAGE = "curate-pools"
_NAMED = ("torch", "torchvision", "open_clip_torch", "numpy", "pyarrow", "dask")
_FOR_OURSELVES = ("dev", "notebooks", "docs")


def python() -> Iterator[Finding]:
    """Look at the interpreter."""
    version = f"{platform.python_version()} ({platform.machine()}), {sys.prefix}"
    if sys.maxsize < 1 << 32:
        yield Finding("Python", "wrong", version, "make an environment with a 64-bit Python")
    else:
        yield Finding("Python", "ok", version)


def requirements() -> Iterator[Finding]:
    """Look at whether all that curate requires is there, in versions that it can use."""
    if installed(PACKAGE) is None:
        yield Finding(
            "packages", "warn", "curate runs from a folder, and is not installed", "pip install -e ."
        )
        return
    wanted = [each for each in _requirements() if each.marker is None or each.marker.evaluate({"extra": ""})]
    lacking = [problem for each in wanted if (problem := _problem(each))]
    versions = ", ".join(f"{name} {version}" for name in _NAMED if (version := installed(name)))
    if lacking:
        names = " ".join(f"'{each}'" for each in lacking)
        yield Finding(
            "packages", "wrong", f"missing or too old: {', '.join(lacking)}", f"pip install {names}"
        )
    yield Finding("packages", "ok", f"curate {installed(PACKAGE)}, {versions}")
    if installed("faiss-cpu") and installed("faiss-gpu"):
        yield Finding(
            "packages",
            "warn",
            "both faiss-cpu and faiss-gpu are installed, and which one is loaded is chance",
            "pip uninstall faiss-cpu faiss-gpu, then install one again",
        )


def extras() -> Iterator[Finding]:
    """Look at which optional parts there are."""
    if installed(PACKAGE) is None:
        return
    parts: dict[str, list[Requirement]] = defaultdict(list)
    for requirement in _requirements():
        for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or ():
            alone = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
            if alone and requirement.marker and requirement.marker.evaluate({"extra": extra}):
                parts[extra].append(requirement)
    there = {extra: not any(map(_problem, wanted)) for extra, wanted in parts.items()}
    shown = {extra: has for extra, has in sorted(there.items()) if extra not in _FOR_OURSELVES}
    has = ", ".join(extra for extra, is_there in shown.items() if is_there) or "none"
    lacks = ", ".join(extra for extra, is_there in shown.items() if not is_there)
    hint = f"; not installed: {lacks} (pip install '{PACKAGE}[NAME]')" if lacks else ""
    yield Finding("extras", "ok", has + hint)


def plugins() -> Iterator[Finding]:
    """Name the plugins that are installed; none of their code is run."""
    from pipelines.plugins.installed import installed as offered

    found = [f"{point.name} ({sort}, from {point.value})" for sort, point in offered()]
    yield Finding("plugins", "ok", ", ".join(found) or "none installed")


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(PACKAGE) or ()]


def _problem(requirement: Requirement) -> str | None:
    """Return a requirement that isn't met, as one would ask pip for it."""
    version = installed(requirement.name)
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name}{requirement.specifier}"
