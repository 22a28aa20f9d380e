"""What a machine is: its processors, its GPUs, and the versions that run on it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from scoring.cores import usable_cores

_PACKAGES = ("curate-pools", "torch", "open_clip_torch", "faiss-gpu", "faiss-cpu", "numpy", "pyarrow")
_NVIDIA_SECONDS = 20  # a driver that hangs must not hold a run up


def describe_machine() -> dict[str, Any]:
    """Return what this machine is, as JSON values; no library with a model in it is loaded for that.

    Returns
    -------
    dict
        `cpus`: how many this process may use; `cpu`: their name; `gpus`: the names of NVIDIA's;
        `system`: operating system and architecture; `versions`: of Python and what computes.
    """
    return {
        "cpus": usable_cores(),
        "cpu": _cpu_name(),
        "gpus": ask_driver("name") or [],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions_of(_PACKAGES)},
    }


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def ask_driver(field: str) -> list[str] | None:
    """Return what NVIDIA's driver says of each GPU (`name`, `driver_version` …); None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # no driver behind the command
        return None
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]


def installed(name: str) -> str | None:
    """Return the version of an installed package; None when it is not there."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {name: installed(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}
