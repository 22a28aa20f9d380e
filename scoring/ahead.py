"""Work that runs ahead of the one who needs its results: threads, a bounded queue, the order kept."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_ahead(
    items: Iterable[Item], work: Callable[[Item], Result], *, threads: int, depth: int
) -> Iterator[Result]:
    """Yield `work(item)` of every item, in order, computed by threads before it is asked for.

    The items are drawn in a thread of their own too. At most `depth` results wait or are being computed. An
    error of `items` or `work` is raised where its result would have come. Closing the iterator early ends
    the threads.
    """
    ready: queue.Queue[Future[Result] | None] = queue.Queue()
    free = threading.Semaphore(depth)
    stopped = threading.Event()

    def feed(pool: ThreadPoolExecutor) -> None:
        try:
            for item in items:
                free.acquire()
                if stopped.is_set():
                    return
                ready.put(pool.submit(work, item))
        except BaseException as error:  # it belongs to the one who reads the results
            failed: Future[Result] = Future()
            failed.set_exception(error)
            ready.put(failed)
        finally:
            ready.put(None)

    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        feeder = threading.Thread(target=feed, args=(pool,), name="ahead-feeder", daemon=True)
        feeder.start()
        try:
            while (future := ready.get()) is not None:
                yield future.result()
                free.release()
        finally:
            stopped.set()
            free.release()
            feeder.join()
