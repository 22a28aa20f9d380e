"""`curate plugins`: scorers, filters and rules that are not curate's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipelines.plugins.offers import Offer


def plugins(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files with plugins to look at too; naming one here lets it run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON array.")] = False,
) -> None:
    """List the plugins of installed packages, and of files: what they need and which parameters they take."""
    found = survey(files or ())
    if as_json:
        print(json.dumps(found))
        return
    if not found:
        print("no package that is installed has plugins for curate; docs/plugins.md says how one is written")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("plugin", "is a", "from", "needs", "parameters"):
        table.add_column(name)
    for each in found:
        facts = (each["name"], each["sort"], each["from"], ", ".join(each["needs"]))
        parameters = ", ".join(f"{name}={default}" for name, default in each["parameters"].items())
        table.add_row(*map(Text, facts), Text(each["problem"] or parameters))
    Console().print(table)


def survey(files: list[str] | tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return what is known of each installed plugin, and of those in files, as JSON values.

    Raises
    ------
    ConfigError
        When a file has no plugins, or can't be loaded.
    """
    from pipelines.config import STAGES
    from pipelines.errors import ConfigError
    from pipelines.plugins.installed import installed
    from pipelines.plugins.offers import Plugins
    from pipelines.score_config import SCORES

    found: list[dict[str, Any]] = []
    for sort, point in installed():
        row = {"name": point.name, "sort": sort, "from": point.value, "needs": [], "parameters": {}}
        problem = None
        if point.name in (STAGES if sort == "filter" else SCORES):
            problem = f"never used: curate has a {point.name!r} of its own"
        else:
            try:
                offer = Plugins().find(sort, point.name)
                assert offer is not None
                row |= _told(offer)
            except (ValueError, ConfigError) as error:
                problem = str(error)
        found.append({**row, "problem": problem})
    named = Plugins.named(list(files), ".", files)
    return found + [{**_told(offer), "problem": None} for offer in named.offers]


def _told(offer: Offer) -> dict[str, Any]:
    fields = offer.model.model_fields
    parameters = {
        name: "required" if field.is_required() else str(field.get_default(call_default_factory=True))
        for name, field in fields.items()
        if name != "encoder"
    }
    needs = list(getattr(offer.model, "needs", ()))
    about = {"name": offer.kind, "sort": offer.sort, "from": offer.code.name}
    return {**about, "needs": needs, "parameters": parameters}
