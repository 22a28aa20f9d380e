"""Where a picture comes from: hosts and words in its address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def host(url: str) -> str:
    """Return the host of an address in small letters, without `www.`; empty where there is none."""
    try:
        found = urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return found.removeprefix("www.")


def on_hosts(url: pa.Array, hosts: Iterable[str]) -> NDArray[np.bool_]:
    """Return which addresses lie on one of some hosts or below it: `a.com` also means `img.a.com`."""
    listed = {each.lower().removeprefix("www.").strip(".") for each in hosts}
    return np.fromiter((_below(host(each or ""), listed) for each in url.to_pylist()), bool, len(url))


def has_words(url: pa.Array, words: Iterable[str]) -> NDArray[np.bool_]:
    """Return which addresses have one of some words, between anything but letters and digits."""
    listed = frozenset(word.lower() for word in words)
    texts = (unquote(each or "").lower() for each in url.to_pylist())
    found = (not listed.isdisjoint(re.split(r"[\W_]+", text)) for text in texts)
    return np.fromiter(found, bool, len(url))


def _below(name: str, listed: set[str]) -> bool:
    while name:
        if name in listed:
            return True
        name = name.partition(".")[2]
    return False
