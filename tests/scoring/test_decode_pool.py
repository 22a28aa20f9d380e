"""Processes that decode for a GPU give what threads give, in order, from several callers at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from scoring.decode_pool import DecodePool, Layout
from scoring.encoder import Encoder
from scoring.encoder_spec import EncoderError
from tests.making import picture
from tests.scoring.models_for_tests import tiny

BATCH = 70  # more than one piece


def picture_of(places: list[int]) -> list[bytes]:
    """Stand for reading from a tar: place 5 is broken, place 999 can't be read at all."""
    if 999 in places:
        raise EOFError("the file was cut")
    return [b"" if place == 5 else picture(place % 10, side=40 + place % 10) for place in places]


@pytest.fixture(scope="module")
def pool_and_encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DecodePool, Encoder]]:
    encoder = Encoder.load(tiny(tmp_path_factory.mktemp("model")))
    shape, dtype = encoder._transform.layout
    layout = Layout(BATCH, shape, dtype, encoder.prepare_texts([""]).shape[1])
    pool = DecodePool(encoder._transform, encoder._tokenizer, layout, processes=2)
    yield pool, encoder
    pool.close()


def drawn(pool: DecodePool, places: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[str | None]]:
    images, tokens, problems = [], [], []
    for batch in pool.batches(((n, f"picture {n}") for n in places), picture_of, 10**6):
        images.append(batch.images[: batch.n_samples].clone())
        tokens.append(batch.tokens[: batch.n_samples].clone())
        problems += batch.problems
        pool.release(batch.slot)
    return torch.cat(images), torch.cat(tokens), problems


def test_what_processes_decode_is_what_threads_decode(pool_and_encoder: tuple[DecodePool, Encoder]) -> None:
    pool, encoder = pool_and_encoder
    places = list(range(3 * BATCH + 4))  # more batches than one, the last one short
    images, tokens, problems = drawn(pool, places)
    assert problems == ["empty_image" if place == 5 else None for place in places]
    assert not images[5].any()
    for row in (0, 4, 6, BATCH, len(places) - 1):
        torch.testing.assert_close(images[row], encoder.prepare_image(picture_of([row])[0]))
    torch.testing.assert_close(tokens, encoder.prepare_texts([f"picture {place}" for place in places]))


def test_several_threads_draw_from_one_pool(pool_and_encoder: tuple[DecodePool, Encoder]) -> None:
    pool, _ = pool_and_encoder
    found: dict[int, torch.Tensor] = {}

    def draw(first: int) -> None:
        found[first] = drawn(pool, list(range(first, first + 5 * BATCH)))[1]

    threads = [threading.Thread(target=draw, args=(first,)) for first in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first in (0, 1000):
        np.testing.assert_array_equal(found[first], drawn(pool, list(range(first, first + 5 * BATCH)))[1])


def test_an_error_reaches_the_caller_and_costs_no_slot(pool_and_encoder: tuple[DecodePool, Encoder]) -> None:
    pool, _ = pool_and_encoder
    for _ in range(8):  # more often than there are slots
        with pytest.raises(EOFError, match="the file was cut"):
            drawn(pool, [*range(2 * BATCH), 999])
    assert len(drawn(pool, [1, 2])[2]) == 2


def test_who_stops_early_gives_the_slots_back(pool_and_encoder: tuple[DecodePool, Encoder]) -> None:
    pool, _ = pool_and_encoder
    for _ in range(8):
        batches = pool.batches(((n, "") for n in range(4 * BATCH)), picture_of, 10**6)
        pool.release(next(batches).slot)
        batches.close()  # type: ignore[attr-defined]
    assert len(drawn(pool, [1, 2])[2]) == 2


def test_too_little_shared_memory_is_said_before_it_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(10**6, (3, 10**4, 10**4), "float32", 77)
    with pytest.raises(EncoderError, match=r"/dev/shm has .* MiB free: raise it"):
        DecodePool(None, None, layout, processes=1)  # type: ignore[arg-type]
