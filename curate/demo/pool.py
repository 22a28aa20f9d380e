"""A rendered pool in img2dataset's layout, with known faults, and the truth about each of its samples."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.demo.captions import another_caption, caption
from curate.demo.chance import generator
from curate.demo.faults import break_image, junk_caption, rewrap
from curate.demo.plan import Entry
from curate.demo.scenes import SIDE, compose, draw
from pipelines.output.tar_writer import TarWriter

SUFFIXES = ("jpg", "png", "webp")
SUFFIX_SHARES = (0.8, 0.12, 0.08)

METADATA = pa.schema(
    [
        ("uid", pa.string()),
        ("caption", pa.string()),
        ("url", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),
    ]
)
TRUTH = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("kind", pa.string()),
        ("duplicate_of", pa.string()),
    ]
)


@dataclass(frozen=True)
class Rendered:
    """The contents of one sample."""

    entry: Entry
    image: bytes
    suffix: str
    caption: str


def render(entry: Entry) -> Rendered:
    """Return the picture and the caption of one sample, faults and all."""
    scene = compose(entry.seed, entry.source)
    rng = generator(entry.seed, "fault", entry.name)
    image, suffix = _encoded(entry.seed, entry.source)
    text = caption(scene, wording=0 if entry.duplicate_of is None else 1)
    if entry.kind == "mismatched":
        text = another_caption(scene)
    elif entry.kind == "junk_caption":
        text = junk_caption(rng)
    elif entry.kind == "same_pixels":
        image, suffix = rewrap(image, suffix)
    elif entry.kind == "broken_image":
        image = break_image(image, rng)
    return Rendered(entry, image, suffix, text)


def write_samples(
    folder: Path, entries: Sequence[Entry], advance: Callable[[int], None] = lambda n: None
) -> bool:
    """Render samples into shards with their metadata, unless the folder holds them already.

    Parameters
    ----------
    folder
        Gets ``NNNNN.tar``, ``NNNNN.parquet`` and ``NNNNN_stats.json``.
    entries
        In the order of their shards and rows.
    advance
        Called with the number of samples finished since the last call.

    Returns
    -------
    bool
        Whether there was anything to render.

    """
    mark = folder / "rendered.json"
    wanted = json.dumps({"samples": len(entries), "fingerprint": fingerprint(entries)})
    if mark.exists() and mark.read_text() == wanted:
        advance(len(entries))
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (mark, *folder.glob("[0-9]*.tar")):
        stale.unlink(missing_ok=True)
    for shard in sorted({entry.shard for entry in entries}):
        batch = [render(entry) for entry in entries if entry.shard == shard]
        _write_shard(folder, f"{shard:05d}", batch)
        advance(len(batch))
    mark.write_text(wanted)
    return True


def write_truth(path: Path, entries: Iterable[Entry]) -> None:
    """Write what each sample is: uid, key, shard, kind, duplicate_of (null unless a duplicate)."""
    rows = [
        {
            "uid": entry.uid,
            "key": entry.key,
            "shard": f"{entry.shard:05d}",
            "kind": entry.kind,
            "duplicate_of": entry.duplicate_of,
        }
        for entry in entries
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TRUTH), path)


def fingerprint(entries: Sequence[Entry]) -> str:
    """Return a digest of the plan and of the code that renders it: when it differs, the pictures may too."""
    digest = blake2b(repr(entries).encode(), digest_size=16)
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _encoded(seed: int, name: str) -> tuple[bytes, str]:
    """Return the file of a picture, and its suffix."""
    rng = generator(seed, "file", name)
    suffix = SUFFIXES[int(rng.choice(len(SUFFIXES), p=SUFFIX_SHARES))]
    stream = io.BytesIO()
    image = draw(compose(seed, name))
    if suffix == "jpg":
        image.save(stream, "JPEG", quality=int(rng.integers(84, 96)))
    else:
        image.save(stream, suffix.upper())
    return stream.getvalue(), suffix


def _write_shard(folder: Path, name: str, batch: Sequence[Rendered]) -> None:
    rows = [_metadata(sample) for sample in batch]
    stream = io.BytesIO()
    with TarWriter(stream) as tar:
        for sample, row in zip(batch, rows, strict=True):
            key = sample.entry.key
            tar.add(f"{key}.{sample.suffix}", sample.image)
            tar.add(f"{key}.json", json.dumps(row, indent=4).encode())
            tar.add(f"{key}.txt", sample.caption.encode())
    (folder / f"{name}.tar").write_bytes(_cut(stream.getvalue(), batch[-1]))
    pq.write_table(
        pa.Table.from_pylist(rows, schema=METADATA), folder / f"{name}.parquet", row_group_size=100
    )
    counts = {"count": len(batch), "successes": len(batch), "failed_to_download": 0, "failed_to_resize": 0}
    (folder / f"{name}_stats.json").write_text(json.dumps(counts, indent=4))


def _cut(tar: bytes, last: Rendered) -> bytes:
    """Return the tar, which ends in the middle of its last image where that sample is to be truncated."""
    if last.entry.kind != "truncated_tar":
        return tar
    header = tar.rindex(f"{last.entry.key}.{last.suffix}".encode())
    return tar[: header + 512 + len(last.image) // 2]


def _metadata(sample: Rendered) -> dict[str, str | int | None]:
    side = None if sample.entry.kind == "broken_image" else SIDE
    return {
        "uid": sample.entry.uid,
        "caption": sample.caption,
        "url": None,
        "key": sample.entry.key,
        "status": "success",
        "error_message": None,
        "width": side,
        "height": side,
        "original_width": side,
        "original_height": side,
        "sha256": sha256(sample.image).hexdigest(),
    }
