"""Tell somebody what became of a tick: a webhook, a command. Neither holds the schedule up."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import urllib.request
from dataclasses import asdict
from typing import Any

from curate.schedule.entry import Work
from curate.schedule.records import Tick
from pipelines.errors import ConfigError
from pipelines.storage import Folder

_URL_SECONDS = 10.0
_COMMAND_SECONDS = 60.0
_FROM_ENVIRONMENT = "env:"


def check(work: Work) -> None:
    """Raise `ConfigError` when a webhook or a command can't be told."""
    if work.notify_url is not None and not work.notify_url.startswith(
        ("http://", "https://", _FROM_ENVIRONMENT)
    ):
        raise ConfigError(f"--notify-url: {work.notify_url!r} should start with https://, http:// or env:")
    if work.notify_command is not None:
        _words(work.notify_command)


def notify(work: Work, name: str, run: Folder, tick: Tick) -> str | None:
    """Tell who is to be told of a tick; return what went wrong with that, if anything did.

    The webhook gets a POST of one JSON object, the command the same on its standard input.
    """
    if work.notify_url is None and work.notify_command is None:
        return None
    event: dict[str, Any] = {"event": "tick", "name": name, "run": run.url, **asdict(tick)}
    data = json.dumps(event).encode()
    problems: list[str] = []
    if work.notify_url is not None:
        # A server that sends a byte now and then never times out, so somebody else waits for it.
        thread = threading.Thread(target=_post, args=(work.notify_url, data, problems), daemon=True)
        thread.start()
        thread.join(_URL_SECONDS)
        if thread.is_alive():
            problems.append(f"the webhook said nothing for {_URL_SECONDS:g} s")
    if work.notify_command is not None:
        _call(work.notify_command, tick, data, problems)
    return "; ".join(problems) or None


def _post(url: str, data: bytes, problems: list[str]) -> None:
    try:
        if url.startswith(_FROM_ENVIRONMENT):
            url = os.environ.get(url.removeprefix(_FROM_ENVIRONMENT), "")
        if not url.startswith(("http://", "https://")):
            raise ValueError("it is no address of http or https")
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_URL_SECONDS):  # noqa: S310 - checked above
            pass
    except Exception as error:  # whatever it is, it is the webhook's, not the run's
        problems.append(f"the webhook could not be told: {error}")


def _call(command: str, tick: Tick, data: bytes, problems: list[str]) -> None:
    environment = {**os.environ, "CURATE_OUTCOME": tick.outcome, "CURATE_MESSAGE": tick.message}
    try:
        subprocess.run(
            _words(command),
            input=data,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError, ConfigError) as error:
        problems.append(f"the command could not be told: {error}")


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--notify-command: {command!r}: {error}") from None
    if not words:
        raise ConfigError("--notify-command names no command")
    return words
