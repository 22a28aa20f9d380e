"""`curate view`: a run's whole pool in a browser, served on this machine alone."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def view(
    run: Annotated[str, typer.Argument(help="The run folder; the run may still be going on.")],
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 for any that is free. [default: 8617, or any]"),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Look through the whole pool in a browser: every sample, decision, threshold, cluster and duplicate.

    Nothing is copied or unpacked: pictures come from the shards by their byte ranges. The server listens on
    this machine alone and ends with Ctrl-C.
    """
    import asyncio
    import webbrowser

    from curate.view.server import Server

    server = Server(run, port)
    print(f"{server.url} shows {run}; Ctrl-C ends it", flush=True)
    if "SSH_CONNECTION" in os.environ:
        print(f"from your own machine: ssh -L {server.port}:127.0.0.1:{server.port} …", flush=True)
    elif browser:
        webbrowser.open(server.url)
    try:
        asyncio.run(server.serve())
    except KeyboardInterrupt:
        print("ended")
