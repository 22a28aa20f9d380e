"""The comparison with the truth, on outcomes small enough to count by hand."""

import math

import pytest

from curate.demo.outcomes import KEPT, Outcome, name_copies
from curate.demo.truth import fit_share, judge, kept, separation, tally


def sample(uid, kind="clean", stage=KEPT, score=None, original=None):
    return Outcome(uid, "00000", uid, "a cat", kind, stage, None, score, original, None)


def verdict(outcomes, stage):
    return next(each for each in judge(outcomes) if each.stage == stage)


def test_a_stage_is_judged_on_what_it_was_to_find():
    outcomes = [
        sample("a"),
        sample("b", "junk_caption", "rules"),
        sample("c", "junk_caption", "rules"),
        sample("d", "clean", "rules"),
        sample("e", "junk_caption"),
        sample("f", "junk_caption", "keep"),
    ]
    rules = verdict(outcomes, "rules")
    assert (rules.sought, rules.removed, rules.right) == (4, 3, 2)
    assert rules.precision == pytest.approx(2 / 3)
    assert rules.recall == pytest.approx(1 / 2)


def test_a_stage_is_judged_only_on_what_reached_it():
    outcomes = [
        sample("a", "mismatched", "rules"),
        sample("b", "mismatched", "keep"),
        sample("c", "junk_caption", "keep"),
        sample("d", "clean", "keep"),
        sample("e", "mismatched"),
    ]
    keep = verdict(outcomes, "keep")
    assert (keep.sought, keep.removed, keep.right) == (3, 3, 2)


def test_a_cut_tar_counts_as_broken():
    outcomes = [sample("a", "broken_image", "ingest"), sample("b", "truncated_tar", "ingest"), sample("c")]
    ingest = verdict(outcomes, "ingest")
    assert ingest.precision == ingest.recall == 1.0


@pytest.mark.parametrize("dropped", ["original", "copy"])
def test_either_of_two_equal_pictures_may_survive(dropped):
    outcomes = [
        sample("original", stage="duplicates" if dropped == "original" else KEPT),
        sample("copy", "same_pixels", "duplicates" if dropped == "copy" else KEPT, original="original"),
        sample("alone"),
    ]
    duplicates = verdict(name_copies(outcomes), "duplicates")
    assert (duplicates.sought, duplicates.removed, duplicates.right) == (1, 1, 1)
    assert fit_share(kept(name_copies(outcomes))) == 1.0


def test_dropping_both_of_two_equal_pictures_or_a_lone_one_is_wrong():
    outcomes = [
        sample("original", stage="duplicates"),
        sample("copy", "exact_duplicate", "duplicates", original="original"),
        sample("alone", stage="duplicates"),
    ]
    duplicates = verdict(name_copies(outcomes), "duplicates")
    assert (duplicates.sought, duplicates.removed, duplicates.right) == (1, 3, 1)


def test_a_copy_whose_original_went_earlier_is_no_copy_any_more():
    outcomes = [sample("original", stage="rules"), sample("copy", "exact_duplicate", original="original")]
    renamed = name_copies(outcomes)
    assert verdict(renamed, "duplicates").sought == 0
    assert verdict(renamed, "rules").right == 0
    assert fit_share(kept(renamed)) == 1.0


def test_a_copy_that_stays_beside_its_original_is_missed():
    outcomes = [sample("original"), sample("copy", "exact_duplicate", original="original")]
    assert verdict(name_copies(outcomes), "duplicates").recall == 0.0
    assert fit_share(name_copies(outcomes)) == 0.5


def test_a_stage_with_nothing_to_do_was_right():
    assert all(each.precision == each.recall == 1.0 for each in judge([sample("a"), sample("b")]))


def test_the_tally_counts_every_sample_once():
    outcomes = [sample("a"), sample("b", "mismatched", "keep"), sample("c", "mismatched")]
    assert tally(outcomes) == {"clean": {KEPT: 1}, "mismatched": {"keep": 1, KEPT: 1}}


def test_fit_share_wants_fitting_captions_and_each_picture_once():
    outcomes = [
        sample("a"),
        sample("b", "exact_duplicate", original="a"),
        sample("c", "mismatched", "keep"),
        sample("d", "broken_image", "ingest"),
    ]
    assert fit_share(outcomes) == 1 / 4
    assert fit_share(kept(outcomes)) == 1 / 2
    assert fit_share([]) == 1.0


def test_separation_is_the_area_under_the_roc_curve():
    scores = [("clean", 0.9), ("clean", 0.4), ("mismatched", 0.4), ("mismatched", 0.1), ("junk_caption", 1.0)]
    outcomes = [sample(str(n), kind, score=score) for n, (kind, score) in enumerate(scores)]
    # Of the four pairs three are in order and one is level.
    assert separation(outcomes) == pytest.approx(3.5 / 4)
    assert math.isnan(separation([sample("a", score=0.5)]))
