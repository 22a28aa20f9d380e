"""The house keeps its plan: who may import whom, how large a thing may grow, what is shipped."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("curate", "pipelines", "scoring", "filters", "scaling_laws")
MAY_IMPORT = {
    "curate": {"pipelines", "scoring", "filters", "scaling_laws"},
    "pipelines": {"scoring", "filters"},
    "scoring": set(),
    "filters": {"scoring"},
    "scaling_laws": set(),
}
LIBRARIES = ("scoring", "filters", "scaling_laws")  # importable in a notebook: no engine, no terminal
ENGINE = {"dask", "distributed", "typer", "rich"}
MAX_LINES, MAX_FUNCTION_LINES = 450, 60

MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules_imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each module that a module imports, also inside functions or for types alone, and the line.

    Of `from a import b` both `a` and `a.b`, which may be one.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level name and the line of every import in a module, also those inside functions."""
    yield from ((found.partition(".")[0], line) for found, line in modules_imported(path))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_between_the_rooms_go_one_way(room: str) -> None:
    forbidden = set(ROOMS) - MAY_IMPORT[room] - {room}
    strays = [
        f"{name(path)}:{line} imports {found}"
        for path in (ROOT / room).rglob("*.py")
        for found, line in imported(path)
        if found in forbidden | {"tests", "benchmarks"}
    ]
    assert not strays


def test_no_two_modules_need_each_other() -> None:
    paths = {name(path).removesuffix(".py").replace("/", "."): path for path in MODULES}
    needs = {
        module: paths.keys() & {found for found, _ in modules_imported(path)}
        for module, path in paths.items()
    }
    circle: list[str] = []
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert circle == []


@pytest.mark.parametrize("room", LIBRARIES)
def test_libraries_know_no_engine_and_no_terminal(room: str) -> None:
    strays = [
        f"{name(path)}:{line} imports {found}"
        for path in (ROOT / room).rglob("*.py")
        for found, line in imported(path)
        if found in ENGINE
    ]
    assert not strays


def test_only_the_front_door_knows_the_terminal() -> None:
    strays = [
        f"{name(path)}:{line} imports {found}"
        for path in MODULES
        for found, line in imported(path)
        if found in {"typer", "rich"} and path.relative_to(ROOT).parts[0] != "curate"
    ]
    assert not strays


def test_no_pickle_is_read_anywhere() -> None:
    strays = [
        f"{name(path)}:{line}" for path in MODULES for found, line in imported(path) if found == "pickle"
    ]
    assert not strays


def test_no_file_grows_too_long() -> None:
    lengths = {name(path): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert not {file: n for file, n in lengths.items() if n > MAX_LINES}


def test_no_function_grows_too_long() -> None:
    lengths = {
        f"{name(path)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {function: n for function, n in lengths.items() if n > MAX_FUNCTION_LINES}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_a_typed_package(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()
    assert (ROOT / room / "__init__.py").is_file()


@pytest.mark.slow
def test_every_room_can_be_entered_without_another_one_above_it() -> None:
    for room in LIBRARIES:
        code = f"import sys, {room}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        loaded = set(found.stdout.split())
        assert loaded.isdisjoint(set(ROOMS) - MAY_IMPORT[room] - {room})
        assert loaded.isdisjoint(ENGINE)


def test_the_build_names_exactly_the_five_rooms() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(ROOMS)
    assert project["project"]["name"] == "curate-pools"
    assert project["project"]["scripts"] == {"curate": "curate.cli:main"}


def test_a_wheel_holds_the_rooms_and_no_tests(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not here to build a wheel")
    (path,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        files = wheel.namelist()
    assert {file.partition("/")[0] for file in files if ".dist-info/" not in file} == set(ROOMS)
    assert {f"{room}/py.typed" for room in ROOMS} <= set(files)
    rooms = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()]
    assert {name(path) for path in rooms if "__pycache__" not in path.parts} <= set(files)
