"""Parquet files and arrays that somebody tampered with."""

from __future__ import annotations

import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 12
WIDTH = 4


def table(seed: int = 0) -> bytes:
    """Return a Parquet file of samples, in one of its compressions."""
    chance = random.Random(seed)
    rows = pa.table(
        {
            "uid": [f"{n:032x}" for n in range(ROWS)],
            "text": [f"caption number {n}" for n in range(ROWS)],
            "url": [f"http://example.org/{n}" for n in range(ROWS)],
            "quality": pa.array([n / 7 for n in range(ROWS)], pa.float32()),
            "width": pa.array([100 + n for n in range(ROWS)], pa.int32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(
        rows,
        sink,
        compression=chance.choice(["none", "snappy", "zstd"]),
        use_dictionary=chance.random() < 0.5,
        row_group_size=chance.choice([5, 100]),
    )
    return sink.getvalue()


def vectors() -> np.ndarray:
    """Return one vector for each row of the table."""
    found = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float16)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def npy() -> bytes:
    """Return the vectors as a file."""
    sink = io.BytesIO()
    np.save(sink, vectors(), allow_pickle=False)
    return sink.getvalue()


def npz(compressed: bool = True) -> bytes:
    """Return the vectors as an archive with arrays for images and texts."""
    sink = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(sink, img=vectors(), txt=vectors())
    return sink.getvalue()


_HEADERS = (
    "{'descr': '<f2', 'fortran_order': False, 'shape': (12, 99999999999999), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (12, -4), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (12, 0), }",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (12,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (12, 4), }",
    "{'descr': '<f99', 'fortran_order': False, 'shape': (12, 4), }",
    "{'descr': '<U400000000', 'fortran_order': False, 'shape': (12, 4), }",
    "{'descr': [('a', '<f2')], 'fortran_order': False, 'shape': (12, 4), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (12, 4), }",
    "__import__('os').getcwd()",
    "(" * 5000,
    "{" + "'a': 1, " * 5000,
)


def array_that_lies(chance: random.Random) -> bytes:
    """Return an array whose header says what is not so."""
    text = chance.choice(_HEADERS).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = chance.choice([len(text), len(text), 0, 60_000])
    return b"\x93NUMPY\1\0" + size.to_bytes(2, "little") + text + npy()[128:]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return a file with bytes flipped, overwritten, cut or lost, most often near its end."""
    file = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not file:
            break
        tail = chance.random() < 0.5
        place = chance.randrange(max(0, len(file) - 600) if tail else 0, len(file))
        match chance.randrange(5):
            case 0 | 1:
                file[place] ^= 1 << chance.randrange(8)
            case 2:
                file[place : place + 8] = chance.choice([b"\xff", b"\0", chance.randbytes(1)]) * 8
            case 3:
                del file[place:]
            case 4:
                del file[place : place + chance.choice([1, 8, 100])]
    return bytes(file)
