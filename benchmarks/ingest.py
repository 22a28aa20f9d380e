"""Ingest against webdataset iterating the same shard, and against the JPEG decoder alone. One core.

OMP_NUM_THREADS=1 python -m benchmarks.ingest
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import simplejpeg
import webdataset

from benchmarks.pools import write_pool
from benchmarks.timing import interleaved, print_table
from pipelines.pool.ingest import Limits, ingest
from pipelines.pool.samples import read_pairs
from pipelines.pool.tar_reader import read_members
from pipelines.storage import open_stream

SAMPLES = 3000


def read(shard: Path, pixels: Literal["hash", "decode", "header"]) -> None:
    with open_stream(str(shard)) as stream:
        table = ingest(shard.stem, read_members(stream), pixels=pixels, limits=Limits())
    assert len(table) == SAMPLES
    assert table["problem"].null_count == SAMPLES


def iterate(shard: Path) -> None:
    dataset = webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False)
    assert sum(1 for _ in dataset) == SAMPLES


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shard = write_pool(Path(folder), 1, SAMPLES) / "00000.tar"
        size = shard.stat().st_size
        images = [image for _, image, _ in read_pairs(str(shard))]
        header = {
            "webdataset, raw": lambda: iterate(shard),
            "ingest, header + sha256": lambda: read(shard, "header"),
        }
        print_table("verify: header", interleaved(header), "webdataset, raw", SAMPLES, size)
        decode = {
            "simplejpeg alone": lambda: [simplejpeg.decode_jpeg(image) for image in images],
            "ingest, decode": lambda: read(shard, "decode"),
            "ingest, decode + pixel hash": lambda: read(shard, "hash"),
        }
        print_table("verify: decode", interleaved(decode, 3), "simplejpeg alone", SAMPLES, size)


if __name__ == "__main__":
    main()
