"""The demo's pictures: different from each other, the same on every machine, and truly described."""

import time

import numpy as np

from curate.demo.captions import NAMES, SETTINGS, SKIES, another_caption, caption
from curate.demo.places import PLACES
from curate.demo.scenes import COLOURS, SIDE, compose, draw
from curate.demo.skies import SKY_COLOURS
from curate.demo.things import THINGS

MANY = [compose(0, f"pool-{i}") for i in range(400)]


def test_a_scene_depends_on_its_seed_and_name_alone():
    alone = compose(0, "pool-7")
    assert alone == MANY[7]
    assert draw(alone).tobytes() == draw(MANY[7]).tobytes()
    assert caption(alone) == caption(MANY[7])
    assert compose(1, "pool-7") != alone


def test_pictures_are_square_rgb_and_no_two_are_equal():
    pictures = [draw(scene) for scene in MANY]
    assert {(picture.mode, picture.size) for picture in pictures} == {("RGB", (SIDE, SIDE))}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_pictures_of_the_same_words_differ_too():
    boats = [scene for scene in (compose(3, f"x{i}") for i in range(2000)) if scene.groups[0].kind == "boat"]
    assert len({draw(boat).tobytes() for boat in boats}) == len(boats) > 20


def test_whatever_can_be_drawn_can_be_said():
    assert NAMES.keys() == THINGS.keys()
    assert SETTINGS.keys() == PLACES.keys()
    assert SKIES.keys() == SKY_COLOURS.keys()


def named(group, words):
    """Tell whether words that are all lower-case name a group, be it one thing or several."""
    names = (name.replace("*", group.colour).lower().removesuffix("y") for name in NAMES[group.kind])
    return any(name in words for name in names)


def test_captions_say_what_the_scene_is_about():
    for scene in MANY:
        for wording in range(4):
            words = caption(scene, wording).lower()
            assert named(scene.groups[0], words)
            assert any(phrase in words for phrase in (*SETTINGS[scene.place], *SKIES[scene.sky])), words


def test_captions_read_like_english():
    words = [caption(scene, wording) for scene in MANY for wording in range(3)]
    assert not any("  " in text or "{" in text or "*" in text for text in words)
    assert not any(f" a {vowel}" in f" {text.lower()}" for text in words for vowel in ("old ", "orange "))
    assert len(set(words)) > 0.95 * len(words)


def test_another_caption_is_not_true_of_the_scene():
    for scene in MANY:
        text = another_caption(scene).lower()
        assert text == another_caption(scene).lower()
        assert not any(phrase.lower() in text for phrase in SETTINGS[scene.place])
        assert not any(named(group, text) for group in scene.groups)


def test_the_colour_named_is_the_colour_seen():
    """By day, for things of mostly one tone: the colour's name must be the nearest to some pixels."""
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), dtype=float)
    scenes = [s for s in MANY if s.sky == "day" and s.groups[0].kind in ("car", "fish", "boat", "mushroom")]
    assert len({scene.groups[0].colour for scene in scenes}) >= 6
    for scene in scenes:
        pixels = np.asarray(draw(scene), dtype=float).reshape(-1, 3)
        distances = np.linalg.norm(pixels[:, None] - palette, axis=2)
        near = (distances.argmin(axis=1) == names.index(scene.groups[0].colour)) & (
            distances.min(axis=1) < 40
        )
        assert near.mean() > 0.02, scene


def test_rendering_is_quick():
    start = time.process_time()
    for scene in MANY[:100]:
        draw(scene)
    assert time.process_time() - start < 2.0
