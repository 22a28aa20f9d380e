"""Stages follow each other as the configuration says, or the run never starts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipelines.config import RunConfig
from pipelines.errors import ConfigError
from pipelines.plan import Plan
from pipelines.planning import plan
from pipelines.stages.ingest import Ingest

ENCODER = {"model": "ViT-B-32", "pretrained": "openai"}


def planned(*stages: Any, verify: str = "decode", encoder: Any = ENCODER, encoders: Any = None) -> Plan:
    content = {
        "name": "test",
        "pool": {"shards": "pool", "verify": verify},
        "run": "run",
        "encoder": encoder,
        "encoders": encoders or {},
        "stages": list(stages),
        "output": {"shards": "out"},
    }
    return plan(RunConfig.model_validate(content))


def names(result: Plan) -> list[str]:
    return [stage.name for stage in result.stages]


KEEP = {"keep": {"by": "clip", "top": 0.3}}
DUPLICATES = {"duplicates": {"exact": True}}
RULES = {"rules": {"min_side": 32}}
SCORE = {"score": "clip"}


def test_stages_come_in_the_order_of_the_configuration() -> None:
    result = planned(RULES, DUPLICATES, SCORE, KEEP)
    assert names(result) == ["ingest", "rules", "duplicates", "embed", "score-clip", "keep", "decisions"]
    assert names(planned(DUPLICATES, RULES)) == ["ingest", "duplicates", "rules", "decisions"]


def test_no_stages_are_a_plan_too() -> None:
    assert names(planned()) == ["ingest", "decisions"]


def test_every_stage_reads_the_survivors_of_the_one_before() -> None:
    stages = planned(RULES, DUPLICATES, SCORE, KEEP).stages
    for before, stage in itertools.pairwise(stages[:-1]):
        assert stage.reads[0] == before.name
    assert stages[-1].reads == tuple(stage.name for stage in stages[:-1])


def test_stages_only_read_what_was_made_before_them() -> None:
    made: set[str] = set()
    for stage in planned(SCORE, RULES, KEEP, DUPLICATES, KEEP, RULES).stages:
        assert made.issuperset(stage.reads)
        made.add(stage.name)


def test_repeated_stages_are_numbered() -> None:
    result = planned(RULES, RULES, SCORE, KEEP, KEEP, RULES)
    assert names(result)[1:-1] == ["rules", "rules-2", "embed", "score-clip", "keep", "keep-2", "rules-3"]


def test_vectors_are_made_of_those_alone_who_get_that_far() -> None:
    assert names(planned(SCORE, RULES))[1] == "embed"
    assert names(planned(RULES, SCORE))[1:3] == ["rules", "embed"]


@pytest.mark.parametrize(
    ("stages", "verify", "expected"),
    [
        ([], "decode", "decode"),
        ([], "header", "header"),
        ([RULES], "decode", "decode"),
        ([DUPLICATES], "decode", "hash"),
        ([DUPLICATES], "header", "hash"),
        ([{"duplicates": {"exact": "bytes"}}], "decode", "decode"),
        ([{"duplicates": {"exact": "bytes"}}], "header", "header"),
        ([SCORE], "decode", "header"),  # the encoder decodes them anyway: once is enough
        ([DUPLICATES, SCORE], "decode", "hash"),
    ],
)
def test_images_are_decoded_where_something_needs_it_and_once(
    stages: list[Any], verify: str, expected: str
) -> None:
    ingest = planned(*stages, verify=verify).stages[0]
    assert isinstance(ingest, Ingest)
    assert ingest.pixels == expected


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([KEEP], r"number 1 \(keep\): there is no score 'clip' at this point; no score stands before it"),
        ([KEEP, SCORE], "there is no score 'clip'"),
        (
            [SCORE, {"keep": {"by": "clipp", "top": 0.3}}],
            "there is no score 'clipp' .* the scores there are: clip",
        ),
        ([SCORE, {"keep": {"by": "caption", "top": 0.3}}], "there is no score 'caption'"),
        ([SCORE, {"keep": {"by": "image", "top": 0.3}}], "there is no score 'image'"),
        ([{"keep": {"by": "width", "top": 0.3}}], "there is no score 'width'"),
        ([SCORE, SCORE], r"number 2 \(score\): the score 'clip' is there already"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_place_and_the_choice(
    stages: list[Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(*stages)


def test_a_score_without_an_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs vectors: give an encoder"):
        planned(SCORE, encoder=None)


def test_an_encoder_is_run_once_however_many_ask_for_its_vectors() -> None:
    result = planned(encoders={"small": {"model": "ViT-B-16", "pretrained": "openai"}})
    again = [result.vectors("small", "here"), result.vectors(None, "here"), result.vectors("small", "here")]
    assert again == ["embed-small", "embed", "embed-small"]
    assert [name for name in names(result) if name.startswith("embed")] == ["embed-small", "embed"]


def test_an_encoder_that_is_not_named_is_refused_with_those_that_are() -> None:
    result = planned(encoders={"small": ENCODER})
    with pytest.raises(ConfigError, match=r"here: there is no encoder 'big' under encoders: \(small\)"):
        result.vectors("big", "here")


@pytest.mark.parametrize("name", ["", "a/b", "../up", "a b"])
def test_an_encoders_name_is_fit_for_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        planned(encoders={name: ENCODER})


@pytest.mark.parametrize("stages", [[], [RULES], [DUPLICATES]])
def test_without_a_score_no_encoder_is_needed(stages: list[Any]) -> None:
    assert planned(*stages, encoder=None).scores == []


def test_settings_are_what_decides_a_stages_result() -> None:
    def settings(**changes: Any) -> Any:
        return planned({"rules": {"min_side": 32, **changes}}).stages[1].settings()

    assert settings() == settings()
    assert settings() != settings(max_aspect=2.0)
