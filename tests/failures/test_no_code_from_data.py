"""Nothing that curate reads runs code: no configuration, shard, table, vector file, model or run folder.

What a configuration may run by name, a cluster class and an evaluation's call, the command line has to allow.
"""

from __future__ import annotations

import ast
import json
import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
import yaml

from curate import cli, run
from curate.config import load
from curate.forecast import forecast
from curate.loop import buckets_of
from pipelines.errors import ConfigError, CurateError
from pipelines.output.subset import read_subset
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.rank import rank_filters
from pipelines.proxies.rank_config import RankPlan
from pipelines.proxies.run import run_proxies
from pipelines.storage import filesystem
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderError, EncoderSpec
from tests.making import write_encoder, write_pool
from tests.pools import config, result_bytes, write_config
from tests.scoring.models_for_tests import tiny

ROOMS = ("curate", "pipelines", "scoring", "filters", "scaling_laws")
CLASS = "sinister.Cluster"


class Sinister:
    """Leaves a file behind when a pickle of it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A file that is there after a test only if something ran what it should not."""
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists(), "code from the data ran"


@pytest.fixture
def importable(mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a module `sinister` that leaves the mark when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/sinister.py").write_text(f"open({str(mark)!r}, 'w')\nCluster = None\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")


# The cluster class


def _run(tmp_path: Path) -> None:
    run(config(tmp_path / "pool", tmp_path, engine={"cluster": CLASS}))


def _buckets(tmp_path: Path) -> None:
    content = config(tmp_path / "pool", tmp_path, engine={"cluster": CLASS})
    content["pool"]["scores"] = ["quality"]
    buckets_of(str(write_config(tmp_path / "c.yaml", content)), "quality", [0.5])


def _proxy(tmp_path: Path) -> None:
    plan: dict[str, Any] = {
        "buckets": "buckets",
        "output": "proxies",
        "budgets": [32],
        "train": {"model": "micro-proxy", "batch_size": 8, "warmup_steps": 1},
        "evaluations": [{"retrieval": {"shards": "pool"}}],
        "engine": {"cluster": CLASS},
    }
    (tmp_path / "buckets").mkdir()
    (tmp_path / "buckets/buckets.json").write_text(
        json.dumps({"by": "a", "shards": [], "run": {}, "unscored": 0, "buckets": []})
    )
    run_proxies(ProxyPlan.model_validate({**plan, "pools": [["a"]]}).at(tmp_path))


def _rank(tmp_path: Path) -> None:
    plan = {
        "shards": "pool",
        "output": "ranked",
        "keep_ratio": 0.5,
        "filters": {"one": {"model": "local-dir:one"}, "two": {"model": "local-dir:two"}},
        "train": {"model": "micro-proxy", "batch_size": 8, "samples_seen": 32, "warmup_steps": 1},
        "evaluations": [{"retrieval": {"shards": "pool"}}],
        "engine": {"cluster": CLASS},
    }
    rank_filters(RankPlan.model_validate(plan).at(tmp_path))


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("start", [_run, _buckets, _proxy, _rank], ids=lambda call: call.__name__[1:])
def test_a_cluster_class_that_was_not_allowed_is_not_even_imported(
    tmp_path: Path, start: Callable[[Path], None]
) -> None:
    write_pool(tmp_path / "pool", 1, 2)
    with pytest.raises(ConfigError, match=f"--allow-class {CLASS}"):
        start(tmp_path)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("*.parquet"))


@pytest.mark.usefixtures("importable")
def test_a_check_imports_no_cluster_class(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 2)
    checked, base = load(config(tmp_path / "pool", tmp_path, engine={"cluster": CLASS}))
    assert forecast(checked, base).samples == 2


def test_an_allowed_class_is_imported(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 1, 2)
    content = config(tmp_path / "pool", tmp_path, engine={"cluster": "nowhere.Cluster"})
    with pytest.raises(ConfigError, match=r"there is no class nowhere\.Cluster"):
        run(content, allow_class=["nowhere.Cluster"])


@pytest.mark.parametrize("command", ["run", "buckets", "proxy", "autopilot", "dfn rank"])
def test_every_command_that_starts_an_engine_can_allow_a_class(command: str) -> None:
    found: Any = typer.main.get_command(cli.app)
    for name in command.split():
        found = found.get_command(None, name)
    assert "--allow-class" in [option for each in found.params for option in each.opts]


# Text and addresses


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [MARK]", "!!python/name:os.mkdir", "!!python/module:os"]
)
def test_tags_in_yaml_are_refused(tmp_path: Path, mark: Path, tag: str) -> None:
    (tmp_path / "c.yaml").write_text(f"name: {tag.replace('MARK', str(mark))}\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(config(tmp_path, tmp_path), [f"name={tag.replace('MARK', str(mark))}"])


@pytest.mark.parametrize(
    "url", ["pipe:touch MARK", "pipe:touch MARK|.tar", "file:touch MARK", "| touch MARK"]
)
def test_a_pipe_is_only_a_file_that_is_not_there(tmp_path: Path, mark: Path, url: str) -> None:
    for spelled in (url.replace("MARK", str(mark)), [url.replace("MARK", str(mark)) + ".tar"]):
        with pytest.raises(ConfigError, match="exist"):
            run(config(tmp_path, tmp_path) | {"pool": {"shards": spelled}})


@pytest.mark.parametrize("url", ["reference://::{}/r.json", "simplecache::file://{}/r.json", "zip://a::{}/r"])
def test_chained_addresses_are_refused(tmp_path: Path, url: str) -> None:
    """Files of references carry templates, which some releases of fsspec run without a sandbox."""
    with pytest.raises(ConfigError, match="chained"):
        filesystem(url.format(tmp_path))
    with pytest.raises(ConfigError, match="chained"):
        run(config(write_pool(tmp_path / "pool", 1, 2), tmp_path, run=url.format(tmp_path)))


# Arrays, tables, weights


def _object_npy(path: Path, mark: Path) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, np.array([Sinister(mark)], object), allow_pickle=True)


def test_pickles_in_arrays_are_not_read(tmp_path: Path, mark: Path) -> None:
    _object_npy(tmp_path / "subset.npy", mark)
    with pytest.raises((CurateError, ValueError)):
        read_subset(str(tmp_path / "subset.npy"))
    write_pool(tmp_path / "pool", 1, 2)
    with pytest.raises(CurateError):
        run(config(tmp_path / "pool", tmp_path, stages=[{"subset": str(tmp_path / "subset.npy")}]))


def _table_pool(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    table = pa.table({"uid": [f"{n:032x}" for n in range(2)], "text": ["a b", "c d"]})
    pq.write_table(table, folder / "0.parquet")
    return {"pool": {"metadata": str(folder)}}


@pytest.mark.parametrize("kind", ["npy", "npz", "pickle called npy"])
def test_pickles_in_vector_files_are_not_read(tmp_path: Path, mark: Path, kind: str) -> None:
    content = config("", tmp_path, output={"subset": str(tmp_path / "s.npy")}) | _table_pool(tmp_path / "m")
    _object_npy(tmp_path / "object.npy", mark)
    if kind == "npz":
        with zipfile.ZipFile(tmp_path / "m/0.npz", "w") as archive:
            archive.write(tmp_path / "object.npy", "img.npy")
            archive.write(tmp_path / "object.npy", "txt.npy")
        content["encoder"] = {"image": "img", "text": "txt"}
    else:
        for name in ("img_emb", "text_emb"):
            (tmp_path / name).mkdir()
            data = (tmp_path / "object.npy").read_bytes()
            (tmp_path / name / f"{name}_0.npy").write_bytes(
                data if kind == "npy" else pickle.dumps(Sinister(mark))
            )
        (tmp_path / "m/0.parquet").rename(tmp_path / "m/metadata_0.parquet")
        content["encoder"] = "clip-retrieval"
    with pytest.raises(CurateError):
        run(content | {"stages": [{"score": "clip"}]})


def test_a_pickled_type_in_a_table_is_not_read(tmp_path: Path, mark: Path) -> None:
    """Arrow once unpickled what a column's metadata holds, under this name."""
    content = config("", tmp_path, stages=[], output={"subset": str(tmp_path / "s.npy")})
    content |= _table_pool(tmp_path / "m")
    sinister = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Sinister(mark)),
    }
    fields = [pa.field("uid", pa.string()), pa.field("text", pa.string(), metadata=sinister)]
    table = pa.table([[f"{n:032x}" for n in range(2)], ["a b", "c d"]], schema=pa.schema(fields))
    pq.write_table(table, tmp_path / "m/0.parquet")
    assert run(content).kept == 2


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".pt", ".safetensors"])
def test_weights_that_are_a_pickle_are_not_read(tmp_path: Path, mark: Path, suffix: str) -> None:
    spec = tiny(tmp_path)
    file = (tmp_path / "sinister").with_suffix(suffix)
    torch.save({"state_dict": {"weight": Sinister(mark)}}, file)
    with pytest.raises(EncoderError):
        Encoder.load(spec.model_copy(update={"pretrained": str(file)}))


def test_a_model_folder_that_asks_for_its_own_code_to_run_is_told_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_encoder(tmp_path / "model")
    file = tmp_path / "model/open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["text_cfg"] |= {
        "hf_tokenizer_name": "sinister/tokenizer",
        "tokenizer_kwargs": {"trust_remote_code": True},
    }
    file.write_text(json.dumps(content))
    asked: list[dict[str, Any]] = []

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(name: object, **settings: Any) -> Callable[..., Any]:
            asked.append(settings)
            return lambda *args, **kwargs: None

    transformers = types.ModuleType("transformers")
    transformers.AutoTokenizer = AutoTokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    Encoder.load(EncoderSpec(model=name, device="cpu"))
    assert asked
    assert all(settings["trust_remote_code"] is False for settings in asked)


def test_a_run_folder_with_pickles_in_it_is_not_believed(tmp_path: Path, mark: Path) -> None:
    content = config(write_pool(tmp_path / "pool", 1, 4), tmp_path)
    run(content)
    made = result_bytes(tmp_path)
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            path.write_bytes(pickle.dumps(Sinister(mark)))
    run(content)  # all of it is made anew
    assert result_bytes(tmp_path) == made


# The source


def _calls(room: str) -> Iterator[tuple[str, str, ast.Call]]:
    root = Path(__file__).parents[2]
    for path in sorted((root / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(root)), ast.unparse(node.func), node


def _says(call: ast.Call, name: str, value: bool) -> bool:
    return any(
        word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is value
        for word in call.keywords
    )


@pytest.mark.parametrize("room", ROOMS)
def test_no_source_has_a_call_that_would_run_what_it_reads(room: str) -> None:
    never = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
    for place, name, call in _calls(room):
        assert name not in never, place
        assert name.split(".")[0] not in {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, (
            place
        )
        if name == "np.load":
            assert _says(call, "allow_pickle", False), place
        if name == "torch.load":
            assert _says(call, "weights_only", True), place


def test_modules_are_imported_by_name_in_known_places_only() -> None:
    """The two that a configuration can reach ask first whether the user allowed it."""
    found = {place for room in ROOMS for place, name, _ in _calls(room) if name == "importlib.import_module"}
    lazy = {"curate/cli.py", "filters/__init__.py", "scoring/__init__.py"}
    assert found - lazy == {"pipelines/engine.py", "pipelines/proxies/evaluate.py"}


def test_yaml_of_runs_is_read_safely(tmp_path: Path, mark: Path) -> None:
    content = config(write_pool(tmp_path / "pool", 1, 2), tmp_path)
    run(content)
    (tmp_path / "run/run.yaml").write_text(f"name: !!python/object/apply:os.mkdir [{mark}]\n")
    with pytest.raises((ConfigError, yaml.YAMLError)):
        buckets_of(str(tmp_path / "run"), "quality", [0.5])
