"""What the demo prints: every figure, in plain text where nobody watches."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from curate.demo.outcomes import KEPT, Outcome
from curate.demo.screen import Step, print_account


def sample(uid, kind="clean", stage=KEPT, score=None):
    return Outcome(uid, "00000", uid, "a cat", kind, stage, None, score, None, None)


OUTCOMES = [
    *(sample(f"fine {n}", score=0.5) for n in range(6)),
    sample("lost", "clean", "keep", 0.2),
    sample("strange", "mismatched", "keep", 0.1),
    sample("junk", "junk_caption", "rules"),
    sample("broken", "broken_image", "ingest"),
]


def printed(draw, *, terminal=False):
    stream = io.StringIO()
    draw(Console(file=stream, width=80, force_terminal=terminal))
    return stream.getvalue()


def test_the_account_has_the_funnel_the_fates_and_the_verdicts():
    text = printed(lambda console: print_account(console, OUTCOMES))
    lines = [line.split() for line in text.splitlines()]
    assert ["CLIP", "score", "2", "6"] in [line[:4] for line in lines]
    assert ["fitting", "caption", "7", "·", "·", "·", "1", "6"] in lines
    assert ["CLIP", "score", "wrong", "captions", "1", "2", "1", "50.0%", "100.0%"] in lines
    assert "70.0% of the raw pool, 100.0% of what was kept" in text


def test_nothing_is_cut_off_at_80_columns():
    many = [replace(each, uid=f"{each.uid} {n}") for n in range(2000) for each in OUTCOMES]
    assert "…" not in printed(lambda console: print_account(console, many))


def test_pipes_get_plain_text():
    assert "\x1b" not in printed(lambda console: print_account(console, OUTCOMES))


@pytest.mark.parametrize("terminal", [False, True])
def test_a_step_ends_as_one_line_with_its_seconds(terminal):
    def work(console):
        with Step(console, "Render") as step:
            step.show(1, 2, "half")
            step.detail = "two pictures"

    last = printed(work, terminal=terminal).rstrip("\n").rsplit("\n", 1)[-1]
    assert "Render" in last
    assert "two pictures" in last
    assert " s" in last


def test_a_step_that_fails_does_not_look_done():
    def work(console):
        with pytest.raises(ValueError), Step(console, "Render"):
            raise ValueError

    assert printed(work) == ""
