"""Writing new shards, with the hashes of the manifest, against `cp` and against SHA-256 alone. One core.

OMP_NUM_THREADS=1 python -m benchmarks.write
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pools import write_pool
from benchmarks.timing import interleaved, print_table
from curate import run

SHARDS, SAMPLES = 2, 10_000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pool = write_pool(home / "pool", SHARDS, SAMPLES // SHARDS)
        size = sum(path.stat().st_size for path in pool.iterdir())
        config: dict[str, Any] = {
            "name": "write",
            "pool": {"shards": str(pool), "verify": "header"},
            "run": str(home / "run"),
            "engine": {"workers": 0},
            "stages": [],
            "output": {"shards": str(home / "curated"), "samples_per_shard": SAMPLES},
        }
        run(config)

        def write() -> None:
            shutil.rmtree(home / "run/state/write")
            shutil.rmtree(home / "curated")
            assert run(config).kept == SAMPLES

        def copy() -> None:
            shutil.rmtree(home / "copy", ignore_errors=True)
            subprocess.run(["cp", "-r", pool, home / "copy"], check=True)

        def digest() -> None:
            for path in sorted(pool.iterdir()):
                with path.open("rb") as stream:
                    hashlib.file_digest(stream, "sha256")

        rivals = {"cp": copy, "sha256 alone": digest, "curate, a run that only writes": write}
        print_table("write", interleaved(rivals), "cp", SAMPLES, size)


if __name__ == "__main__":
    main()
