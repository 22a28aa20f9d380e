"""Tasks on Dask's workers: a few in flight; what becomes of them when workers or the scheduler die."""

from __future__ import annotations

import contextlib
import itertools
import queue
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from pipelines.errors import StoppedError

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_SECONDS = 30.0  # without any result before workers are looked after
_SHOWN = 100  # characters of a task's name

Look = Callable[[], None]


class _Flight(Generic[Item]):
    """The tasks that are with the workers now."""

    def __init__(self, client: Any, function: Callable[[Item], Any], retries: int) -> None:
        self._client, self._function, self._retries = client, function, retries
        self._tasks: dict[str, tuple[Any, Item]] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._tasks)

    def submit(self, item: Item) -> None:
        future = self._client.submit(self._function, item, pure=False, retries=self._retries)
        self._tasks[future.key] = future, item
        future.add_done_callback(self._ended.put)

    def next(self, look: Look) -> tuple[Any, Item]:
        """Return a task that has ended; `look` is called as long as none does."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._tasks.pop(self._ended.get(timeout=PATIENCE_SECONDS).key)
            look()

    def cancel(self) -> None:
        if self._client.status == "running":
            self._client.cancel([future for future, _ in self._tasks.values()])


def map_tasks(
    client: Any,
    function: Callable[[Item], Result],
    items: Iterator[Item],
    *,
    window: int,
    retries: int,
    look: Look,
) -> Generator[Result, None, None]:
    """Yield the results of a function on many items, as they come.

    Where a worker dies, all of its tasks come under suspicion, and Dask gives up those that have seen too
    many workers die. Each of these runs once more, with nothing else in flight: so the one that does it is
    known.

    Parameters
    ----------
    client
        A Dask client.
    function, items
        What to do, and with what.
    window
        How many tasks may be in flight.
    retries
        How often a task that raises an error is tried again.
    look
        Called as long as nothing happens; raises when nothing will.

    Raises
    ------
    StoppedError
        When a task kills its workers, or the scheduler is lost.
    """
    flight = _Flight(client, function, retries)
    suspects: list[Item] = []
    try:
        while True:
            if not suspects:
                for item in itertools.islice(items, window - len(flight)):
                    flight.submit(item)
            alone = not flight
            if alone and not suspects:
                return
            if alone:
                flight.submit(suspects.pop())
            future, item = flight.next(look)
            result = _result(future)
            yield from result
            future.release()
            if not result and alone:
                raise StoppedError(_killer(item))
            if not result:
                suspects.append(item)
    finally:
        flight.cancel()


def _result(future: Any) -> list[Any]:
    """Return the one result of a task that ended; none when it has seen too many workers die."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    try:
        return [future.result()]  # waits, where a worker died with the result and it is made once more
    except KilledWorker:
        return []
    except (CancelledError, CommClosedError) as error:
        raise StoppedError(lost(future.client)) from error


def lost(client: Any) -> str:
    """Return what to say when a client can't reach its scheduler any more."""
    return (
        f"the Dask scheduler at {client.scheduler.address} was lost; what its workers have finished is kept: "
        "when it runs again, run again to go on from here"
    )


def _killer(item: Any) -> str:
    first = item[0] if isinstance(item, tuple) and item else item
    first = getattr(first, "shard", first)
    name = str(getattr(first, "name", first))[:_SHOWN]
    return (
        f"workers died again and again on {name}, also when nothing else ran; most often they lack memory: "
        "raise engine.memory_per_worker, lower encoder.batch_size, or look whether it holds something "
        "enormous (pool.limits sets such samples aside), and run again to go on from here"
    )
