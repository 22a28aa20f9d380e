"""How much of the machine this process may use: in a container, less than there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from scoring.cores import usable_cores

_CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Return the number of cores that this process may use: those it is bound to, and its cgroup's quota."""
    cores = usable_cores()
    quota = cpu_quota()
    return max(1, min(cores, int(quota + 0.5))) if quota else cores


def cpu_quota() -> float | None:
    """Return how many cores' time the cgroup of this process may spend; None without a limit."""
    found: list[float] = []
    for folder in _folders():
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            limit, period = (folder / "cpu.max").read_text().split()
            if limit != "max":
                found.append(int(limit) / int(period))
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # cgroup 1
        limit = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text()
        if int(limit) > 0:
            found.append(int(limit) / int((_CGROUP / "cpu/cpu.cfs_period_us").read_text()))
    return min(found, default=None)


def memory_limit() -> int | None:
    """Return the bytes that this process may use at most: of its cgroup, else of the machine."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    files = [folder / "memory.max" for folder in _folders()]
    for file in [*files, _CGROUP / "memory/memory.limit_in_bytes"]:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return min(found, default=None)


def _folders() -> list[Path]:
    """Return the folders of this process's cgroup and those above it, any of which may hold a limit."""
    own = "/"
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    place = _CGROUP / own.lstrip("/")
    return [folder for folder in (place, *place.parents) if folder.is_relative_to(_CGROUP)]
