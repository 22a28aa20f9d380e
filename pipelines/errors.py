"""Errors for the person who reads them."""


class CurateError(Exception):
    """Something the user can mend; its message says which file, what was expected and what to do."""


class ConfigError(CurateError):
    """What was asked for makes no sense: stop before any work (exit code 2)."""


class StoppedError(CurateError):
    """The run stopped with work left; running it again goes on from here (exit code 3)."""
