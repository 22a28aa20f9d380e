"""Workers on other machines: certificates, the packages they must have, the storage that all share."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import ConfigError
from pipelines.machine import describe_machine, versions_of
from pipelines.storage import Folder

Item = TypeVar("Item")
Result = TypeVar("Result")

_PACKAGES = ("curate-pools", "numpy", "pyarrow", "pillow", "simplejpeg", "torch", "open_clip_torch", "timm")
_TOKEN = "state/shared"  # noqa: S105 - no secret: what workers find where they see the run folder
_CERTIFICATES = {
    "tls_ca_file": ("distributed.comm.tls.ca-file", "the authority that signed all certificates"),
    "tls_client_cert": ("distributed.comm.tls.client.cert", "this side's certificate"),
    "tls_client_key": ("distributed.comm.tls.client.key", "its key"),
}


def require_certificates(scheduler: str | None) -> None:
    """Raise `ConfigError` when a `tls://` scheduler needs certificates that Dask's settings don't name.

    Also where Dask's settings allow nothing but encryption, and the address has none.
    """
    if scheduler is None:
        return
    from distributed.security import Security

    security = Security()
    if not scheduler.startswith("tls://"):
        if security.require_encryption:
            raise ConfigError(
                f"engine.scheduler: {scheduler} is not encrypted, and Dask's settings say "
                "distributed.comm.require-encryption: the address should start with tls://"
            )
        return
    for field, (key, what) in _CERTIFICATES.items():
        path = getattr(security, field)
        if path is None and field != "tls_client_key":  # a key may lie in the certificate's file
            variable = "DASK_" + key.upper().replace(".", "__").replace("-", "_")
            raise ConfigError(
                f"engine.scheduler: {scheduler} needs {what}: name a .pem file by {key} in "
                f"~/.config/dask/*.yaml, or by {variable}; docs/clusters.md says how one is made"
            )
        if path is not None and "-----BEGIN" not in path and not Path(path).is_file():
            raise ConfigError(f"engine.scheduler: {key} names {path}, and there is no such file")
    try:
        security.get_connection_args("client")
    except OSError as error:  # also ssl.SSLError
        raise ConfigError(f"engine.scheduler: the certificates for {scheduler} don't fit: {error}") from None


def kinds_of_machines(client: Any) -> list[dict[str, Any]]:
    """Return what machines a client's workers run on, each kind once.

    Raises
    ------
    ConfigError
        When a worker has no curate.
    """
    try:
        found = client.run(describe_machine)
    except Exception as error:
        if "ModuleNotFoundError" not in repr(error):  # Dask hands on what it is, as a text
            raise
        raise ConfigError(
            f"a worker of {client.scheduler.address} can't import what it needs ({error}): install "
            f"curate-pools {metadata.version('curate-pools')} on all machines"
        ) from error
    kinds: list[dict[str, Any]] = []
    for machine in found.values():
        if machine not in kinds:
            kinds.append(machine)
    return kinds


@dataclass(frozen=True)
class Agreement:
    """What a worker elsewhere must have in common with this process, or its results would be others.

    Attributes
    ----------
    versions
        Of Python and of what computes.
    shared
        A folder that all see, if one is needed.
    token
        What stands there.
    """

    versions: tuple[tuple[str, str], ...]
    shared: Folder | None
    token: str

    @classmethod
    def made(cls, shared: Folder | None) -> Agreement:
        """Return what holds here; a file in the folder lets workers see whether theirs is the same one."""
        token = uuid.uuid4().hex
        if shared is not None:
            shared.write(_TOKEN, token.encode())
        return cls(versions(), shared, token)

    def ended(self) -> None:
        """Remove the file."""
        if self.shared is not None:
            self.shared.remove(_TOKEN)

    def work(self, function: Callable[[Item], Result], item: Item) -> Result:
        """Return the function of an item, on a worker that agrees.

        Raises
        ------
        ConfigError
            When it does not.
        """
        _refuse_difference(self)
        return function(item)


@lru_cache(maxsize=8)
def _refuse_difference(agreement: Agreement) -> None:
    """Raise `ConfigError` on a worker that differs; one that doesn't is asked once."""
    here, wanted = dict(versions()), dict(agreement.versions)
    for name in here.keys() | wanted.keys():
        if here.get(name) != wanted.get(name):
            raise ConfigError(
                f"the worker on {platform.node()} has {name} {here.get(name) or '(none)'}, and the run was "
                f"started with {wanted.get(name) or 'none'}: install the same packages on all machines"
            )
    folder = agreement.shared
    if folder is None:
        return
    with suppress(OSError):
        if folder.read(_TOKEN).decode() == agreement.token:
            return
    raise ConfigError(
        f"the worker on {platform.node()} doesn't see the run folder {folder.url}: it should lie on storage "
        "that all machines share, under the same path, or in an object store"
    )


def versions() -> tuple[tuple[str, str], ...]:
    """Return name and version of Python and of what computes, without builds such as +cu128."""
    there = versions_of(_PACKAGES).items()
    python = ".".join(platform.python_version_tuple()[:2])
    return ("python", python), *((name, version.partition("+")[0]) for name, version in there)
