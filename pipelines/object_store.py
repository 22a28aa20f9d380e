"""How object stores are spoken to: for how long, how often again, and with nobody's credentials in a text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pipelines.errors import ConfigError

TIMEOUT_VARIABLE = "CURATE_STORE_TIMEOUT"
ATTEMPTS_VARIABLE = "CURATE_STORE_ATTEMPTS"
PART_BYTES = 16 << 20  # of a multipart upload; ten of them are in memory at once
_S3 = ("s3", "s3a")
_CACHES_LISTINGS = (*_S3, "gs", "gcs")
_ENVIRONMENT = "stores read them from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

# user:secret@host, but not host:8080/…@…
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/:@\s]*:(?!\d+(?:/|$))[^@\s]+@", re.IGNORECASE)
_SIGNED = re.compile(
    r"[?&](x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid"
    r"|signature|sig|(?:access_)?token|secret|password)=",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"\b\w*(?:SECRET|PASSWORD|_TOKEN|ACCESS_KEY)(?:_\w+)?=")
_NAMED = re.compile(
    r"storage_options|client_kwargs|.*(?:secret|password|access_key|api_key|credentials?)(?:_\w+)?|.*_token",
    re.IGNORECASE,
)


def options(url: str) -> dict[str, Any]:
    """Return how a URL's file system is opened: how long it waits, how often it tries, and what it remembers.

    Listings are not remembered: another process may write there, and a run must see that a file has changed.
    """
    protocol = url.partition("://")[0]
    found: dict[str, Any] = {"use_listings_cache": False} if protocol in _CACHES_LISTINGS else {}
    if protocol in _S3:
        retries = {"mode": "standard", "max_attempts": attempts()}  # waits of random length, which grow
        timeout = _number(TIMEOUT_VARIABLE, 20.0)
        found["config_kwargs"] = {"connect_timeout": timeout, "read_timeout": timeout, "retries": retries}
    return found


def attempts() -> int:
    """Return how often each of two layers tries: botocore a request, s3fs what came to nothing with it."""
    return int(_number(ATTEMPTS_VARIABLE, 3))


def opened(fs: Any, url: str) -> Any:
    """Return a file system that tries again as often as it is told, after a server's errors too."""
    if url.partition("://")[0] in _S3:
        from s3fs.core import set_custom_error_handler

        set_custom_error_handler(_is_servers_error)
        fs.retries = attempts()
    return fs


def _is_servers_error(error: Exception) -> bool:
    answer = getattr(error, "response", None) or {}
    return bool(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500)


def put_options(url: str) -> dict[str, Any]:
    """Return how a file is put to a URL."""
    return {"chunksize": PART_BYTES} if url.partition("://")[0] in _S3 else {}


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 1 <= value <= 3600:
        raise ConfigError(f"{variable} is {text!r}; it should be a number from 1 to 3600")
    return value


def refuse_credentials(url: str) -> None:
    """Raise `ConfigError`, without the secret, when a URL carries credentials."""
    if "://" not in url:
        return
    if user := _USER.search(url):
        shown = f"{user[1]}…@{url[user.end() :].partition('?')[0]}"
    elif signed := _SIGNED.search(url):
        shown = f"{url[: signed.start()].partition('?')[0]}?…"
    else:
        return
    raise ConfigError(f"the URL {shown} carries credentials, which would end up in files; {_ENVIRONMENT}")


def refuse_credentials_in(content: Any, place: str = "") -> None:
    """Raise `ConfigError` when a key, a URL or a line of a script in a configuration carries credentials."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = f"{place}.{key}" if place else str(key)
            if _NAMED.fullmatch(str(key)) and value is not None:
                raise ConfigError(f"{inner}: credentials don't belong into a configuration; {_ENVIRONMENT}")
            refuse_credentials_in(value, inner)
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            refuse_credentials_in(value, f"{place}.{number}")
    elif isinstance(content, str):
        if assigned := _ASSIGNED.search(content):
            raise ConfigError(f"{place}: {assigned[0]}… is a credential; {_ENVIRONMENT}")
        try:
            refuse_credentials(content)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
