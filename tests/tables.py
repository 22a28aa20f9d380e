"""Small pools of metadata, as DataComp publishes them: Parquet files with their vectors beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def unit_vectors(n: int, width: int, seed: int) -> NDArray[np.float16]:
    """Return vectors of length 1, that of float16's precision."""
    found = np.random.default_rng(seed).normal(size=(n, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def metadata(first: int, n: int) -> pa.Table:
    """Return DataComp's columns for samples `first` to `first + n`."""
    rng = np.random.default_rng(first)
    numbers = range(first, first + n)
    return pa.table(
        {
            "uid": [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}" for number in numbers],
            "url": [f"http://example.org/{number}.jpg" for number in numbers],
            "text": [f"a picture with the number {number} on it" for number in numbers],
            "original_width": pa.array(rng.integers(100, 900, n), pa.int64()),
            "original_height": pa.array(rng.integers(100, 900, n), pa.int64()),
            "clip_l14_similarity_score": pa.array(rng.normal(0.2, 0.05, n).astype("f2").astype("f4")),
            "face_bboxes": pa.array([[[0.1, 0.2, 0.3, 0.4]]] * n),
            "sha256": [f"{number // 2:064x}" for number in numbers],
        }
    )


def arrays(first: int, n: int) -> dict[str, NDArray[Any]]:
    """Return the vectors of the same samples, by the names of DataComp's .npz."""
    names = {"b32_img": 8, "b32_txt": 8, "l14_img": 12, "l14_txt": 12}
    return {name: unit_vectors(n, width, first * 10 + k) for k, (name, width) in enumerate(names.items())}


def write_datacomp(folder: Path, n_files: int = 3, per_file: int = 20) -> Path:
    """Write a pool as DataComp publishes it: Parquet files, each with an .npz of the same stem."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_files):
        stem = f"{number * 7919 % 256:02x}" * 16
        first = number * per_file
        pq.write_table(metadata(first, per_file), folder / f"{stem}.parquet", row_group_size=6)
        save = np.savez_compressed if number % 2 else np.savez
        save(folder / f"{stem}.npz", **arrays(first, per_file))
    return folder


def table_config(
    pool: Path | str | list[str], home: Path, stages: list[Any], **changes: Any
) -> dict[str, Any]:
    """Return a configuration over a pool of metadata, its run and subset below `home`."""
    return {
        "name": "test",
        "pool": {"metadata": pool if isinstance(pool, list) else str(pool)},
        "run": str(home / "run"),
        "engine": {"workers": 0},
        "encoder": "datacomp:b32",
        "encoders": {"l14": "datacomp:l14"},
        "stages": stages,
        "output": {"subset": str(home / "curated" / "subset.npy")},
        **changes,
    }
