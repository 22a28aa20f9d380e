"""Read one shard by one reader and print what comes out; `benchmarks.faulty_shards` runs it for each.

It needs just the reader's own package, so that peers can live in another environment. A line is printed for
each sample, with the number in its caption and the number that its picture shows, and `end` behind the last.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SUFFIXES = "jpg;png;jpeg;webp"
SIDE = 4  # a picture shows its number as so many by so many squares, dark or bright

Pairs = Iterator[tuple[str, Any]]


def shown_number(image: Any) -> int:
    """Return the number that a picture shows."""
    grey = image.convert("L").resize((SIDE, SIDE), 4)  # 4: the mean of each square
    return sum(1 << place for place, level in enumerate(grey.tobytes()) if level > 127)


def webdataset(shard: str) -> Pairs:
    """As its page shows it, with the default handler, which raises."""
    import webdataset as wds

    found = wds.WebDataset(shard, shardshuffle=False).decode("pilrgb").to_tuple(SUFFIXES, "txt")
    yield from ((text, image) for image, text in found)


def webdataset_continue(shard: str) -> Pairs:
    """With a handler at every step that warns and goes on."""
    import webdataset as wds

    go_on = wds.warn_and_continue
    found = wds.WebDataset(shard, shardshuffle=False, handler=go_on).decode("pilrgb", handler=go_on)
    yield from ((text, image) for image, text in found.to_tuple(SUFFIXES, "txt", handler=go_on))


def open_clip(shard: str) -> Pairs:
    """Its training pipeline, without the shuffles."""
    import webdataset as wds
    from open_clip_train.data import (
        filter_no_caption_or_no_image,
        log_and_continue,
        tarfile_to_samples_nothrow,
    )

    found = wds.DataPipeline(
        wds.SimpleShardList([shard]),
        tarfile_to_samples_nothrow,
        wds.select(filter_no_caption_or_no_image),
        wds.decode("pilrgb", handler=log_and_continue),
        wds.rename(image=SUFFIXES, text="txt"),
        wds.to_tuple("image", "text"),
    )
    yield from ((text, image) for image, text in found)


def clip_retrieval(shard: str) -> Pairs:
    """Its `WebdatasetReader`, the module alone: the package's root wants a web server to be installed."""
    import torch

    home = Path(importlib.util.find_spec("clip_retrieval").submodule_search_locations[0])  # type: ignore
    spec = importlib.util.spec_from_file_location("reader", home / "clip_inference/reader.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    found = reader.WebdatasetReader(
        sampler=lambda urls: urls,
        preprocess=lambda image: torch.tensor(shown_number(image)),
        tokenizer=lambda texts: torch.zeros(len(texts), 1),
        input_dataset=[shard],
        batch_size=1,
        num_prepro_workers=0,
    )
    yield from ((batch["text"][0], int(batch["image_tensor"][0])) for batch in found)


def datasets(shard: str) -> Pairs:
    """`load_dataset("webdataset", …)`, streaming."""
    from datasets import load_dataset

    with tempfile.TemporaryDirectory() as cache:
        found = load_dataset("webdataset", data_files=[shard], split="train", streaming=True, cache_dir=cache)
        for row in found:
            image = next(row[name] for name in SUFFIXES.split(";") if row.get(name) is not None)
            yield row["txt"] if isinstance(row["txt"], str) else row["txt"].decode(), image


def curate(shard: str) -> Pairs:
    """A run without a stage: what it keeps, read back from the shards that it wrote."""
    from curate import run
    from pipelines.pool.samples import read_pairs
    from scoring.images import decode_pil

    with tempfile.TemporaryDirectory() as home:
        run(
            {
                "name": "faulty",
                "pool": {"shards": shard, "max_set_aside": 1.0},
                "run": f"{home}/run",
                "engine": {"workers": 0},
                "stages": [],
                "output": {"shards": f"{home}/out"},
            }
        )
        for path in sorted(Path(home, "out").glob("*.tar")):
            yield from ((text, decode_pil(image)) for _, image, text in read_pairs(str(path)))


READERS: dict[str, Callable[[str], Pairs]] = {
    "curate": curate,
    "clip-retrieval": clip_retrieval,
    "open_clip": open_clip,
    "webdataset": webdataset,
    "webdataset, warn and continue": webdataset_continue,
    "datasets": datasets,
}


PEERS = {
    "clip-retrieval",
    "open_clip",
}  # they want a webdataset of before 0.2.87, so an environment of their own


def main() -> None:
    """Read the shard."""
    _, reader, shard = sys.argv
    for text, image in READERS[reader](shard):
        number = image if isinstance(image, int) else shown_number(image)
        print(text.rpartition(" ")[2], number, flush=True)
    print("end", flush=True)


if __name__ == "__main__":
    main()
