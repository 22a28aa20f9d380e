"""Exports as their readers read them: Hugging Face's datasets, FiftyOne, clip-retrieval's, a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate import run
from curate.exchange import FORMATS, export
from pipelines.errors import ConfigError, StoppedError
from pipelines.output import hugging_face
from pipelines.output.export import harmless
from pipelines.storage import Folder
from tests.making import sample, write_encoder, write_shard
from tests.pools import config, contents, write_raw_pool
from tests.tables import table_config, write_datacomp

STAGES = [
    {"rules": {"caption_words": [2, 77]}},
    {"score": "clip"},
    {"keep": {"by": "clip", "top": 0.7}},
    {"fuse": {"as": "scale", "of": {"clip": 1}}},
    {"soft_cap": {"by": "scale", "total": 1.5}},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("exported")
    pool = write_raw_pool(home / "pool", n_shards=3, per_shard=20)
    encoder = {"model": write_encoder(home / "encoder"), "batch_size": 32}
    content = config(pool, home, encoder=encoder, stages=STAGES)
    content["pool"]["max_set_aside"] = 0.5
    run(content)
    return home


def decided(home: Path) -> pd.DataFrame:
    paths = sorted((home / "run/decisions").glob("*"))
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def images(home: Path) -> dict[str, bytes]:
    """Return the bytes of every image of the pool, by its key."""
    import tarfile

    found = {}
    for path in sorted((home / "pool").glob("*.tar")):
        with tarfile.open(path, errorlevel=0) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    stream = tar.extractfile(member)
                    assert stream is not None
                    found[member.name.removesuffix(".jpg")] = stream.read()
    return found


def test_hugging_faces_library_loads_every_kept_sample(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets", reason="datasets is not here to read the folder")
    n = export(str(home / "run"), str(tmp_path / "out"), "hugging-face", None)
    kept = decided(home)[lambda table: table.kept]
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=cache)
    assert len(found) == n == len(kept)
    assert found["uid"][:] == kept.uid.tolist()
    assert found["weight"][:] == kept.weight.tolist()
    assert max(found["weight"]) > 1
    assert isinstance(found.features["image"], datasets.Image)
    assert str(found.features["clip"].dtype) == "float32"
    stored = images(home)
    raw = found.cast_column("image", datasets.Image(decode=False))
    assert [row["image"]["bytes"] for row in raw] == [stored[key] for key in found["key"]]
    assert found[0]["image"].size == (found[0]["width"], found[0]["height"])
    assert found[0]["caption"] == f"a picture with the number {int(found[0]['key'])} on it"
    streamed = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert [row["uid"] for row in streamed] == kept.uid.tolist()


def test_the_card_says_what_the_files_hold(home: Path, tmp_path: Path) -> None:
    n = export(str(home / "run"), str(tmp_path), "hugging-face", None)
    text = (tmp_path / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    schema = pq.read_schema(next((tmp_path / "data").iterdir()))
    assert [field["name"] for field in head["dataset_info"]["features"]] == schema.names
    assert head["dataset_info"]["splits"] == [{"name": "train", "num_examples": n}]
    assert "| rules | 57 | 54 |" in text
    assert str(home) not in text


def test_an_export_goes_on_where_it_stopped(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(str(home / "run"), str(out), "hugging-face", None)
    whole = contents(out)
    names = sorted(name for name in whole if name.endswith(".parquet"))
    (out / names[1]).unlink()
    (out / "README.md").unlink()
    export(str(home / "run"), str(tmp_path / "urls"), "hugging-face", None, images=False)
    written: list[str] = []
    create = Folder.create

    def counting(self: Folder, name: str) -> Any:
        written.append(name)
        return create(self, name)

    monkeypatch.setattr(Folder, "create", counting)
    export(str(home / "run"), str(out), "hugging-face", None)
    assert written == [names[1], "README.md"]
    assert contents(out) == whole
    (tmp_path / "urls" / names[0]).rename(out / "data/train-00007-of-00008.parquet")
    export(str(home / "run"), str(out), "hugging-face", None)
    assert contents(out) == whole  # a file of another export is gone


def test_a_file_appears_when_it_is_whole(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face, "_ROWS_AT_ONCE", 3)
    read = hugging_face.RangeReader.read

    def cut(self: Any, offset: int, size: int) -> bytes:
        if offset > 10_000:
            raise EOFError("the file was cut")
        return read(self, offset, size)

    monkeypatch.setattr(hugging_face.RangeReader, "read", cut)
    with pytest.raises((EOFError, StoppedError)):
        export(str(home / "run"), str(tmp_path), "hugging-face", None)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_no_file_appears_of_a_shard_that_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_raw_pool(tmp_path / "pool", n_shards=1, per_shard=20)
    content = config(pool, tmp_path / "home", stages=STAGES[:1])
    content["pool"]["max_set_aside"] = 0.5
    run(content)
    (shard,) = pool.glob("*.tar")
    read = hugging_face.RangeReader.read

    def changing(self: Any, offset: int, size: int) -> bytes:
        shard.touch()
        return read(self, offset, size)

    monkeypatch.setattr(hugging_face.RangeReader, "read", changing)
    with pytest.raises(StoppedError, match="changed"):
        export(str(tmp_path / "home/run"), str(tmp_path / "out"), "hugging-face", None)
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_what_others_put_there_stays(home: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "theirs.parquet")
    with pytest.raises(ConfigError, match=r"theirs\.parquet is not of an export"):
        export(str(home / "run"), str(tmp_path), "hugging-face", None)
    with pytest.raises(ConfigError, match="is not empty, and no export"):
        export(str(home / "run"), str(tmp_path), "fiftyone", None)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.parquet"]


def test_pools_without_images_go_out_with_urls(tmp_path: Path) -> None:
    stages = [{"keep": {"by": "image", "top": 0.5}}]
    content = table_config(write_datacomp(tmp_path / "pool"), tmp_path, stages)
    content["pool"]["columns"] = {"image": "clip_l14_similarity_score"}
    run(content)
    where = str(tmp_path / "run"), str(tmp_path / "out")
    for kind in ("hugging-face", "fiftyone"):
        with pytest.raises(ConfigError, match="a pool of metadata has no images"):
            export(*where, kind, None)
    n = export(*where, "hugging-face", None, images=False)
    found = pq.read_table(tmp_path / "out/data")
    assert len(found) == n == 30
    assert found["url"][0].as_py().startswith("http://example.org/")
    assert "image" not in found.column_names
    assert set(found["weight"].to_pylist()) == {1}
    assert pa.types.is_floating(found.schema.field("score_image").type)


def test_fiftyones_folder_holds_every_sample_that_has_an_image(home: Path, tmp_path: Path) -> None:
    n = export(str(home / "run"), str(tmp_path), "fiftyone", None)
    samples = json.loads((tmp_path / "samples.json").read_text())["samples"]
    table = decided(home)
    there = table[~(table.set_aside & (table.stage == "ingest"))]
    assert [each["uid"] for each in samples] == there.uid.tolist()
    assert n == len(samples) > there.kept.sum()
    stored = images(home)
    for each in samples:
        assert (tmp_path / each["filepath"]).read_bytes() == stored[each["key"]]
    labels = {each["decision"]["label"] for each in samples}
    assert {"kept", "keep.low_clip", "rules.caption_words"} <= labels
    assert {tuple(each["tags"]) for each in samples} == {("kept",), ("dropped",), ("set aside",)}
    schema = json.loads((tmp_path / "metadata.json").read_text())["sample_fields"]
    assert {"clip", "scale", "caption", "decision"} <= schema.keys()
    export(str(home / "run"), str(tmp_path), "fiftyone", None)  # again, over itself


def test_fiftyone_itself_loads_the_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path / "db"))
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    fiftyone: Any = pytest.importorskip("fiftyone", reason="fiftyone is not here to import the folder")
    n = export(str(home / "run"), str(tmp_path / "out"), "fiftyone", None)
    kind = fiftyone.types.FiftyOneDataset
    found = fiftyone.Dataset.from_dir(dataset_dir=str(tmp_path / "out"), dataset_type=kind)
    assert len(found) == n
    assert len(found.match_tags("kept")) == decided(home).kept.sum()
    scored = [
        each for each in json.loads((tmp_path / "out/samples.json").read_text())["samples"] if "clip" in each
    ]
    assert found.count("clip") == len(scored) < n


def test_clip_retrievals_own_reader_reads_the_vectors(home: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("embedding_reader", reason="embedding-reader is not here to read them")
    n = export(str(home / "run"), str(tmp_path), "clip-retrieval", None)
    found = reader.EmbeddingReader(
        embeddings_folder=str(tmp_path / "img_emb"),
        metadata_folder=str(tmp_path / "metadata"),
        meta_columns=["image_path", "caption", "uid"],
        file_format="parquet_npy",
    )
    assert (found.count, found.dimension) == (n, 16)
    rows = [rows for _, rows in found(batch_size=7)]
    assert [uid for each in rows for uid in each.uid] == decided(home)[lambda table: table.kept].uid.tolist()


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]


def test_no_text_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    table = pa.table({"text": [*FORMULAS, "a=1", None], "number": range(-4, 5)})
    found = harmless(table)
    assert found["text"].to_pylist() == [*("'" + text for text in FORMULAS), "a=1", None]
    assert found["number"].to_pylist() == list(range(-4, 5))
    members = [(f"{text}/{n}", sample(n)) for n, text in enumerate(FORMULAS[:4])]
    write_shard(tmp_path / "pool/=evil.tar", [*members, ("calm", sample(9))])
    run(config(tmp_path / "pool", tmp_path, stages=[]))
    export(str(tmp_path / "run"), str(tmp_path / "a.csv"), "csv", None)
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == 6
    assert not [cell for row in rows for cell in row if cell[:1] in "=+-@\t\r" and cell]
    export(str(tmp_path / "run"), str(tmp_path / "a.parquet"), "parquet", None)
    assert pd.read_parquet(tmp_path / "a.parquet").key.tolist()[0] == "=1+1/0"


def test_a_hostile_key_is_no_path(tmp_path: Path) -> None:
    write_shard(tmp_path / "pool/00000.tar", [("../../evil", sample(0)), ("/etc/x", sample(1))])
    run(config(tmp_path / "pool", tmp_path / "home", stages=[]))
    before = contents(tmp_path)
    out = tmp_path / "out"
    export(str(tmp_path / "home/run"), str(out), "fiftyone", None)
    export(str(tmp_path / "home/run"), str(tmp_path / "hf"), "hugging-face", None)
    paths = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert paths == {"pool", "home", "out", "hf"}
    assert before.items() <= contents(tmp_path).items()
    image = pq.read_table(tmp_path / "hf/data")["image"].to_pylist()
    assert [each["path"] for each in image] == ["evil.jpg", "x.jpg"]
    names = sorted(path.name for path in (out / "data/00000").iterdir())
    assert names == ["0000000.jpg", "0000001.jpg"]
    assert np.array_equal([len(each["bytes"]) for each in image], [len(sample(n)["jpg"]) for n in (0, 1)])


def test_every_export_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    table = page.partition("| as | what it is | read by |")[2].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert sorted(name for cell in first for name in re.findall("`(.*?)`", cell)) == sorted(FORMATS)
