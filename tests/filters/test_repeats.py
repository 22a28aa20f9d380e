"""What stands more often than allowed is found, whatever its capitals and white space."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.repeats import Repeats, repeat_keys, too_frequent


def keys(captions: list[str | None], reason: str = "caption_repeats") -> list[int]:
    uid = [f"{n:032x}" for n in range(len(captions))]
    column = pa.array(captions, pa.string())
    found: list[int] = repeat_keys(
        pa.table({"uid": uid, "caption": column, "sha256": column}), reason
    ).tolist()
    return found


def test_capitals_and_white_space_do_not_tell_captions_apart() -> None:
    a, b, c, d = keys(["Blue  Shirt", "blue shirt\n", "BLUE\tSHIRT", "blue shirts"])
    assert a == b == c != d


@pytest.mark.parametrize("reason", ["caption_repeats", "image_repeats"])
def test_samples_without_one_are_nobodys_repeat(reason: str) -> None:
    assert len(set(keys([None, "", None, "a"], reason))) == 4


@given(st.lists(st.integers(0, 12)), st.integers(1, 4))
def test_the_frequent_ones_are_those_that_a_counter_finds(numbers: list[int], most: int) -> None:
    expected = sorted(key for key, n in Counter(numbers).items() if n > most)
    assert too_frequent(np.array(numbers, np.uint64), most).tolist() == expected


@pytest.mark.parametrize(
    ("parameters", "message"), [({}, "max_caption_repeats"), ({"max_image_repeats": 0}, "greater than 0")]
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Repeats.model_validate(parameters)
