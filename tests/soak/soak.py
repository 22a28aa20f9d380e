"""Schedules at work while shards come and go, workers, drivers, ticks and the server die and disks fill.

    python -m tests.soak.soak --minutes 60 --report soak.json

The disk is a small tmpfs in a mount namespace of its own, so that it really fills: Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from tests.soak import checks
from tests.soak.pool import Pool, write_config

DISK = "96m"
_SETTLING_MINUTES = 4.0  # at the end, nothing breaks
_SERVER_DIES_UNTIL = 0.3  # of the time; its memory is watched from then on
_FAULTS = ("a worker", "all workers", "the driver", "the tick", "the disk", "a column file")


class Soak:
    """The trial, a minute at a time. Whatever it draws comes from its seed; when things happen does not."""

    def __init__(self, home: Path, minutes: float, seed: int) -> None:
        self.home, self.minutes = home, minutes
        self.dice = random.Random(seed)
        self.started = time.monotonic()
        self.store = home / "schedules.json"
        self.pool = Pool(home / "pool", self.dice)
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.memory: list[tuple[float, int]] = []
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.server: subprocess.Popen[bytes] | None = None
        self.names = {"workers": 2, "alone": 0}

    def passed(self) -> float:
        """Return minutes since the start."""
        return (time.monotonic() - self.started) / 60

    def curate(self, *words: str) -> str:
        """Run a command of curate; return what it prints."""
        command = [sys.executable, "-m", "curate", *words]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    def go(self) -> dict[str, Any]:
        """Do all of it; return the report."""
        for _ in range(3):
            self.pool.arrive(self.home)
        for name, workers in self.names.items():
            file = write_config(self.home / f"{name}.yaml", self.home, self.pool.folder, name, workers)
            overlap = "wait" if workers else "skip"
            often = "* * * * *" if workers else "*/3 * * * *"
            options = [
                "--refit",
                "when_grown_by=0.5",
                "--overlap",
                overlap,
                "--retries",
                "2",
                "--backoff",
                "2",
            ]
            self.curate("schedule", "add", str(file), "--cron", often, "--store", str(self.store), *options)
        self.serve()
        while self.passed() < self.minutes:
            self.minute()
        self.settle()
        return self.report()

    def minute(self) -> None:
        """Let something arrive, or not, and something break, or not, at any moment of a minute."""
        until = time.monotonic() + 60
        calm = self.passed() > self.minutes - _SETTLING_MINUTES
        if not calm and self.dice.random() < 0.7:
            with contextlib.suppress(OSError):
                self.draw([self.arrive] * 5 + [self.change, self.vanish])()
        if self.passed() < self.minutes * _SERVER_DIES_UNTIL and self.dice.random() < 0.3:
            self.end_server(self.draw([signal.SIGKILL, signal.SIGTERM]))
            self.serve()
        fault = self.draw(_FAULTS) if not calm and self.dice.random() < 0.75 else None
        delay = self.dice.random() * 8
        filler: Path | None = None
        seen: float | None = None
        while time.monotonic() < until:
            self.watch()
            driver = self.process("curate run")
            if driver and seen is None:
                seen = time.monotonic()
            if fault and driver and seen is not None and time.monotonic() > seen + delay:
                if fault == "the disk":
                    filler = self.fill()
                if filler or self.break_(fault, driver):
                    self.faults[fault] += 1
                    fault = None
            time.sleep(0.5)
        if filler:
            filler.unlink()

    def draw(self, choices: Any) -> Any:
        """Return one of several."""
        return choices[self.dice.randrange(len(choices))]

    def arrive(self) -> None:
        """Let one or two shards come, written aside: to a disk that may be full."""
        for _ in range(self.draw([1, 1, 2])):
            self.pool.arrive(self.home)

    def change(self) -> None:
        """Let a shard change."""
        self.pool.change(self.home)

    def vanish(self) -> None:
        """Take a shard away."""
        self.pool.vanish()

    def fill(self) -> Path:
        """Fill the disk to the last block."""
        filler = self.home / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 12))
                stream.flush()
        return filler

    def break_(self, what: str, driver: psutil.Process) -> bool:
        """Let one of the trial's own processes die, or a file be cut; tell whether it was there to break."""
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            if what == "the driver":
                driver.kill()
            elif what == "the tick":
                tick = self.process("schedule tick")
                if tick is None:
                    return False
                tick.kill()
            elif what == "a column file":
                files = sorted(self.home.glob("runs/*/columns/*/*.parquet"))
                if not files:
                    return False
                file = self.draw(files)
                file.write_bytes(file.read_bytes()[:-7])
            else:
                leaves = [each for each in driver.children(recursive=True) if not each.children()]
                workers = [each for each in leaves if "resource_tracker" not in " ".join(each.cmdline())]
                if not workers:
                    return False
                for worker in workers if what == "all workers" else [self.draw(workers)]:
                    worker.kill()
            return True
        return False

    def process(self, words: str) -> psutil.Process | None:
        """Return a process of this trial by what was started: its command names this trial's folder."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                command = " ".join(process.cmdline())
                if words in command and str(self.home) in command:
                    return process
        return None

    def serve(self) -> None:
        """Start the server."""
        command = [sys.executable, "-m", "curate", "schedule", "serve", "--store", str(self.store)]
        with (self.home.parent / "serve.log").open("ab") as log:
            self.server = subprocess.Popen(
                [*command, "--at-once", "2"], stdout=log, stderr=log, start_new_session=True
            )
        self.memory.clear()

    def end_server(self, number: int) -> float:
        """End the server; return after how many seconds it was gone."""
        assert self.server is not None
        began = time.monotonic()
        self.server.send_signal(number)
        code = self.server.wait(120)
        assert code == (0 if number == signal.SIGTERM else -number), f"the server ended with code {code}"
        self.faults[f"the server, by {signal.Signals(number).name}"] += 1
        return time.monotonic() - began

    def watch(self) -> None:
        """Note the server's memory and the records of ticks, which are pruned."""
        assert self.server is not None
        assert self.server.poll() is None, "the server died by itself"
        if not self.memory or time.monotonic() - self.memory[-1][0] > 10:
            self.memory.append((time.monotonic(), psutil.Process(self.server.pid).memory_info().rss))
            for name in self.names:
                with contextlib.suppress(OSError, ValueError):
                    for tick in checks.ticks_of(self.home / f"runs/{name}"):
                        self.outcomes[f"{name} {tick['started']} {tick['process']}"] = {**tick, "run": name}

    def settle(self) -> None:
        """Wait until nothing is new and nobody is at work."""
        until = time.monotonic() + 600
        while time.monotonic() < until:
            self.watch()
            if not self.process("curate run") and all(map(self.nothing_new, self.names)):
                break
            time.sleep(5)
        else:
            raise AssertionError("the schedules did not catch up within ten minutes")
        before, until = self.everything(), time.monotonic() + 200  # of both schedules, ticks with nothing new
        while time.monotonic() < until:
            self.watch()
            time.sleep(1)
        assert self.everything() == before, "a tick with nothing new has written"

    def everything(self) -> dict[str, tuple[int, int]]:
        """Return size and time of last change of every file and folder."""
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in self.home.rglob("*")}

    def nothing_new(self, name: str) -> bool:
        """Tell whether a tick by hand finds nothing, without a write."""
        from curate.config import load
        from pipelines.finished import is_up_to_date

        return is_up_to_date(*load(self.home / f"{name}.yaml", ["refit={when_grown_by: 0.5}"]))

    def report(self) -> dict[str, Any]:
        """Check everything; return what happened."""
        memory = [rss for _, rss in self.memory]
        settled = memory[len(memory) // 10 :]
        half = len(settled) // 2
        first, last = (sorted(part)[len(part) // 2] for part in (settled[:half], settled[half:]))
        listed = json.loads(self.curate("schedule", "list", "--json", "--store", str(self.store)))
        ended_after = self.end_server(signal.SIGTERM)
        assert self.process("curate") is None, "a process is left"
        ticks = list(self.outcomes.values())
        report: dict[str, Any] = {
            "minutes": round(self.passed(), 1),
            "pool": {**self.pool.counts, "at the end": len(self.pool.samples)},
            "faults": dict(self.faults),
            "ticks that had work": dict(Counter(tick["outcome"] for tick in ticks)),
            "failed attempts": dict(Counter(a["message"] for tick in ticks for a in tick["attempts"])),
            "doubled ticks": doubled(ticks),
            "seconds until the server ended": round(ended_after, 1),
            "server's memory, MB": {
                "minutes watched": round((self.memory[-1][0] - self.memory[0][0]) / 60, 1),
                "median of the first half": round(first / 1e6, 1),
                "median of the second half": round(last / 1e6, 1),
                "most": round(max(memory) / 1e6, 1),
            },
            "runs": {},
        }
        assert listed["served"]
        assert not report["doubled ticks"]
        for name in self.names:
            run, output = self.home / f"runs/{name}", self.home / f"curated/{name}"
            account = checks.check_samples(run, output, self.pool.samples)
            report["runs"][name] = {**account, **checks.check_versions(output)}
        checks.check_leftovers(self.home)
        assert last < first * 1.05 + 2e6, "the server's memory grows"
        return report


def doubled(ticks: list[dict[str, Any]]) -> list[str]:
    """Return the times for which a run had two ticks with work that both were done."""
    done = Counter((tick["run"], tick["due"]) for tick in ticks if tick["outcome"] == "done")
    return [f"{run} {due}" for (run, due), n in done.items() if n > 1]


def main(words: list[str] | None = None) -> None:
    """Run the trial in a mount namespace with a small disk of its own, and print its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.inside is None:
        sys.exit(outside(["--minutes", str(asked.minutes), "--seed", str(asked.seed)], asked.report))
    disk = asked.inside / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "soak", str(disk)], check=True)
    soak = Soak(disk, asked.minutes, asked.seed)
    try:
        (asked.inside / "report.json").write_text(json.dumps(soak.go(), indent=1))
    except BaseException:
        left = shutil.copytree(disk, asked.inside.with_name(f"{asked.inside.name}-failed"))
        print(f"what was there is in {left}", file=sys.stderr)
        raise
    finally:
        if soak.server and soak.server.poll() is None:
            soak.server.terminate()
            soak.server.wait(120)


def outside(words: list[str], report: Path | None) -> int:
    """Start the trial in namespaces of its own; keep its disk's name and its report out of them."""
    with tempfile.TemporaryDirectory(prefix="curate-soak-") as home:
        spaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        inside = [sys.executable, "-m", "tests.soak.soak", "--inside", home, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        root = Path(__file__).parents[2]
        code = subprocess.run(
            ["unshare", *spaces, *inside], env=environment, cwd=root, check=False
        ).returncode
        found = Path(home) / "report.json"
        if not found.exists():
            log = Path(home) / "serve.log"
            print(log.read_text()[-4000:] if log.exists() else "", file=sys.stderr)
            return code or 1
        print(found.read_text())
        if report is not None:
            report.write_text(found.read_text())
    return code


if __name__ == "__main__":
    main()
