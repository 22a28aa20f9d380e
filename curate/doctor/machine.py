"""Whether the machine has what a run needs: cores, memory, and room on a disk that is fast enough."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from curate.doctor.finding import Finding
from curate.show import size
from pipelines.limits import available_cores, cpu_quota, memory_limit

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_WORKER_BYTES = 1.5e9  # of a worker with a model
_TRIAL_BYTES = 64 << 20
_SLOW = 30e6  # bytes a second
_LITTLE = 5e9
_SHARED_BYTES = 1 << 30
_OPEN_FILES = 1024


def cores() -> Iterator[Finding]:
    """Look at the cores that this process may use, and at how many threads libraries will start."""
    usable, there = available_cores(), os.cpu_count() or 1
    quota = cpu_quota()
    limit = f", limited to {quota:g} by its cgroup" if quota is not None and quota < there else ""
    yield Finding("cores", "ok", f"{usable} of {there}{limit}")
    for name in _THREADS:
        value = os.environ.get(name)
        if value and value.isdigit() and int(value) > usable:
            todo = f"export {name}={usable}, or unset it: workers set it to engine.threads_per_worker"
            yield Finding("threads", "warn", f"{name} is {value}, more than the {usable} cores", todo)


def memory() -> Iterator[Finding]:
    """Look at the memory that this process may use."""
    total = memory_limit()
    if total is None:
        yield Finding("memory", "warn", "the system doesn't tell how much there is")
        return
    workers = max(1, int(total / _WORKER_BYTES))
    if total < _WORKER_BYTES:
        todo = "a worker with a model takes about 1.5 GB: use a machine, or a limit, with more"
        yield Finding("memory", "warn", size(total), todo)
    elif workers < available_cores():
        todo = f"a worker with a model takes about 1.5 GB: set engine.workers to {workers} at most"
        yield Finding("memory", "warn", f"{size(total)} for {available_cores()} cores", todo)
    else:
        yield Finding("memory", "ok", size(total))


def disk(folder: str) -> Iterator[Finding]:
    """Look at the room and the speed of the disk that a folder will lie on."""
    place = next(p for p in (Path(folder).absolute(), *Path(folder).absolute().parents) if p.is_dir())
    free = shutil.disk_usage(place).free
    if free < 2 * _TRIAL_BYTES:
        yield Finding("disk", "wrong", f"{size(free)} free at {place}", "make room, or run elsewhere")
        return
    try:
        speed = _writing_speed(place)
    except OSError as error:
        yield Finding("disk", "wrong", f"{place} can't be written to ({error.strerror})", "run elsewhere")
        return
    text = f"{size(free)} free at {place}, writes {size(speed)} a second"
    if free < _LITTLE:
        yield Finding("disk", "warn", text, "a run writes at most as much as its pool has: `curate check`")
    elif speed < _SLOW:
        yield Finding("disk", "warn", text, "it is slow: set `run` and `output` to a faster one")
    else:
        yield Finding("disk", "ok", text)


def _writing_speed(place: Path) -> float:
    """Return the bytes a second that reach the disk, of a file that is gone afterwards."""
    block = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=place) as stream:
        started = time.monotonic()
        for _ in range(_TRIAL_BYTES // len(block)):
            stream.write(block)
            if time.monotonic() - started > 2:
                break
        stream.flush()
        os.fsync(stream.fileno())
        return stream.tell() / max(1e-6, time.monotonic() - started)


def limits(has_gpu: bool) -> Iterator[Finding]:
    """Look at limits that are too low in some containers."""
    shared = Path("/dev/shm")  # noqa: S108 - where shared memory lies
    if has_gpu and shared.is_dir() and (room := shutil.disk_usage(shared).total) < _SHARED_BYTES:
        todo = "decoders pass images to the GPU's worker there: docker run --shm-size=2g"
        yield Finding("shared memory", "warn", size(room), todo)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _OPEN_FILES:
        todo = f"ulimit -n {min(hard, 4096) if hard > 0 else 4096}"
        yield Finding(
            "open files", "warn", f"at most {soft:,}, and workers with their sockets need more", todo
        )
