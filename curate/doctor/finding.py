"""What a check found, and how checks are kept from failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether that is well, what was found, and what to do if it isn't."""

    name: str
    state: State
    found: str
    todo: str = ""


Check = Callable[[], Iterator[Finding]]


def guarded(name: str, check: Check) -> list[Finding]:
    """Return what a check finds; a check that fails is a finding of its own, not the end of all."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        todo = "this check is at fault, or what it looks at is broken in a new way: please report it"
        found.append(Finding(name, "warn", f"could not be looked at: {type(error).__name__}: {error}", todo))
    return found
