"""Every block of code on the pages works, page by page and in order: shell and Python run, settings load."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from curate.reference.commands import commands as all_commands
from pipelines.config import STAGES, RunConfig
from pipelines.plugins.offers import Plugins
from pipelines.proxies.config import ProxyPlan
from pipelines.proxies.rank_config import RankPlan
from pipelines.training.config import TrainConfig
from tests.commands import Command
from tests.commands import curate as curate  # a fixture
from tests.docs.blocks import PAGES, README, ROOT, Block, blocks, commands
from tests.docs.world import CONFIG, PLANS, register_models, write_world

WITH_BLOCKS = [page for page in PAGES if page != README and blocks(page)]  # test_readme.py is for that one
NOT_RUN = {
    "curate autopilot": "proxies on 40,000 samples: test_loop.py runs a smaller one",
    "torchrun": "eight GPUs: test_train_gradient.py starts two processes",
    "make": "sets an environment up: test_every_command_… below looks the target up",
    ".venv/bin/pre-commit": "changes a checkout: test_hooks.py looks the hooks over",
    "dask": "several machines: test_clusters.py starts its own on this one",
    "curate run scheduler.yaml": "the same",
    "curate doctor": "it loads torch in processes of its own: test_doctor.py runs it",
    "curate view": "it serves until it is stopped: test_view_server.py starts it and opens the page's URLs",
    "curate schedule serve": "it never ends: test_schedule.py has its steps, tests/soak an hour of it",
    "pip": "what is installed is here",
    "mv": "to where systemd looks",
    "systemctl": "test_schedule_export.py has the units checked",
}
PROGRAMS = ("openssl", "chmod")
# What Python on a page speaks of without having made it.
GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "filter_networks.md": lambda: {"before": _weights(0), "after": _weights(1)},
    "pruning.md": lambda: {
        "d_inter": np.linspace(0.2, 0.9, 500),
        "d_intra": np.linspace(0.5, 0.1, 500),
        "sizes": np.full(500, 2000),
    },
    "selection.md": lambda: {
        "clip": np.linspace(0, 1, 1000),
        "dfn": np.linspace(1, 0, 1000) ** 2,
        "scores": np.linspace(-2, 2, 100_000),
        "uids": [f"{number:032x}" for number in range(100_000)],
    },
}
# What a piece of a configuration lacks to be a whole one.
REST: dict[type[BaseModel], dict[str, Any]] = {
    RunConfig: {**CONFIG, "stages": []},
    TrainConfig: PLANS["network.yaml"],
    RankPlan: PLANS["rank.yaml"],
    ProxyPlan: PLANS["plan.yaml"],
}


def _weights(seed: int) -> dict[str, Any]:
    import torch

    return {"weight": torch.full((2, 2), float(seed))}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    register_models(tmp_path_factory.mktemp("models"))
    place = tmp_path_factory.mktemp("place")
    write_world(place / "home")
    shutil.copytree(place / "home", place / "kept")
    return place


@pytest.fixture
def world(written: Path) -> Path:
    """Return the world as it was written, where it was written: its run knows where it lies."""
    shutil.rmtree(written / "home")
    shutil.copytree(written / "kept", written / "home")
    return written / "home"


def accepts(content: Any, allow_plugin: tuple[str, ...] = ()) -> bool:
    """Say whether a piece of YAML is a configuration, or a part of one, that a command takes.

    Raises
    ------
    ValidationError
        When it has the keys of one, and is wrong.
    """
    content = {"stages": content} if isinstance(content, list) else content
    for model, rest in REST.items():
        if not content.keys() - model.model_fields.keys():
            plugins = Plugins.named(content.get("plugins"), Path.cwd(), allow_plugin)
            whole = content if content.keys() >= rest.keys() else rest | content
            found = model.model_validate(_alone(model, content, whole), context={"plugins": plugins})
            return content.keys() <= found.model_fields_set
    return False


def _alone(model: type[BaseModel], content: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Leave away what the rest says on the same matter: a pool of tars beside one of metadata."""
    if model is RunConfig and whole is not content:
        return {**whole, "output": {"subset": "a/a.npy"} | content.get("output", {})}
    if model is TrainConfig and "epochs" in content:
        return {name: value for name, value in whole.items() if name != "samples_seen"}
    return whole


def examples() -> list[Any]:
    """Return what stands in the example files in YAML, which have tests of their own."""
    files = sorted((ROOT / "examples").rglob("*.yaml"))
    return [content for file in files for content in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


class Runner:
    """Does the blocks of one page."""

    def __init__(self, page: Path, curate: Command) -> None:
        self.page, self.curate = page, curate
        self.names: dict[str, Any] = {"__name__": page.stem}
        self.names |= GIVEN.get(page.name, dict)()

    def bash(self, block: Block) -> None:
        for words in commands(block):
            if any(" ".join(words).startswith(left) for left in NOT_RUN):
                continue
            if words[0] in PROGRAMS:
                subprocess.run(words, check=True, capture_output=True, timeout=60)
                continue
            assert words[0] == "curate", f"{block.place}: nobody runs {words}"
            ended = self.curate(*words[1:])
            assert ended.code == 0, f"{block.place}: {' '.join(words)}\n{ended.err}"

    console = sh = bash

    def yaml(self, block: Block) -> None:
        content = yaml.safe_load(block.body)
        assert accepts(content, ("calm.py",)) or content in examples(), (
            f"{block.place}: whose settings are these?"
        )

    def python(self, block: Block) -> None:
        exec(compile(block.body, block.place, "exec"), self.names)

    def toml(self, block: Block) -> None:
        assert tomllib.loads(block.body), block.place

    def text(self, block: Block) -> None:
        """Leave alone what shows a tree of files, or what was printed once."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_work_in_their_order(
    page: Path, world: Path, curate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setattr("curate.init.available_cores", lambda: 0)  # no workers: they take seconds to start
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    runner = Runner(page, curate)
    for block in blocks(page):
        assert hasattr(Runner, block.language or "?"), f"{block.place}: nobody runs {block.language!r}"
        getattr(runner, block.language)(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_a_page_is_there_and_takes_its_options(page: Path) -> None:
    known, targets = all_commands(), (ROOT / "Makefile").read_text()
    for block in blocks(page):
        if block.language in ("bash", "sh", "console", ""):
            for words in commands(block):
                if words[0] == "make":
                    assert re.search(rf"^{words[1]}:", targets, re.MULTILINE), block.place
                if "curate" in words:
                    understood(words[words.index("curate") :], known, block.place)


def understood(words: list[str], known: dict[str, Any], place: str) -> None:
    name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), None)
    assert name, f"{place}: there is no command {' '.join(words[:3])}"
    known[name].make_context(name, words[len(name.split()) :])


INLINE = re.compile(rf"`((?:{'|'.join(STAGES)}|encoder|pool|output|engine): [^`…]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_setting_in_the_middle_of_a_sentence_is_one(page: Path) -> None:
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        content = yaml.safe_load(text)
        ((key, value),) = content.items()
        if isinstance(value, dict):  # else it is a key of a stage, such as `keep: best`
            assert accepts([content] if key in STAGES else content), f"{page.name}: {text}"


def test_what_is_not_run_stands_on_a_page_and_has_the_test_that_is_named() -> None:
    shell = [block for page in PAGES for block in blocks(page) if block.language in ("bash", "sh", "console")]
    shown = [" ".join(words) for block in shell for words in commands(block)]
    for left, reason in NOT_RUN.items():
        assert any(line.startswith(left) for line in shown), left
        for file in re.findall(r"test_\w+\.py", reason):
            assert [*(ROOT / "tests").rglob(file)], file


def test_what_is_wrong_is_seen(curate: Command) -> None:
    page = ROOT / "docs/wrong.md"
    with pytest.raises(ValidationError, match="did you mean top"):
        accepts([{"keep": {"by": "clip", "topp": 0.3}}])
    assert not accepts({"nobody": "knows this"})
    assert not hasattr(Runner, "cobol")
    with pytest.raises(AssertionError, match="nobody runs"):
        Runner(page, curate).bash(Block("bash", "rm -rf nothing\n", "wrong.md:1"))
    with pytest.raises(AssertionError, match="there is no command curate rum"):
        understood(["curate", "rum"], all_commands(), "wrong.md:1")
    with pytest.raises(Exception, match="--nope"):
        understood(["curate", "status", "run", "--nope"], all_commands(), "wrong.md:1")
