"""Hostile input, drawn from seeds: what the tests of `tests/failures` feed to readers."""
