"""A server of `curate view` in a thread, and plain requests to it."""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from curate.view.server import Server


class Reply(NamedTuple):
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def count(self, name: str) -> int:
        """Return a number that the page marks with a name."""
        (found,) = re.findall(rf'data-count="{re.escape(name)}">([\d,]+)<', self.text)
        return int(found.replace(",", ""))


class Served:
    """A server that answers."""

    def __init__(self, server: Server) -> None:
        self.port = server.port
        self.url = server.url.rstrip("/")

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        found = Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        connection.close()
        return found


@contextmanager
def serve(run: str) -> Iterator[Served]:
    """Serve a run for the length of the block."""
    server = Server(run, 0)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(stop),), daemon=True)
    thread.start()
    yield Served(server)
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()
    loop.close()
