"""A configuration is right as a whole, or every fault in it is named with its place."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate.api import resolved
from curate.config import load
from filters.keep import Keep
from filters.rules import Rules
from pipelines.errors import ConfigError

CONTENT: dict[str, Any] = {
    "name": "photos",
    "pool": {"shards": "pool/{00000..00005}.tar"},
    "run": "runs/photos",
    "encoder": {"model": "ViT-B-32", "pretrained": "openai"},
    "stages": [
        {"rules": {"caption_words": [2, 77], "languages": ["en"]}},
        {"duplicates": {"exact": True}},
        {"score": "clip"},
        {"keep": {"by": "clip", "top": 0.3}},
    ],
    "output": {"shards": "curated"},
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """Return the configuration with one value set."""
    content = copy.deepcopy(CONTENT)
    node: Any = content
    *parents, last = place.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return content


def complaint(content: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(content, overrides)
    return str(caught.value)


def test_what_is_written_is_what_is_done() -> None:
    config, base = load(CONTENT)
    assert base == Path.cwd()
    assert config.name == "photos"
    assert [next(iter(stage)) for stage in config.stages] == ["rules", "duplicates", "score", "keep"]
    assert config.stages[0]["rules"] == Rules(caption_words=(2, 77), languages=("en",))
    assert config.stages[3]["keep"] == Keep(by="clip", top=0.3)


# What is wrong is named


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("naem", "x", "naem: unknown key; did you mean name?"),
        ("pool.shard", "x", "pool.shard: unknown key; did you mean shards?"),
        ("pool.limits.pixel", 5, "pool.limits.pixel: unknown key; did you mean pixels?"),
        ("engine.worker", 2, "engine.worker: unknown key; did you mean workers?"),
        ("encoder.batchsize", 2, "encoder.batchsize: unknown key; did you mean batch_size?"),
        (
            "output.sample_per_shard",
            2,
            "output.sample_per_shard: unknown key; did you mean samples_per_shard?",
        ),
        (
            "stages.0.rules.caption_word",
            [1, 2],
            "stage 1 (rules): caption_word: unknown key; did you mean caption_words?",
        ),
        ("stages.3.keep.tpo", 0.3, "stage 4 (keep): tpo: unknown key; did you mean top?"),
        ("pool.zzz", 1, "pool.zzz: unknown key; known here: shards, metadata, columns, scores, verify"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(place: str, value: Any, message: str) -> None:
    assert message in complaint(changed(place, value))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("pool.verify", "maybe", "pool.verify: Input should be 'decode' or 'header'"),
        ("pool.max_set_aside", 2, "pool.max_set_aside: Input should be less than or equal to 1"),
        ("output.samples_per_shard", 0, "output.samples_per_shard: Input should be greater than 0"),
        ("engine.workers", "many", "engine.workers: Input should be a valid integer"),
        ("engine", {"options": {"a": 1}}, "engine: options are the arguments of cluster, which is not given"),
        ("engine", {"scheduler": "a", "cluster": "b"}, "engine: give one of scheduler and cluster"),
        ("stages", {"rules": {}}, "stages: should be a list, each entry a stage"),
        (
            "stages",
            [{"rulez": {}}],
            "stage 1: there is no stage 'rulez'; there are rules, duplicates, score, keep",
        ),
        ("stages", [{"rules": {}, "keep": {}}], "stage 1 should be one name with its parameters"),
        ("stages", [5], "stage 1 should be one name with its parameters"),
        ("stages", [{"score": "beauty"}], "stage 1 (score): there is no score 'beauty'; there are clip, dfn"),
        ("stages", [{"keep": {"by": "clip"}}], "stage 1 (keep): give one of top, band and at_least"),
        ("stages.0.rules.caption_words", [5, 2], "stage 1 (rules): caption_words: should be [least, most]"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(place: str, value: Any, message: str) -> None:
    assert message in complaint(changed(place, value))


@pytest.mark.parametrize("key", ["name", "pool", "run", "stages", "output"])
def test_what_is_missing_is_named(key: str) -> None:
    content = {name: value for name, value in CONTENT.items() if name != key}
    assert f"{key}: is missing" in complaint(content)


def test_all_that_is_wrong_is_said_at_once_a_line_each() -> None:
    content = changed("seed", -1) | {"naem": "x"}
    del content["run"]
    lines = complaint(content).splitlines()
    assert lines[0] == "the configuration is not a configuration that can run:"
    assert len(lines) == 4


# Overrides


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=7", {"seed": 7}),
        ("name=a=b", {"name": "a=b"}),
        ("pool.verify=header", {"verify": "header"}),
        ("pool.limits.pixels=1000", {"pixels": 1000}),
        ("engine.workers=3", {"workers": 3}),
        ("encoder.precision=bfloat16", {"precision": "bfloat16"}),
        ("output.subset=out/subset.npy", {"subset": "out/subset.npy"}),
        ("stages.keep.top=0.2", {"top": 0.2}),
        ("stages.3.keep.top=1000", {"top": 1000}),
        ("stages.rules.languages=[en, de]", {"languages": ["en", "de"]}),
        ("stages.rules.caption_words.1=50", {"caption_words": [2, 50]}),
        ("stages.rules.languages=null", {"languages": None}),
        ("stages.keep={by: clip, at_least: 0.28}", {"at_least": 0.28, "top": None}),
    ],
)
def test_an_override_changes_one_value(override: str, expected: dict[str, Any]) -> None:
    config, _ = load(CONTENT, [override])
    found = config.model_dump(mode="json", serialize_as_any=True)
    assert all((name, value) in pairs(found) for name, value in expected.items())


def pairs(node: Any) -> list[tuple[str, Any]]:
    """Return every key with its value, at any depth."""
    if isinstance(node, list):
        return [pair for each in node for pair in pairs(each)]
    if not isinstance(node, dict):
        return []
    return [*node.items(), *(pair for value in node.values() for pair in pairs(value))]


def test_later_overrides_win() -> None:
    assert load(CONTENT, ["seed=1", "seed=2"])[0].seed == 2


def test_stages_can_be_replaced_altogether() -> None:
    assert load(CONTENT, ["stages=[]"])[0].stages == []


def test_overrides_leave_the_callers_mapping_alone() -> None:
    content = copy.deepcopy(CONTENT)
    load(content, ["pool.shards=elsewhere", "stages.keep.top=0.1", "engine.workers=1"])
    assert content == CONTENT


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "an override is written a.b=c, not 'seed'"),
        ("=5", "an override is written a.b=c"),
        (
            "stages.prune.top=1",
            "the override 'stages.prune.top' leads nowhere: 'prune' is not in 0 (rules), 1",
        ),
        ("stages.9.keep.top=1", "leads nowhere: '9' is not in"),
        ("stages.9=1", "leads nowhere: '9' is not in"),
        ("name.first=1", "leads nowhere: 'first' is not in 'photos'"),
        ("name.first.second=1", "leads nowhere"),
        ("seed=[", "is not YAML"),
        ("pool.shard=x", "did you mean shards?"),
        ("stages.keep.tpo=1", "did you mean top?"),
    ],
)
def test_an_override_that_leads_nowhere_says_so(override: str, message: str) -> None:
    assert message in complaint(CONTENT, override)


def test_of_two_stages_of_one_name_the_number_is_wanted() -> None:
    content = changed("stages", [{"rules": {"min_side": 3}}, {"rules": {"min_side": 4}}])
    assert "leads nowhere: 'rules' is not in 0 (rules), 1 (rules)" in complaint(
        content, "stages.rules.min_side=5"
    )
    assert load(content, ["stages.1.rules.min_side=5"])[0].stages[1]["rules"] == Rules(min_side=5)


# Files


def write(folder: Path, text: str) -> Path:
    path = folder / "curate.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    config, base = load(write(tmp_path, yaml.safe_dump(CONTENT)))
    assert base == tmp_path
    found = yaml.safe_load(resolved(config, base))
    assert found["pool"]["shards"] == [f"{tmp_path}/pool/{{00000..00005}}.tar"]
    assert (found["run"], found["output"]["shards"]) == (f"{tmp_path}/runs/photos", f"{tmp_path}/curated")


def test_a_local_encoder_starts_at_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    encoder = {"model": "local-dir:models/tiny", "pretrained": "weights.pt"}
    config, _ = load(write(tmp_path, yaml.safe_dump(CONTENT | {"encoder": encoder})))
    assert config.encoder is not None
    assert config.encoder.model == f"local-dir:{tmp_path}/models/tiny"
    assert config.encoder.pretrained == f"{tmp_path}/weights.pt"
    assert load(CONTENT)[0].encoder.pretrained == "openai"  # type: ignore[union-attr]


def test_a_resolved_configuration_means_the_same_anywhere(tmp_path: Path) -> None:
    config, base = load(write(tmp_path, yaml.safe_dump(CONTENT | {"name": "猫"})))
    again, _ = load(yaml.safe_load(resolved(config, base)))
    assert resolved(again, Path("/elsewhere")) == resolved(config, base)
    assert again.stages == config.stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not YAML"),
        ("a: b: c", "is not YAML"),
        ("name: !!python/object/apply:os.system [echo]", "is not YAML"),
        ("", "should hold keys and values"),
        ("- a\n- b", "should hold keys and values"),
        ("1: 2", "Keys should be strings"),
    ],
)
def test_a_file_that_is_no_configuration_says_why(tmp_path: Path, text: str, message: str) -> None:
    found = complaint(write(tmp_path, text))
    assert message in found
    assert "curate.yaml" in found


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "nowhere.yaml can't be read" in complaint(tmp_path / "nowhere.yaml")
    assert "can't be read" in complaint(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    assert "latin.yaml can't be read" in complaint(tmp_path / "latin.yaml")
