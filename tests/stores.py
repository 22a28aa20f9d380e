"""An S3 server on loopback that fails as it is told, and a run whose pool, folder and output lie there."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.storage import Folder
from tests.pools import config

Request = dict[str, Any]


class Faults:
    """Passes requests on to a WSGI application, but for those that it is told to answer badly.

    `every`: so many requests, and one is answered with a status 500. `how`: what becomes of a request: "500",
    "cut" (the answer's body breaks off halfway), "hang" (nothing comes until `release` is set), "stall" (half
    of the body comes, and the rest then), or None.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.release = threading.Event()
        self.clear()

    def clear(self) -> None:
        """Answer everything well again."""
        self.every = self.requests = self.failed = 0
        self.how: Callable[[Request], str | None] = lambda request: None
        self.release.set()

    def __call__(self, environ: Request, start_response: Any) -> Any:
        with self._lock:
            self.requests += 1
            often = bool(self.every) and self.requests % self.every == 0
            how = "500" if often else self.how(environ)
            self.failed += how is not None
        if how == "500":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if how == "hang":
            self.release.wait(60)
        answer = self._application(environ, start_response)
        if how == "cut":
            body = b"".join(answer)
            return [body[: len(body) // 2]]
        return self._stalling(b"".join(answer)) if how == "stall" else answer

    def _stalling(self, body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        self.release.wait(60)
        yield body[len(body) // 2 :]


@contextlib.contextmanager
def served() -> Iterator[tuple[str, Faults]]:
    """Yield the address of an S3 server, and what makes it fail."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, faults, threaded=True)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", faults
    faults.clear()
    serving.shutdown()
    thread.join()


def on(bucket: Folder, **changes: Any) -> dict[str, Any]:
    """Return a configuration over the pool in a bucket, with run folder and output there."""
    output = {"shards": bucket.path("out"), "samples_per_shard": 10, "subset": bucket.path("out/subset.npy")}
    place = {"run": bucket.path("run"), "output": output}
    return config(bucket.path("pool"), Path("unused"), **{**place, **changes})


def hashes(folder: Folder) -> dict[str, str]:
    """Return the hash of every file below a folder, but those of its past."""
    return {n: hashlib.sha256(folder.read(n)).hexdigest() for n in folder.files() if n[0] != "."}
