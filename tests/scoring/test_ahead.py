"""Work ahead keeps the order and the bound, hands on errors, and ends its threads."""

import threading
from collections.abc import Iterator

import pytest

from scoring.ahead import work_ahead


def test_results_come_in_order() -> None:
    assert list(work_ahead(range(500), lambda n: n * n, threads=4, depth=7)) == [n * n for n in range(500)]


def test_no_more_than_depth_is_drawn_ahead() -> None:
    drawn = []

    def items() -> Iterator[int]:
        for n in range(100):
            drawn.append(n)
            yield n

    results = work_ahead(items(), lambda n: n, threads=2, depth=5)
    for done, _ in enumerate(results):
        assert len(drawn) <= done + 7  # one in the consumer's hand, one waiting for room


def test_errors_come_where_the_result_would_have() -> None:
    results = work_ahead([2, 1, 0, 3], lambda n: 6 // n, threads=2, depth=2)
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_errors_of_the_source_are_handed_on() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the tar was cut")

    results = work_ahead(items(), lambda n: n, threads=2, depth=2)
    assert next(results) == 1
    with pytest.raises(OSError, match="was cut"):
        next(results)


def test_stopping_early_ends_the_threads() -> None:
    before = threading.active_count()
    results = work_ahead(iter(int, 1), lambda n: n, threads=3, depth=4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
