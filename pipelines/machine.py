"""What a machine is: its processors, its GPUs, and the versions that run on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

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
        "cpus": usable_cpus(),
        "cpu": _cpu_name(),
        "gpus": _gpu_names(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **_versions()},
    }


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # no driver behind the command
        return []
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
