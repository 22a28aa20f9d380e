"""The options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Change a value of the configuration; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="module:function", help="Code of yours that evaluations may call; may be repeated."),
]
AllowClass = Annotated[
    list[str] | None,
    typer.Option(metavar="module.Class", help="A Dask cluster class that may run; may be repeated."),
]
AllowPlugin = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="A file of `plugins` that may run; may be repeated."),
]
