"""DataComp's subset file: the uids to train on, sorted, each as often as its sample counts."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.columns import DECISIONS
from pipelines.damage import reading
from pipelines.errors import ConfigError
from pipelines.pool.shards import Shard
from pipelines.stage import ShardColumns
from pipelines.storage import Folder, is_local, open_stream

SUBSET_DTYPE = np.dtype("u8,u8")  # the two halves of a uid
_MAGIC = b"\x93NUMPY"
_AT_ONCE = 8_000_000  # uids in memory


class SubsetConfig(BaseModel):
    """Which samples to keep, and how often: what DataComp's resharder does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: ClassVar[tuple[str, ...]] = ("file",)

    file: str = Field(description="the subset, .npy: sorted uids, a uid that stands twice counts twice")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given


class UnsortedSubsetError(ConfigError):
    """A subset whose uids don't rise: DataComp's own tools would silently take wrong samples."""


def read_subset(path: str) -> NDArray[np.void]:
    """Return the uids of a subset file, sorted; one on this machine's disks is mapped, not loaded.

    Parameters
    ----------
    path
        An .npy, or the same without a header (16 bytes a uid), local or a URL.

    Returns
    -------
    numpy.ndarray
        Shape (n,), dtype `SUBSET_DTYPE`; a uid that stands twice counts twice.

    Raises
    ------
    UnsortedSubsetError
        When the uids don't rise.
    ConfigError
        When the file is not there or not a subset.
    """
    subset = read_unchecked(path)
    if (place := first_fall(subset)) is not None:
        raise UnsortedSubsetError(
            f"{path}: the uids should rise, but number {place + 1:,} is below the one before: programs that "
            "search in it would take wrong samples. `curate verify-subset FILE --fix -o NEW.npy` sorts it"
        )
    return subset


def read_unchecked(path: str) -> NDArray[np.void]:
    """Return the uids of a subset file in the order in which they stand; errors as `read_subset`."""
    try:
        with reading(f"the subset {path}", ConfigError), open_stream(path) as stream:
            start = stream.read(len(_MAGIC))
            subset = _load(path, raw=start != _MAGIC)
    except OSError as error:
        raise ConfigError(f"the subset {path} can't be read: {error}") from None
    if subset.dtype != SUBSET_DTYPE or subset.ndim != 1:
        raise ConfigError(
            f"{path} should hold uids as dtype {SUBSET_DTYPE.descr} of shape (n,), DataComp's subset format, "
            f"and holds {subset.dtype.descr if subset.dtype.names else subset.dtype} of shape {subset.shape}"
        )
    return subset


def _load(path: str, raw: bool) -> NDArray[Any]:
    if not is_local(path):
        with open_stream(path) as stream:
            data = stream.read()
        return np.frombuffer(data, SUBSET_DTYPE) if raw else np.load(io.BytesIO(data), allow_pickle=False)
    if raw:
        # An empty file can't be mapped.
        size = Folder(path.rpartition("/")[0] or ".").size(path.rpartition("/")[2])
        return np.memmap(path, SUBSET_DTYPE, "r") if size else np.empty(0, SUBSET_DTYPE)
    loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded


def first_fall(subset: NDArray[np.void]) -> int | None:
    """Return the first place whose uid is below the one before it; None in a sorted subset."""
    for start in range(0, len(subset), _AT_ONCE):
        part = subset[max(0, start - 1) : start + _AT_ONCE]
        high, low = part["f0"], part["f1"]
        falls = (high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1]))
        if falls.any():
            return max(0, start - 1) + int(falls.argmax()) + 1
    return None


def weights_of(subset: NDArray[np.void], uids: NDArray[np.void]) -> NDArray[np.int64]:
    """Return how often each of some uids stands in a sorted subset; 0 where it doesn't.

    Parameters
    ----------
    subset
        What `read_subset` returns.
    uids
        Shape (n,), as `halves` makes them, in any order.
    """
    before, behind = places_of(subset, uids)
    return behind - before


def places_of(
    subset: NDArray[np.void], uids: NDArray[np.void]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each uid the place of its first copy in a sorted subset, and that behind its last."""
    return _place(subset, uids, behind=False), _place(subset, uids, behind=True)


def _place(subset: NDArray[np.void], uids: NDArray[np.void], *, behind: bool) -> NDArray[np.int64]:
    """Return the place before, or behind, all equal ones in a sorted subset.

    numpy's own search would first copy the whole of a mapped file.
    """
    low, high = np.zeros(len(uids), np.int64), np.full(len(uids), len(subset), np.int64)
    while (open := low < high).any():
        middle = np.minimum((low + high) // 2, len(subset) - 1)
        there = subset[middle]
        same = there["f0"] == uids["f0"]
        up = (there["f0"] < uids["f0"]) | (same & (there["f1"] < uids["f1"]))
        if behind:
            up |= same & (there["f1"] == uids["f1"])
        low = np.where(open & up, middle + 1, low)
        high = np.where(open & ~up, middle, high)
    return low


def halves(uids: pa.Array | pa.ChunkedArray | Sequence[str]) -> NDArray[np.void]:
    """Return uids of 32 hex digits each as a subset holds them, in the same order, shape (n,)."""
    listed = uids.to_pylist() if isinstance(uids, pa.Array | pa.ChunkedArray) else uids
    numbers = np.frombuffer(bytes.fromhex("".join(listed)), ">u8").reshape(-1, 2)
    result = np.empty(len(numbers), SUBSET_DTYPE)
    result["f0"], result["f1"] = numbers[:, 0], numbers[:, 1]
    return result


def uids_of(subset: NDArray[np.void]) -> list[str]:
    """Return the uids of a subset as 32 hex digits each."""
    return [f"{high:016x}{low:016x}" for high, low in subset.tolist()]


def kept_uids(columns: ShardColumns) -> NDArray[np.void]:
    """Return the uids that the decisions on a shard keep, each as often as its weight says."""
    table = columns.read(DECISIONS, ("uid", "weight"))
    weight = table["weight"].to_numpy()
    uids = halves(table["uid"].filter(pc.greater(table["weight"], 0)))
    return np.repeat(uids, weight[weight > 0])


def subset_of_run(run: Folder, shards: Sequence[Shard], n: int) -> Iterator[bytes]:
    """Yield the bytes of the subset file of a run that keeps `n` samples, copies counted."""
    return subset_file(n, lambda: (kept_uids(ShardColumns(shard, run)) for shard in shards))


def subset_file(n: int, parts: Callable[[], Iterable[NDArray[np.void]]]) -> Iterator[bytes]:
    """Yield the bytes of a subset file: uids, sorted, to DataComp's byte.

    The uids are taken range by range, so that memory does not grow with their number.

    Parameters
    ----------
    n
        Number of uids, copies counted.
    parts
        Called once for every range; returns all uids, in pieces and in any order.
    """
    text = f"{{'descr': [('f0', '<u8'), ('f1', '<u8')], 'fortran_order': False, 'shape': ({n},), }}"
    yield _MAGIC + b"\x01\x00v\x00" + text.encode().ljust(117) + b"\n"
    passes = max(1, -(-n // _AT_ONCE))
    edges = [number * (1 << 64) // passes for number in range(passes + 1)]
    for low, high in itertools.pairwise(edges):
        inside = (
            part[(part["f0"] >= np.uint64(low)) & (part["f0"] <= np.uint64(high - 1))] for part in parts()
        )
        uids = np.concatenate([np.empty(0, SUBSET_DTYPE), *inside])
        yield uids[np.lexsort((uids["f1"], uids["f0"]))].tobytes()
