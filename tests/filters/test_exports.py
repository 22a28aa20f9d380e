"""What `filters` names can be imported from it, whatever was imported before."""

from __future__ import annotations

import importlib

import pytest

import filters


@pytest.mark.parametrize("name", filters.__all__)
def test_every_name_is_what_its_module_defines(name: str) -> None:
    found = getattr(filters, name)
    assert not isinstance(found, type(filters))
    if hasattr(found, "__module__"):
        assert getattr(importlib.import_module(found.__module__), name) is found
        assert found.__module__ != f"filters.{name}"  # else the module would hide it once imported


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'hard_cap'"):
        filters.hard_cap  # noqa: B018
