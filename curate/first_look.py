"""What lies where a person pointed at, when that is not a folder of shards, and the command to go on with."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.packing.columns import usual
from pipelines.packing.source import tables_with_images
from pipelines.packing.tables import TABLES, column_names
from pipelines.packing.walk import SIDE_SUFFIXES, first_images

_LOOKED_AT = 10_000  # files, to find out what a folder holds
_IMAGES = 100
_TABLES = 20
_PATHS = ("filename", "imagepath", "filepath", "path", "image", "file")
_PACKED_AWAY = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


def what_is_there(place: str) -> str | None:
    """Return what a local folder or file holds that is no shard, with what to do; None for what holds shards.

    The first few thousand files are looked at, and columns of tables; nothing else is read.
    """
    path = Path(place)
    if path.is_file() and path.suffix != ".tar":
        return _file(path)
    if not path.is_dir() or next(path.glob("*.tar"), None):
        return None
    names = list(itertools.islice(_files(path), _LOOKED_AT))
    if not names:
        return f"{place} is empty: point at the folder that holds the shards, the images or a table of them"
    for look in (_shards_below, _hugging_face, _tables_with_images, _table_of_paths, _images, _metadata):
        if found := look(path, names):
            return found
    if away := [name for name in names if name.endswith(_PACKED_AWAY)]:
        return f"{place} holds {away[0]}: unpack it first (a shard is a plain .tar, not a compressed one)"
    suffixes = sorted({Path(name).suffix or "no suffix" for name in names})
    return f"{place} holds neither shards (.tar) nor images; what it holds ends in {', '.join(suffixes[:8])}"


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, relative to it; hidden ones and linked folders aside."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = "" if place == str(folder) else f"{os.path.relpath(place, folder)}/"
        yield from (below + name for name in sorted(files) if not name.startswith("."))


def _file(path: Path) -> str:
    if path.name.endswith(_PACKED_AWAY):
        return f"{path} is packed away: unpack it first (a shard is a plain .tar, not a compressed one)"
    if path.suffix.lower() not in TABLES:
        return f"{path} is no shard: shards are .tar files with images and captions"
    kind = TABLES[path.suffix.lower()]
    names = column_names(path)
    if (url := _url_only(names)) is not None:
        return f"{path} is a {kind} table of URLs. {_download(path, url)}"
    return f"{path} is a {kind} table. If it holds paths of images and captions, go on with\n  {_pack(path)}"


def _shards_below(path: Path, names: list[str]) -> str | None:
    tars = [name for name in names if name.endswith(".tar")]
    if not tars:
        return None
    pattern = shlex.quote(f"{path}/**/*.tar")
    return (
        f"the shards of {path} lie in folders below it ({tars[0]} and more). Go on with\n"
        f"  curate init {pattern}"
    )


def _hugging_face(path: Path, names: list[str]) -> str | None:
    arrow = [name for name in names if name.endswith(".arrow")]
    if not arrow or not {Path(name).name for name in names} & {"dataset_info.json", "dataset_dict.json"}:
        return None
    split = Path(path, arrow[0]).parent
    target = f"{_beside(split)}.parquet"
    script = f"import datasets; datasets.load_from_disk({str(split)!r}).to_parquet({target!r})"
    return (
        f"{path} is a Hugging Face dataset in Arrow files. Make it Parquet, and go on with that:\n"
        f"  python -c {shlex.quote(script)}\n  {_pack(Path(target))}"
    )


def _tables_with_images(path: Path, names: list[str]) -> str | None:
    for folder in sorted({Path(name).parent for name in names if name.endswith(".parquet")}):
        if tables := tables_with_images(path / folder):
            return (
                f"{path / folder} holds images inside {len(tables):,} Parquet files, as img2dataset's output "
                f"`parquet` and Hugging Face's do. Go on with\n  {_pack(path / folder)}"
            )
    return None


def _table_of_paths(path: Path, names: list[str]) -> str | None:
    """Tell of a table beside images, such as the metadata.csv of Hugging Face's ImageFolder."""
    for name in [name for name in names if Path(name).suffix.lower() in TABLES][:_TABLES]:
        columns = column_names(path / name)
        if not usual(columns, _PATHS) or usual(columns, ("errormessage",)):
            continue  # of those with errors, img2dataset keeps account of what it wrote
        if first_images(str((path / name).parent), 1):
            return f"{path / name} is a table of images with captions. Go on with\n  {_pack(path / name)}"
    return None


def _images(path: Path, names: list[str]) -> str | None:
    images = first_images(str(path), _IMAGES)
    if not images:
        return None
    sides = [Path(path, name) for name in images]
    captioned = sum(any(side.with_suffix(f".{s}").exists() for s in SIDE_SUFFIXES) for side in sides)
    if any(name.endswith("_stats.json") for name in names):
        what = "is img2dataset's output `files`"
    else:
        what = "holds images in folders" if any("/" in name for name in images) else "holds images"
    option = ""
    if captioned:
        what += ", captions in files beside them"
    else:
        folders = {name.rpartition("/")[0] for name in images}
        option = " --captions folder" if folders != {""} else " --captions name"
        where = "folders'" if folders != {""} else "images' own"
        what += f" without captions beside them (the {where} names can stand in)"
    return f"{path} {what}. Make shards of it:\n  {_pack(path)}{option}"


def _metadata(path: Path, names: list[str]) -> str | None:
    tables = [name for name in names if Path(name).suffix.lower() in TABLES]
    if not tables:
        return None
    columns, first = column_names(path / tables[0]), path / tables[0]
    url = _url_only(columns)
    if url is None and not usual(columns, ("caption", "text")):
        return f"{path} holds tables without images: its {tables[0]} has {', '.join(columns)}"
    described = f"{path} holds tables that describe images ({tables[0]} and more), and no images. "
    if first.suffix == ".parquet":
        described += (
            f"To curate by the table alone, use\n  pool: {{metadata: {str(path)!r}}}\nin a configuration "
            "(docs/formats.md). "
        )
    return described + (_download(first, url) if url else "")


def _url_only(columns: list[str]) -> str | None:
    """Return the column of URLs of a table that has no images."""
    if usual(columns, (*_PATHS, "jpg")):
        return None
    return usual(columns, ("url", "imageurl"))


def _download(table: Path, url: str) -> str:
    kind = table.suffix.lower().lstrip(".")
    caption = usual(column_names(table), ("caption", "text", "alttext", "title"))
    text = f" --caption_col {shlex.quote(caption)}" if caption else ""
    target = shlex.quote(f"{_beside(table.with_suffix(''))}-shards")
    return (
        "To download the images:\n"
        f"  img2dataset --url_list {shlex.quote(str(table))} --input_format {kind} "
        f"--url_col {shlex.quote(url)}{text} \\\n    --output_format webdataset --output_folder {target}\n"
        f"  curate init {target}"
    )


def _pack(source: Path) -> str:
    name = source.with_suffix("") if source.is_file() or source.suffix == ".parquet" else source
    return f"curate pack {shlex.quote(str(source))} -o {shlex.quote(f'{_beside(name)}-shards')}"


def _beside(path: Path) -> str:
    """Return a path's name, to be made something else of in the working folder."""
    return path.resolve().name or "images"


def refuse_no_shards(place: str) -> None:
    """Raise `ConfigError` with what is there and the command to go on with, where that is no shards."""
    if found := what_is_there(place):
        raise ConfigError(found)
