"""Joining scores from the user's files to a pool, against pandas merging the same files whole in memory.

Each way runs in a process of its own, so that its peak memory is its own. Run it with
`python -m benchmarks.file_scores`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_FILE = 100_000
FILES = (10, 40)


def write(home: Path) -> float:
    """Write a pool of metadata, and files with its scores in another order; return the seconds."""
    started, n_files = time.perf_counter(), int(home.name)
    home.mkdir()
    rng = np.random.default_rng(0)
    n = n_files * ROWS_PER_FILE
    digits = rng.bytes(16 * n).hex()
    uid = np.array([digits[32 * k : 32 * k + 32] for k in range(n)])
    for folder, order in (("pool", np.arange(n)), ("scores", rng.permutation(n))):
        (home / folder).mkdir()
        for k in range(n_files):
            rows = order[k * ROWS_PER_FILE : (k + 1) * ROWS_PER_FILE]
            table = pa.table({"uid": uid[rows], **({"aesthetic": rows / n} if folder == "scores" else {})})
            pq.write_table(table, home / folder / f"{k:05d}.parquet")
    return time.perf_counter() - started


def ours(home: Path) -> float:
    """Return the seconds of the stage that joins."""
    from curate import run

    seconds: dict[str, float] = {}
    content = {
        "name": "join",
        "pool": {"metadata": str(home / "pool")},
        "run": str(home / "run"),
        "engine": {"workers": 0},
        "stages": [{"score": {"from": str(home / "scores"), "columns": ["aesthetic"]}}],
        "output": {"subset": str(home / "out/subset.npy")},
    }
    run(
        content,
        on_event=lambda e: e["event"] == "stage_done" and seconds.update({e["stage"]: e["seconds"]}),
    )
    return seconds["scores"]


def peer(home: Path) -> float:
    """Return the seconds that pandas takes from the same files to the same columns in files."""
    started = time.perf_counter()
    scores = pd.read_parquet(home / "scores").set_index("uid").aesthetic
    (home / "merged").mkdir()
    for path in sorted((home / "pool").iterdir()):
        found = scores.reindex(pd.read_parquet(path).uid)
        found.astype("f4").reset_index().to_parquet(home / "merged" / path.name, compression="zstd")
    return time.perf_counter() - started


def measured(way: str, home: Path) -> tuple[float, float]:
    """Return seconds, and the peak of resident memory in MB, of one way in its own process."""
    command = [sys.executable, "-m", "benchmarks.file_scores", way, str(home)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = json.loads(output.splitlines()[-1])
    return seconds, memory


def main() -> None:
    """Print seconds, rates and memory of both ways for two sizes of the pool."""
    for n_files in FILES:
        with tempfile.TemporaryDirectory() as folder:
            home, n = Path(folder) / str(n_files), n_files * ROWS_PER_FILE
            measured("write", home)  # elsewhere: a process starts with its parent's peak of memory
            (a, memory), (b, whole) = measured("ours", home), measured("peer", home)
        print(
            f"{n:,} samples: {n / a:,.0f}/s at {memory:,.0f} MB; pandas {n / b:,.0f}/s at {whole:,.0f} MB; "
            f"time / pandas {a / b:.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        took = {"ours": ours, "peer": peer, "write": write}[sys.argv[1]](Path(sys.argv[2]))
        print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))
    else:
        main()
