"""Fetch weights from the Hugging Face hub: in silence, and without patience where there is no network."""

from __future__ import annotations

import contextlib
import logging
import socket
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars


@contextlib.contextmanager
def fetching() -> Iterator[None]:
    """Draw no bars for what is fetched in the block; without a network, find just what is there already.

    The hub's client tries again and again, which takes minutes and a screen of warnings for each worker.
    """
    had_bars, was_offline = not are_progress_bars_disabled(), constants.HF_HUB_OFFLINE
    disable_progress_bars()
    constants.HF_HUB_OFFLINE = was_offline or _out_of_reach(constants.ENDPOINT)
    try:
        with quiet():
            yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        if had_bars:
            enable_progress_bars()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks of libraries, all of which are checked here, off the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _out_of_reach(url: str) -> bool:
    """Tell whether a host's name means nothing on this machine, and no proxy would know it."""
    if urllib.request.getproxies():
        return False
    try:
        socket.getaddrinfo(urlsplit(url).hostname, 443)
    except OSError:
        return True
    return False
