"""Where the work is done: this process, a Dask cluster on this machine, or one that stands elsewhere.

Tasks are shards and results are small. Image bytes and embeddings never cross the scheduler: a worker reads
them from storage and writes what it makes back to storage.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.elsewhere import Agreement, kinds_of_machines, require_certificates
from pipelines.errors import ConfigError, StoppedError
from pipelines.interrupts import interrupts_stay, interrupts_wait
from pipelines.limits import available_cores
from pipelines.storage import Folder
from pipelines.tasks import PATIENCE_SECONDS, lost, map_tasks
from scoring.main_module import no_main_module

Item = TypeVar("Item")
Result = TypeVar("Result")

_TASKS_PER_THREAD = 4  # in flight: enough that no worker waits, few enough that the scheduler stays small
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class EngineConfig(BaseModel):
    """Where to run and with how much. None of it changes the results."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(
        default_factory=available_cores,
        ge=0,
        description="default: a worker for each core; 0: in this process",
    )
    threads_per_worker: int = Field(1, ge=1, description="threads of the model and of numerical libraries")
    gpus: int | Literal["all"] = Field(
        0,
        ge=0,
        description="a worker for each of so many GPUs of this machine, for stages that run a model; the "
        "other stages run on `workers`",
    )
    memory_per_worker: str = Field("auto", description="a worker above this is restarted; such as 8GB")
    scheduler: str | None = Field(None, description="address of a running Dask scheduler, tcp://host:8786")
    cluster: str | None = Field(
        None,
        description="a Dask cluster class, such as dask_jobqueue.SLURMCluster; to be allowed by "
        "--allow-class",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the cluster class")
    dashboard: str | None = Field(None, description="address of the dashboard, such as 127.0.0.1:8787")
    retries: int = Field(2, ge=0, description="how often a task is tried again on another worker")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.scheduler and self.cluster:
            raise ValueError("give one of scheduler and cluster")
        if self.options and not self.cluster:
            raise ValueError("options are the arguments of cluster, which is not given")
        if self.gpus and (self.scheduler or self.cluster):
            raise ValueError("gpus are those of this machine: leave out scheduler and cluster")
        return self

    @property
    def in_process(self) -> bool:
        """Whether there are no workers."""
        return not (self.workers or self.scheduler or self.cluster)


def refuse_unlisted(config: EngineConfig, allow_class: Collection[str]) -> None:
    """Raise `ConfigError` when a configuration names a cluster class that the user has not allowed."""
    if config.cluster and config.cluster not in allow_class:
        raise ConfigError(
            f"engine.cluster: {config.cluster} is code, which no configuration may run by itself; allow it "
            f"on the command line: --allow-class {config.cluster}"
        )


class Engine:
    """Runs functions on items, in any order, on workers that start with the first call that needs them.

    There may be two teams of workers on one machine: one that has the CPU cores, one that has the GPUs.

    Parameters
    ----------
    config
        Where to run.
    preload
        Modules that workers on this machine import once and share.
    emit
        Told when the workers have started, and after how many seconds.
    allow_class
        Cluster classes that may be imported and started.
    shared
        A folder that workers elsewhere must see.

    Raises
    ------
    ConfigError
        When the configuration names another cluster class, or certificates are missing.
    """

    def __init__(
        self,
        config: EngineConfig,
        preload: Iterable[str] = (),
        emit: Callable[[dict[str, Any]], None] = lambda event: None,
        *,
        allow_class: Collection[str] = (),
        shared: Folder | None = None,
    ) -> None:
        refuse_unlisted(config, allow_class)
        require_certificates(config.scheduler)
        self._config = config
        self._preload = [*preload]
        self._emit = emit
        self._stack = contextlib.ExitStack()
        self._shared = shared
        self._agreement: Agreement | None = None
        self._clients: dict[bool, Any] = {}
        self.cpu_seconds = 0.0  # that workers have spent

    @property
    def gpus(self) -> int:
        """How many GPUs have a worker, so far."""
        return len(self._clients[True].scheduler_info()["workers"]) if True in self._clients else 0

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, gpu: bool = False
    ) -> Iterator[Result]:
        """Yield the results of a function on many items as they come; only a few are in flight at a time.

        With `gpu`, on the workers that have GPUs, where the configuration asks for such.
        """
        gpu = gpu and bool(self._config.gpus)
        if self._config.in_process and not gpu:
            yield from map(function, items)
            return
        todo = iter(items)
        first = list(itertools.islice(todo, 1))
        if first:
            yield from self._map_on_workers(function, itertools.chain(first, todo), gpu)

    def _map_on_workers(
        self, function: Callable[[Item], Result], todo: Iterator[Item], gpu: bool
    ) -> Iterator[Result]:
        client = self._connected(gpu)
        if self._agreement is not None:
            function = partial(self._agreement.work, function)
        results = map_tasks(
            client,
            partial(_metered, function),
            todo,
            window=_TASKS_PER_THREAD * max(1, self._config.workers),
            retries=self._config.retries,
            look=partial(self._look_after, client),
        )
        with contextlib.closing(results):
            for result, seconds in results:
                self.cpu_seconds += seconds
                yield result

    def _look_after(self, client: Any) -> None:
        """Say when there are no workers, or stop where none can be expected."""
        if client.status not in ("running", "connecting"):
            raise StoppedError(lost(client))
        if client.status != "running" or client.scheduler_info()["workers"]:
            return
        if not (self._config.scheduler or self._config.cluster):
            raise StoppedError(
                "no worker stays alive on this machine; most often they lack memory: raise "
                f"engine.memory_per_worker, which is {self._config.memory_per_worker}, and run again"
            )
        message = f"the scheduler at {client.scheduler.address} has no workers; waiting for some"
        self._emit({"event": "warning", "message": message})

    def _connected(self, gpu: bool) -> Any:
        if gpu not in self._clients:
            started = time.monotonic()
            client = self._stack.enter_context(_client(self._config, self._preload, gpu))
            self._wait_for_worker(client)
            self._clients[gpu] = client
            seconds = round(time.monotonic() - started, 2)
            team = {"gpus": self._config.gpus} if gpu else {"workers": self._config.workers}
            self._emit({"event": "engine", **team, "seconds": seconds, **self._elsewhere(gpu)})
        return self._clients[gpu]

    def _wait_for_worker(self, client: Any) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
                return
            self._look_after(client)

    def _elsewhere(self, gpu: bool) -> dict[str, Any]:
        """Return the kinds of machines that workers run on, where that is not this one."""
        if not (self._config.scheduler or self._config.cluster):
            return {}
        self._agreement = Agreement.made(self._shared)
        self._stack.callback(self._agreement.ended)
        return {"machines": kinds_of_machines(self._clients[gpu])}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._clients.clear()
        self._stack.close()


_METER = threading.Lock()
_metered_until = 0.0


def _metered(function: Callable[[Item], Result], item: Item) -> tuple[Result, float]:
    """Return a result, and the CPU seconds of this process that nobody has been told of yet."""
    global _metered_until
    result = function(item)
    with _METER:
        spent, _metered_until = time.process_time() - _metered_until, time.process_time()
    return result, spent


@contextlib.contextmanager
def _client(config: EngineConfig, preload: list[str], gpu: bool) -> Iterator[Any]:
    threads = dict.fromkeys(_THREAD_VARIABLES, str(config.threads_per_worker))
    with no_main_module(), _environment(threads), _quiet():
        import dask
        from distributed.utils import get_mp_context

        settings = {
            # Forked from one process that holds the imports, workers share them.
            "distributed.worker.multiprocessing-method": "forkserver",
            "distributed.nanny.pre-spawn-environ": threads,
            "distributed.worker.daemon": False,  # a worker with a GPU has decoders of its own
            # Results are small: there is nothing to put on a disk, and a worker that pauses never goes on.
            **dict.fromkeys((f"distributed.worker.memory.{s}" for s in ("target", "spill", "pause")), False),
            "distributed.scheduler.allowed-failures": config.retries,
        }
        with dask.config.set(settings):
            get_mp_context().set_forkserver_preload(["distributed", *preload])
            with _cluster(config, gpu) as cluster, _connection(config, cluster) as client:
                yield client


def _connection(config: EngineConfig, cluster: Any) -> Any:
    from distributed import Client

    try:
        return Client(cluster, set_as_default=False)
    except OSError as error:
        if not config.scheduler:
            raise
        raise StoppedError(
            f"no Dask scheduler answers at {config.scheduler} (engine.scheduler): start it or say where it "
            "is, and run again to go on from here"
        ) from error


@contextlib.contextmanager
def _cluster(config: EngineConfig, gpu: bool) -> Iterator[Any]:
    """Yield what a Dask client connects to: an address, or a cluster that ends with this context."""
    if config.scheduler:
        yield config.scheduler
    elif config.cluster:
        with _class(config.cluster)(**config.options) as cluster:
            cluster.scale(config.workers)
            yield cluster
    else:
        with contextlib.ExitStack() as stack:
            with interrupts_wait():
                cluster = stack.enter_context(_local_cluster(config, gpu))
            yield cluster


def _local_cluster(config: EngineConfig, gpu: bool) -> Any:
    shared = {
        "memory_limit": config.memory_per_worker,
        "host": "127.0.0.1",
        "dashboard_address": config.dashboard or "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    from distributed import LocalCluster

    if not gpu:
        # A task holds its worker: its model uses the threads, see _environment.
        return LocalCluster(n_workers=config.workers, threads_per_worker=1, **shared)
    # Two shards at once: while one is written, the other keeps the GPU busy.
    if config.gpus == 1:
        return LocalCluster(n_workers=1, threads_per_worker=2, **shared)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        raise ConfigError("several GPUs need dask-cuda: pip install 'curate-pools[cuda]'") from None
    n_workers = None if config.gpus == "all" else config.gpus
    return LocalCUDACluster(n_workers=n_workers, threads_per_worker=2, **shared)


def _class(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        with interrupts_stay():
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"engine.cluster: there is no class {path} ({error})") from None
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log, with its stack traces, off the terminal: our errors say what happened."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
