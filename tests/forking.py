"""Runs in processes that die where they are told: each is forked from one that holds the imports."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.truncate", "os.scandir"}


@dataclass(frozen=True)
class Ended:
    """How a run ended: killed, or with an exit code and a message. `operations` on files, `seconds`."""

    killed: bool
    code: int
    message: str
    operations: int
    seconds: float


class Forks:
    """Starts runs in processes of their own. As a context, it ends with the process that they come from."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.forking"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, config: dict[str, Any], **asked: Any) -> Ended:
        """Run a configuration.

        Parameters
        ----------
        config
            What to run.
        **asked
            `kill_before`: SIGKILL before this file operation below `home`; `kill_after`: SIGKILL after these
            seconds; `handles`: how many files may be open.
        """
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({"config": config, **asked}) + "\n")
        self._parent.stdin.flush()
        return Ended(**json.loads(self._parent.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait()


def _serve() -> None:
    import curate.api  # noqa: F401 - the children have them

    for line in sys.stdin:
        ended = _fork(json.loads(line))
        for module in ended.pop("modules", ()):  # what the first child imported late, the next ones find here
            if module not in sys.modules:
                importlib.import_module(module)
        print(json.dumps(ended), flush=True)


def _fork(asked: dict[str, Any]) -> dict[str, Any]:
    out, into = os.pipe()
    started = time.monotonic()
    if (child := os.fork()) == 0:
        os.close(out)
        _run(asked, into)
    os.close(into)
    if seconds := asked.get("kill_after"):
        time.sleep(seconds)  # anywhere, in the middle of a write too
        os.kill(child, signal.SIGKILL)
    with os.fdopen(out) as stream:
        said = json.loads(stream.read() or "{}")
    _, status = os.waitpid(child, 0)
    ended = {"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status)}
    return {"message": "", "operations": 0, **said, **ended, "seconds": time.monotonic() - started}


def _run(asked: dict[str, Any], into: int) -> None:
    """Do one run, and end this process."""
    from curate import run
    from pipelines.errors import CurateError

    below = str(Path(asked["config"]["run"]).parent)
    counted = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        if event in _FILE_EVENTS and str(arguments[0]).startswith(below):
            counted += 1
            if counted == asked.get("kill_before"):
                os.kill(os.getpid(), signal.SIGKILL)

    code, message = 0, ""
    sys.addaudithook(count)
    if handles := asked.get("handles"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (handles, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        run(asked["config"])
    except CurateError as error:
        code, message = 3, str(error)
    except BaseException as error:
        code, message = 1, repr(error)
    modules = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
    with os.fdopen(into, "w") as stream:
        json.dump({"message": message, "operations": counted, "modules": modules}, stream)
    os._exit(code)


if __name__ == "__main__":
    _serve()
