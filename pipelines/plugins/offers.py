"""Which plugins a configuration may use: those of the files that it names, and the installed ones."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from filters.base import Filter, Rule
from pipelines.columns import OUTCOME
from pipelines.errors import ConfigError
from pipelines.plugins.code import Code, code_of_entry_point, code_of_file, describe, refused
from pipelines.plugins.installed import installed
from pipelines.plugins.use import VECTORS, Facts, PluginUse, Sort
from pipelines.storage import resolve
from pipelines.user_files import require_files, with_absolute_files
from scoring.scorer import Scorer

_BASES: Mapping[Sort, type[BaseModel]] = {"filter": Filter, "scorer": Scorer}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_STAGES = ("ingest", "embed", "scores", "similar", "decisions", "write")


class PluginFile(BaseModel):
    """A Python file with plugins; the rest is noted by curate in the run folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(min_length=1, description="the file; it runs only if the command line allows it")
    sha256: str | None = Field(None, description="of the file, when the run was made")
    stages: dict[int, Facts] = Field(
        default_factory=dict, description="which stages it does, for those who look at a run without its code"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given


@dataclass(frozen=True)
class Offer:
    """One plugin that may be used."""

    code: Code
    sort: Sort
    kind: str
    model: type[Any]

    def use(self, parameters: Any, base: str | Path) -> PluginUse:
        """Return a stage that this plugin does.

        Raises
        ------
        ValueError
            When the parameters are not what it takes; a `ValidationError` has `model` for its model.
        """
        given = dict(parameters)
        own = {name: value for name, value in given.items() if self.sort != "scorer" or name not in _OURS}
        made = with_absolute_files(self.model.model_validate(own), base)
        try:
            require_files(made, self.kind)
            made.check()
            facts = self._facts(made, given)
        except (ValueError, ConfigError):
            raise
        except Exception as error:
            raise ValueError(f"{self.code.line_of(error)}: {describe(error)}") from error
        content = made.model_dump(mode="json")
        named = {name: content[name] for name in self.model.files if content[name] is not None}
        return PluginUse(
            code=self.code,
            facts=facts,
            given=given | named,
            parameters=content,
            named_files=tuple(named.values()),
        )

    def _facts(self, made: Any, given: Mapping[str, Any]) -> Facts:
        if isinstance(made, Filter):
            vectors = dict(made.vectors)
            return Facts(
                sort="filter", kind=self.kind, columns=made.columns, scores=made.scores, vectors=vectors
            )
        vectors = {name: made.encoder for name in made.needs if name in VECTORS}
        if made.encoder is not None and not vectors:
            raise ValueError(f"encoder: {self.kind} needs no vectors")
        makes = given.get("as") or (self.kind if made.encoder is None else f"{self.kind}_{made.encoder}")
        if not isinstance(makes, str) or not _COLUMN.fullmatch(makes) or makes in OUTCOME:
            raise ValueError(f"as: a score can't be called {makes!r}")
        return Facts(sort="scorer", kind=self.kind, columns=made.needs, vectors=vectors, makes=makes)


_OURS = ("name", "as")


@dataclass(frozen=True)
class Plugins:
    """What may be used in one configuration, whose relative paths start at `base`.

    Attributes
    ----------
    offers
        Those of files that may run.
    files
        The files, in the configuration's order.
    described
        Stages, by number, whose files may not run, with what the run folder says of them.
    """

    base: str | Path = "."
    offers: tuple[Offer, ...] = ()
    files: tuple[Code, ...] = ()
    described: Mapping[int, tuple[Code, Facts]] = field(default_factory=dict)

    @classmethod
    def named(cls, given: Any, base: str | Path, allow: Collection[str]) -> Plugins:
        """Return the plugins of the files that a configuration names, and run those files.

        Parameters
        ----------
        given
            The configuration's `plugins`.
        base
            Where its relative paths start.
        allow
            The files that may run. Those of a run folder may also stay unrun: then its stages are known, and
            can't be done.

        Raises
        ------
        ConfigError
            When a file is not allowed, can't be loaded, or offers what is there already.
        """
        allowed = {resolve(path, ".") for path in allow}
        offers: list[Offer] = []
        files: list[Code] = []
        described: dict[int, tuple[Code, Facts]] = {}
        for each in _files(given):
            path = resolve(each.file, base)
            code = Code(Path(path).name, each.sha256 or "", path)
            if path in allowed:
                code = code_of_file(path, Path(path).name)
                offers += offers_of(code)
            elif each.sha256 is None:  # not of a run folder
                raise ConfigError(refused(code))
            described |= {number: (code, facts) for number, facts in each.stages.items()}
            files.append(code)
        _refuse_twice(offers)
        return cls(base, tuple(offers), tuple(files), described)

    def kinds(self, sort: Sort) -> list[str]:
        """Return the names of all plugins of a sort."""
        own = [offer.kind for offer in self.offers if offer.sort == sort]
        return sorted({*own, *(point.name for found, point in installed() if found == sort)})

    def find(self, sort: Sort, kind: str) -> Offer | None:
        """Return a plugin by its name; `ValueError` when two distributions have one of this name."""
        for offer in self.offers:
            if (offer.sort, offer.kind) == (sort, kind):
                return offer
        points = [point for found, point in installed() if found == sort and point.name == kind]
        if len(points) > 1:
            names = " and ".join(sorted(point.dist.name for point in points if point.dist))
            raise ValueError(f"{names} both have a {sort} {kind!r}: uninstall one of them")
        if not points:
            return None
        offers = offers_of(code_of_entry_point(points[0]))
        if not offers or (offers[0].sort, offers[0].kind) != (sort, kind):
            raise ValueError(f"{points[0].value}, the entry point, is no {sort} whose kind is {kind!r}")
        return offers[0]

    def known(self, number: int, sort: Sort, kind: str, given: Any) -> PluginUse | None:
        """Return a stage whose file may not run, as far as it is known."""
        code, facts = self.described.get(number, (None, None))
        if code is None or facts is None or code.may_run or (facts.sort, facts.kind) != (sort, kind):
            return None
        return PluginUse(code=code, facts=facts, given=dict(given or {}), parameters={})

    def noted(self, stages: Collection[Mapping[str, BaseModel]]) -> list[PluginFile]:
        """Return the files with what a run folder should say of them."""
        uses = [(number, use) for number, entry in enumerate(stages, 1) for use in entry.values()]
        return [
            PluginFile(
                file=code.path,
                sha256=code.sha256,
                stages={n: use.facts for n, use in uses if isinstance(use, PluginUse) and use.code == code},
            )
            for code in self.files
        ]


def _files(given: Any) -> list[PluginFile]:
    listed = given if isinstance(given, list) else []
    try:
        return [PluginFile.model_validate(each) for each in listed]
    except ValidationError:
        return []  # the check of the whole configuration will say what is wrong


def offers_of(code: Code) -> list[Offer]:
    """Return what code has to offer; it runs here for the first time.

    Raises
    ------
    ConfigError
        When there is nothing, or it has names that can't be.
    """
    found: list[tuple[Sort, Any]] = [
        (sort, each)
        for each in code.classes()
        for sort, base in _BASES.items()
        if issubclass(each, base) and not inspect.isabstract(each)
    ]
    for _, each in found:
        kind = getattr(each, "kind", None)
        if not isinstance(kind, str) or not _NAME.fullmatch(kind) or kind in _STAGES:
            raise ConfigError(
                f"plugins: {code.name}: {each.__name__}.kind is {kind!r}, and should be a name of small "
                f"letters, digits and _, none of {', '.join(_STAGES)}"
            )
        needs = getattr(each, "needs", None)
        if issubclass(each, Rule | Scorer) and (not needs or not isinstance(needs, tuple | list)):
            raise ConfigError(
                f"plugins: {code.name}: {each.__name__}.needs is {needs!r}, and should name what it sees, "
                'such as ("caption",)'
            )
    if not found:
        raise ConfigError(
            f"plugins: {code.name} has no plugin: a class whose base is filters.Rule, filters.Filter, "
            "filters.PoolFilter or scoring.Scorer, with all of its methods"
        )
    return [Offer(code, sort, each.kind, each) for sort, each in found]


def _refuse_twice(offers: list[Offer]) -> None:
    for number, offer in enumerate(offers):
        for other in offers[:number]:
            if (offer.sort, offer.kind) == (other.sort, other.kind):
                both = " and ".join(dict.fromkeys([other.code.name, offer.code.name]))
                raise ConfigError(f"plugins: two {offer.sort}s are called {offer.kind!r}, in {both}")
