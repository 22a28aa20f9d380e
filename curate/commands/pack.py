"""`curate pack`: shards of images that lie in folders, or that a table names."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from curate.commands.options import AsJson

if TYPE_CHECKING:
    from pipelines.packing.pack import Packed
    from pipelines.packing.sample import SampleReader
    from pipelines.packing.source import Source


class CaptionsFrom(StrEnum):
    """Where the captions of images in folders come from."""

    BESIDE = "beside"
    FOLDER = "folder"
    NAME = "name"


SourcePlace = Annotated[
    str,
    typer.Argument(
        help="A folder with images below it (img2dataset's `files` too); a CSV, TSV, Parquet file or "
        "JSON lines of paths and captions; or a folder of Parquet files that hold images.",
    ),
]
Captions = Annotated[
    CaptionsFrom,
    typer.Option(
        help="Of images in folders. beside: from the .txt, .caption or .json of the same name; "
        "folder: the name of the image's folder; name: its own name."
    ),
]
ImagesFrom = Annotated[
    str | None, typer.Option(help="Where the table's paths start, if not where the table lies.")
]
Outside = Annotated[
    bool,
    typer.Option(
        "--outside", help="Take images outside that folder, too: by linked folders and files, .. and /."
    ),
]
PerShard = Annotated[int, typer.Option(min=1, help="Images, or rows of the table, that make a shard.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; without it, one for each core. Changes no byte.")
]


def pack(
    source: SourcePlace,
    output: Annotated[str, typer.Option("--output", "-o", help="The folder of the shards; new or empty.")],
    captions: Captions = CaptionsFrom.BESIDE,
    image_column: Annotated[
        str | None, typer.Option(help="The table's column of paths, or of images.")
    ] = None,
    caption_column: Annotated[str | None, typer.Option(help="The table's column of captions.")] = None,
    images: ImagesFrom = None,
    outside: Outside = False,
    samples_per_shard: PerShard = 10_000,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Make shards of images in folders, or of a table of paths and captions, for `curate init`.

    The images' bytes stay as they are. What can't be packed (no caption, a missing file, no image) is set
    aside with the reason, in set_aside.csv. Nothing is overwritten; run again, it goes on where it was.
    """
    from pipelines.packing.sample import SampleReader
    from pipelines.packing.source import open_source
    from pipelines.pool.ingest import Limits

    columns = {"image_column": image_column, "caption_column": caption_column}
    found = open_source(source, images=images, outside=outside, **columns)
    if not as_json:
        _say_columns(found)
    reader = SampleReader(found.images, outside, captions.value, Limits())
    made = _make(found, reader, output, samples_per_shard, workers, as_json)
    if as_json:
        print(json.dumps(asdict(made)))
        return
    _print(made, output)


def _make(
    source: Source, reader: SampleReader, output: str, per_shard: int, workers: int | None, as_json: bool
) -> Packed:
    from curate.progress import shown
    from pipelines.limits import available_cores
    from pipelines.packing.pack import pack as make
    from pipelines.storage import Folder, resolve

    workers = workers or available_cores()
    with shown(as_json) as show:
        place = Folder(resolve(output, "."))
        return make(source, reader, place, samples_per_shard=per_shard, workers=workers, emit=show)


def _say_columns(source: Source) -> None:
    """Say which columns were taken, since they may have been guessed."""
    if source.columns is not None:
        said = f"images: column {source.columns.image!r}, captions: column {source.columns.caption!r}"
        Console(stderr=True).print(said, highlight=False, markup=False, soft_wrap=True)


def _print(made: Packed, output: str) -> None:
    from curate.show import facts, size

    rows: list[tuple[str, Any]] = [
        ("samples", f"{made.samples:,} = {made.packed:,} packed + {made.samples - made.packed:,} set aside")
    ]
    rows += [(f"  set aside: {reason}", f"{n:,}") for reason, n in made.set_aside.items()]
    if made.passed_over:
        listed = ", ".join(f"{what} {n:,}" for what, n in made.passed_over.items())
        rows.append(("passed over", f"{sum(made.passed_over.values()):,} files ({listed})"))
    done_before = f", {made.shards - made.new:,} of them made before" if made.new < made.shards else ""
    rows.append(("shards", f"{made.shards:,}, {size(made.bytes)}{done_before}"))
    console = Console(soft_wrap=True)
    facts(console, output, rows)
    if made.set_aside:
        console.print(f"why: {Path(output, 'set_aside.csv')}", highlight=False, markup=False)
    console.print(f"next: curate init {shlex.quote(output)}", highlight=False, markup=False)
