"""Every command with its arguments and options, read from the command line itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from curate.reference.tables import table

_INTRODUCTION = """\
# Commands

Made of the commands themselves; `curate COMMAND --help` says the same. Facts go to stdout, with `--json` as
one object; progress and messages go to stderr.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 2 | the command line, the configuration or the data it names are wrong; nothing was begun |
| 3 | stopped with work left (run it again), or a check that failed |
"""


def commands_page() -> str:
    """Return the page of all commands."""
    return "\n".join([_INTRODUCTION, *_sections()])


def commands() -> dict[str, Any]:
    """Return all commands that do something by what one types: `curate scaling fit`."""
    return dict(_walk(_root(), "curate"))


def _root() -> Any:
    from curate.cli import app

    return typer.main.get_command(app)


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Return the commands in the order in which `--help` lists them, those of a group behind each other."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    context = command.make_context(path, [], resilient_parsing=True)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if not inner.hidden:
            yield from _walk(inner, f"{path} {name}")


def _sections() -> Iterator[str]:
    for path, command in commands().items():
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        arguments = [_argument(each) for each in shown if each.param_type_name == "argument"]
        yield f"## {path}\n"
        yield f"`{' '.join([path, *arguments])}`\n"
        yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")) + "\n"
        if shown:
            kinds = get_type_hints(inspect.unwrap(command.callback))
            rows = [_row(each, kinds.get(each.name)) for each in shown]
            yield table(("option", "default", "meaning"), rows) + "\n"


# Names of values are made here: what Typer calls them differs from version to version.
def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()) + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _row(parameter: Any, kind: Any) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        name = f"`{_argument(parameter)}`"
    else:
        name = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
        name += "" if parameter.is_flag else f" `{parameter.metavar or parameter.name.strip('_').upper()}`"
        name += " …" if parameter.multiple else ""
    choices = " or ".join(f"`{each}`" for each in _choices(kind))
    told = parameter.help or ""
    return name, _default(parameter), f"{told} One of {choices}." if choices else told


def _choices(kind: Any) -> list[str]:
    """Return the words that an option takes, where its type lists them."""
    if get_origin(kind) is Literal:
        return [str(each) for each in get_args(kind)]
    return [word for each in get_args(kind) for word in _choices(each)]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if default is None or default in (False, (), []) or callable(default):
        return ""
    return f"`{parameter.opts[0] if default is True else default}`"
