"""The server: on loopback alone, for this machine's own browser, and it answers nothing but GET.

A page can't run any script, loads nothing from elsewhere, and can't be shown inside another. No path of a
file comes from a URL: samples are numbers, stages are looked up among the run's. Pictures are decoded here
and encoded anew, so a browser never sees bytes that the pool's makers chose.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import pyarrow as pa
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from curate.report.choice import Place
from curate.report.page import BUDGET
from curate.view import pages
from curate.view.query import QueryError
from curate.view.samples import has_sample, picture
from curate.view.search import Search
from curate.view.viewer import Viewer
from pipelines.errors import ConfigError

HOST = "127.0.0.1"
PORT = 8617
_NAMES = (HOST, "localhost")
_THREADS = 4
_PICTURES = {"small": (256, 70), "full": (1600, 88)}  # the longer side in pixels, and WebP's quality
_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_BUDGET_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
_HEADERS = {
    "Server": "curate",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" '
    'fill="#2a7385"/><path d="M3 4h10l-4 5v4l-2-1V9z" fill="#fcfbf8"/></svg>'
)
_WORDS = (  # in place of a picture
    '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160" viewBox="0 0 160 160">'
    '<text x="80" y="84" text-anchor="middle" font-family="sans-serif" font-size="12" fill="#808080">'
    "{}</text></svg>"
)


@dataclass(frozen=True)
class _Answer:
    """What goes back to the browser."""

    body: bytes
    kind: str = "text/html"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Arguments = Mapping[str, Sequence[str]]
Make = Callable[..., _Answer]  # from the search, the arguments, the path with them, and parts of the path


class _Handler(RequestHandler):
    """Answers a GET with what a function makes in a thread."""

    def initialize(self, viewer: Viewer, threads: ThreadPoolExecutor, make: Make) -> None:
        self._viewer, self._threads, self._make = viewer, threads, make

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse names that are not this server's: a page elsewhere may let its own name point here."""
        port = self.application.settings["port"]
        if self.request.host not in {f"{name}:{port}" for name in _NAMES}:
            raise HTTPError(403, reason=f"This server is http://{HOST}:{port}/ and nothing else")

    async def get(self, *parts: str | None) -> None:
        """Answer."""
        answer = await IOLoop.current().run_in_executor(self._threads, self._answer, parts)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        text = answer.kind.startswith(("text/", "image/svg"))
        self.set_header("Content-Type", answer.kind + ("; charset=utf-8" if text else ""))
        self.set_status(answer.status)
        self.finish(answer.body)

    def _answer(self, parts: Sequence[str | None]) -> _Answer:
        arguments = {
            name: [value.decode("utf-8", "replace") for value in values]
            for name, values in self.request.query_arguments.items()
        }
        search = self._viewer.search()
        try:
            return self._make(search, arguments, self.request.uri, *parts)
        except pages.Elsewhere as other:
            return _Answer(b"", status=302, headers={"Location": other.args[0]})
        except QueryError as error:
            return _page(pages.trouble(search, "Not to be found", f"{error}."), 400)
        except pages.NothingHere:
            return _page(pages.trouble(search, "Not to be found", "There is nothing here."), 404)
        except (OSError, pa.ArrowException, LookupError, ValueError):
            if not search.standing.working:
                raise
            message = "The run at work has just changed what is shown here: load the page again."
            return _page(pages.trouble(search, "Just changed", message), 503)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in a line what is wrong, and nothing of the inside."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {self._reason}\n")


def _page(text: str, status: int = 200) -> _Answer:
    return _Answer(text.encode("utf-8", "replace"), status=status)


def _picture(search: Search, arguments: Arguments, path: str, kind: str, shard: str, row: str) -> _Answer:
    place = Place(int(shard), int(row))
    if not has_sample(search.standing, place):
        raise pages.NothingHere
    found = picture(search.standing, place, *_PICTURES[kind])
    if found is None:
        words = "can’t be read" if search.standing.run.has_images else "no picture here"
        return _Answer(_WORDS.format(words).encode(), "image/svg+xml")
    return _Answer(found, "image/webp")


def _budget(search: Search, arguments: Arguments, path: str) -> _Answer:
    folder = search.standing.run.folder
    if not folder.exists(BUDGET):
        raise pages.NothingHere
    return _Answer(folder.read(BUDGET), headers={"Content-Security-Policy": _BUDGET_POLICY})


def _style(search: Search, arguments: Arguments, path: str) -> _Answer:
    files = (resources.files("curate.report") / "report.css", resources.files("curate.view") / "view.css")
    return _Answer("".join(file.read_text(encoding="utf-8") for file in files).encode(), "text/css")


_NUMBER = r"(\d{1,9})"
_PATHS: dict[str, Make] = {
    r"/": lambda search, arguments, path: _page(pages.overview(search)),
    r"/samples": lambda search, arguments, path: _page(pages.listing(search, arguments, path)),
    rf"/sample/{_NUMBER}/{_NUMBER}": lambda search, arguments, path, shard, row: _page(
        pages.sample(search, Place(int(shard), int(row)), arguments)
    ),
    r"/stage/([^/]+)": lambda search, arguments, path, name: _page(pages.stage(search, name)),
    r"/clusters(?:/([^/]+))?": lambda search, arguments, path, name=None: _page(
        pages.clusters(search, name, arguments)
    ),
    r"/groups(?:/([^/]+))?": lambda search, arguments, path, name=None: _page(
        pages.groups(search, name, arguments)
    ),
    rf"/picture/(small|full)/{_NUMBER}/{_NUMBER}": _picture,
    r"/budget": _budget,
    r"/style\.css": _style,
    r"/icon\.svg": lambda search, arguments, path: _Answer(_ICON.encode(), "image/svg+xml"),
}


class Server:
    """A server that stands, but does not answer yet; `url` is where it will."""

    def __init__(self, run: str, port: int | None = None) -> None:
        """Open a run and take a port: 0 for any that is free, None for the usual one or else any."""
        self._viewer = Viewer(run)
        self._sockets = _sockets(port)
        self.port: int = self._sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/"

    async def serve(self, stop: asyncio.Event | None = None) -> None:
        """Answer until the event comes."""
        logging.getLogger("tornado.access").setLevel(logging.ERROR)
        with ThreadPoolExecutor(_THREADS) as threads:
            common = {"viewer": self._viewer, "threads": threads}
            routes = [(path, _Handler, {**common, "make": make}) for path, make in _PATHS.items()]
            nowhere = {**common, "make": _nowhere}
            application = Application(
                routes, port=self.port, default_handler_class=_Handler, default_handler_args=nowhere
            )
            server = HTTPServer(application, max_body_size=1024, max_header_size=16_384)
            server.add_sockets(self._sockets)
            await (stop or asyncio.Event()).wait()
            server.stop()
            await server.close_all_connections()


def _nowhere(search: Search, *rest: object) -> _Answer:
    raise pages.NothingHere


def _sockets(port: int | None) -> list[socket.socket]:
    try:
        return bind_sockets(PORT if port is None else port, HOST)
    except OSError as error:
        if port is None:
            return bind_sockets(0, HOST)
        raise ConfigError(
            f"port {port} can't be had ({error.strerror}): --port 0 takes any that is free"
        ) from None
