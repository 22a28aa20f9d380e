"""The contact sheet: which samples are on it, and that no caption or file can spoil it."""

from dataclasses import replace

import pytest
from PIL import Image

from curate.demo.contact_sheet import (
    CAPTION_LINES,
    PER_ROW,
    agrees,
    caption_lines,
    choose,
    draw_contact_sheet,
)
from curate.demo.outcomes import KEPT, Outcome, threshold
from curate.demo.plan import plan_pool
from curate.demo.pool import write_samples

HOW_IT_ENDS = {
    "broken_image": ("ingest", "image_unreadable"),
    "truncated_tar": ("ingest", "truncated_tar"),
    "junk_caption": ("rules", "languages"),
    "exact_duplicate": ("duplicates", "same_bytes"),
    "same_pixels": ("duplicates", "same_pixels"),
    "mismatched": ("keep", "below_top"),
}


@pytest.fixture(scope="module")
def entries():
    return plan_pool(2, 200)


@pytest.fixture(scope="module")
def outcomes(entries):
    """A run that is always right."""
    found = []
    for n, entry in enumerate(entries):
        stage, reason = HOW_IT_ENDS.get(entry.kind, (KEPT, None))
        score = {KEPT: 0.5 + n / 1000, "keep": 0.4 - n / 1000}.get(stage)
        shard, copied = f"{entry.shard:05d}", entry.duplicate_of
        found.append(
            Outcome(entry.key, shard, entry.uid, "a cat", entry.kind, stage, reason, score, copied, copied)
        )
    return found


def test_the_sheet_is_a_picture(tmp_path, entries, outcomes):
    write_samples(tmp_path, entries)
    draw_contact_sheet(tmp_path / "sheet.png", outcomes, tmp_path, "200 samples in")
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.width > 1200
    assert len(sheet.getcolors(1 << 24)) > 1000


def test_each_row_shows_its_outcome(outcomes):
    rows = {section.title: section.samples for section in choose(outcomes)}
    assert all(0 < len(samples) <= PER_ROW for samples in rows.values())
    assert {each.stage for each in rows["Kept"]} == {KEPT}
    assert {each.stage for each in rows["Dropped by the rules"]} == {"rules"}
    assert {each.reason for each in rows["Set aside"]} == {"image_unreadable", "truncated_tar"}
    lowest = [each.score for each in rows["Lowest CLIP scores"]]
    assert lowest == sorted(each.score for each in outcomes if each.score is not None)[:PER_ROW]


def test_the_threshold_row_straddles_the_threshold(outcomes):
    row = next(section.samples for section in choose(outcomes) if section.title == "At the threshold")
    cut = threshold(outcomes)
    assert [each.score >= cut for each in row] == [False] * 5 + [True] * 5


def test_copies_stand_beside_their_survivors(outcomes):
    row = next(section.samples for section in choose(outcomes) if section.title == "Duplicates")
    assert [copy.survivor for copy in row[1::2]] == [survivor.uid for survivor in row[::2]]
    assert {copy.reason for copy in row[1::2]} == {"same_bytes", "same_pixels"}


def test_samples_are_marked_by_the_truth(outcomes):
    assert all(agrees(each) for each in outcomes)
    clean = next(each for each in outcomes if each.kind == "clean")
    mismatched = next(each for each in outcomes if each.kind == "mismatched")
    assert not agrees(replace(clean, stage="keep"))
    assert not agrees(replace(clean, stage="rules"))
    assert not agrees(replace(mismatched, stage=KEPT))


@pytest.mark.parametrize("caption", ["short", "a cat " * 50, "x" * 500, "汉字" * 80, "W" * 40, "a\tb\nc"])
def test_captions_fit_their_tile(caption):
    lines = caption_lines(caption)
    assert 1 <= len(lines) <= CAPTION_LINES
    assert all(len(line) < 40 for line in lines)
    assert all(line.isprintable() for line in lines)


def test_what_can_not_be_drawn_is_escaped():
    assert caption_lines("汉 ok\x1b[31m") == ["\\u6c49 ok\\x1b[31m"]
    assert caption_lines("") == ["(empty)"]
    assert caption_lines(None) == ["(lost)"]
    assert caption_lines("Ёлка, café") == ["Ёлка, café"]
