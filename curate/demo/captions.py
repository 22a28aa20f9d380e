"""A small grammar that says in natural English what a scene shows, in many wordings."""

from __future__ import annotations

import numpy as np

from curate.demo.chance import generator, pick
from curate.demo.scenes import Group, Scene, compose

NAMES: dict[str, tuple[str, ...]] = {  # the star stands for the colour
    "house": ("* house", "* cottage"),
    "tree": ("* tree", "round * tree"),
    "car": ("* car", "little * car"),
    "cat": ("* cat", "sitting * cat"),
    "flower": ("* flower", "tall * flower"),
    "umbrella": ("* umbrella", "* parasol"),
    "tent": ("* tent", "* camping tent"),
    "lighthouse": ("* lighthouse", "striped * lighthouse"),
    "windmill": ("* windmill", "old * windmill"),
    "mushroom": ("* mushroom", "spotted * mushroom"),
    "boat": ("* sailing boat", "* sailboat"),
    "fish": ("* fish", "leaping * fish"),
    "duck": ("* duck", "swimming * duck"),
    "whale": ("* whale", "big * whale"),
    "balloon": ("* hot air balloon", "* hot-air balloon"),
    "kite": ("* kite", "flying * kite"),
    "rocket": ("* rocket", "* space rocket"),
    "bird": ("* bird", "flying * bird"),
    "saucer": ("* flying saucer", "* UFO"),
    "butterfly": ("* butterfly", "pretty * butterfly"),
}
IRREGULAR_PLURALS = {"fish": "fish", "butterfly": "butterflies"}
COUNTS = {2: "two", 3: "three"}

SETTINGS: dict[str, tuple[str, ...]] = {
    "sea": ("on the sea", "out at sea", "on the open ocean", "over the blue waves"),
    "lake": ("on a calm lake", "on the lake", "by the wooded hills of a lake"),
    "meadow": ("in a green meadow", "on a grassy hill", "in a field of grass"),
    "desert": ("in the desert", "among sand dunes", "in a dry sandy desert"),
    "snow": ("in the snow", "in a field of snow", "on a snow-covered field with fir trees"),
    "beach": ("on the beach", "on a sandy beach by the sea", "on the sand near a palm tree"),
    "city": ("on a city street", "in the city", "in front of a skyline of tall buildings"),
    "mountains": ("in the mountains", "in front of snowy peaks", "below the high mountains"),
    "moon": ("on the moon", "on the surface of the moon", "among the craters of the moon"),
}
SKIES: dict[str, tuple[str, ...]] = {
    "day": ("on a sunny day", "under a bright yellow sun", "under a blue sky"),
    "sunset": ("at sunset", "in the evening light", "as the sun goes down"),
    "night": ("at night", "under the stars at night", "in the moonlight"),
    "cloudy": ("on a cloudy day", "under a grey sky", "beneath grey clouds"),
    "rainbow": ("under a rainbow", "with a rainbow in the sky", "below a bright rainbow"),
    "space": ("with the earth in the sky", "under a black sky full of stars", "far away in space"),
}

BOTH_TEMPLATES = (
    "{first} and {second} {where} {sky}",
    "{first} next to {second} {where}",
    "{first} with {second} {where}, {sky}",
    "a picture of {first} and {second} {where}",
    "{second} beside {first} {sky}",
    "{sky} {where}: {first} and {second}",
)
SINGLE_TEMPLATES = (
    "{first} {where} {sky}",
    "{sky}, there {verb} {first} {where}",
    "a drawing of {first} {where} {sky}",
    "{first} {where}",
    "this is a view of {first} {where} {sky}",
    "{first} on the {side} side, {where}, {sky}",
)


def caption(scene: Scene, wording: int = 0) -> str:
    """Return a true caption of a scene; each ``wording`` is drawn anew."""
    return _describe(scene, generator(scene.seed, "caption", scene.name, wording))


def another_caption(scene: Scene) -> str:
    """Return a caption that is not true of a scene: of one elsewhere, with other things in it."""
    kinds = {group.kind for group in scene.groups}
    attempt = 0
    while True:
        other = compose(scene.seed, f"{scene.name}-other-{attempt}")
        if other.place != scene.place and kinds.isdisjoint(group.kind for group in other.groups):
            return caption(other)
        attempt += 1


def _describe(scene: Scene, rng: np.random.Generator) -> str:
    """Return one of the many captions that are true of a scene."""
    first, *others = scene.groups
    words = {
        "first": _noun_phrase(first, rng),
        "second": _noun_phrase(others[0], rng) if others else "",
        "where": pick(rng, SETTINGS[scene.place]),
        "sky": pick(rng, SKIES[scene.sky]),
        "verb": "is" if first.count == 1 else "are",
        "side": "left" if first.x < 0.5 else "right",
    }
    templates = BOTH_TEMPLATES if others and rng.random() < 0.85 else SINGLE_TEMPLATES
    sentence = pick(rng, templates).format(**words)
    if rng.random() < 0.5:
        sentence = sentence[0].upper() + sentence[1:] + pick(rng, (".", "", "."))
    return sentence


def _noun_phrase(group: Group, rng: np.random.Generator) -> str:
    noun = pick(rng, NAMES[group.kind]).replace("*", group.colour)
    if group.count > 1:
        return f"{COUNTS[group.count]} {_plural(noun)}"
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _plural(noun: str) -> str:
    *before, last = noun.split(" ")
    return " ".join([*before, IRREGULAR_PLURALS.get(last, last + "s")])
