"""One picture: what it shows, and how that is drawn; the words for it are in `captions`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from curate.demo.canvas import Canvas, Colour, Pen, vary
from curate.demo.chance import generator, pick
from curate.demo.places import DARK, PLACES
from curate.demo.skies import draw_sky, lit
from curate.demo.things import THINGS, Paint

SIDE = 96

COLOURS: dict[str, Colour] = {
    "red": (214, 48, 44),
    "orange": (240, 134, 36),
    "yellow": (248, 208, 50),
    "green": (52, 156, 74),
    "blue": (44, 96, 206),
    "purple": (132, 66, 172),
    "pink": (240, 126, 176),
    "white": (242, 242, 240),
    "black": (48, 48, 56),
}


@dataclass(frozen=True)
class Group:
    """One to three things of a kind and a colour, around a place across the picture (0 left, 1 right)."""

    kind: str
    colour: str
    count: int
    x: float


@dataclass(frozen=True)
class Scene:
    """What a picture shows; the first group is what it is about."""

    seed: int
    name: str
    place: str
    sky: str
    groups: tuple[Group, ...]


def compose(seed: int, name: str) -> Scene:
    """Return the scene that belongs to a seed and a name."""
    rng = generator(seed, "compose", name)
    place = pick(rng, tuple(PLACES))
    sky = pick(rng, PLACES[place].skies)
    kinds = [kind for kind, thing in THINGS.items() if thing.habitat in PLACES[place].habitats]
    chosen = rng.permutation(len(kinds))[: 2 if rng.random() < 0.55 else 1]
    left = rng.uniform(0.24, 0.4)
    across = [left, 1.0 - left] if rng.random() < 0.5 else [1.0 - left, left]
    groups = []
    for i, (kind, x) in enumerate(zip(chosen, across, strict=False)):
        count = 1 if i else int(rng.choice([1, 2, 3], p=[0.64, 0.2, 0.16]))
        groups.append(Group(kinds[kind], pick(rng, tuple(COLOURS)), count, float(x)))
    return Scene(seed, name, place, sky, tuple(groups))


def draw(scene: Scene) -> Image.Image:
    """Return the picture of a scene, ``SIDE`` by ``SIDE`` pixels, RGB; the same on every call."""
    rng = generator(scene.seed, "draw", scene.name)
    canvas = Canvas(SIDE)
    horizon = rng.uniform(0.54, 0.64)
    draw_sky(canvas, scene.sky, horizon, rng)
    PLACES[scene.place].draw(canvas, scene.sky, horizon, rng)
    for group in reversed(scene.groups):
        _draw_group(canvas, scene, group, rng)
    return canvas.finish()


def _draw_group(canvas: Canvas, scene: Scene, group: Group, rng: np.random.Generator) -> None:
    thing = THINGS[group.kind]
    leading = group is scene.groups[0]
    room = (0.62 if len(scene.groups) == 1 else 0.5) if leading else 0.36
    size = room * rng.uniform(0.82, 1.0) / (1.0 + 0.32 * (group.count - 1)) / max(1.0, thing.width * 0.85)
    step = min(size * thing.width * 0.95, 0.3)
    offsets = (np.arange(group.count) - (group.count - 1) / 2) * step
    half = size * thing.width / 2
    reach = float(abs(offsets).max()) + half * 0.9
    middle = float(np.clip(group.x, reach, 1.0 - reach)) if reach < 0.5 else 0.5
    feet = sorted(rng.uniform(0.82, 0.95) if leading else rng.uniform(0.7, 0.78) for _ in offsets)
    for foot, offset in zip(feet, rng.permutation(offsets), strict=True):
        paint = Paint(lit_thing(vary(rng, COLOURS[group.colour], 9), scene.sky))
        x, mirrored = middle + float(offset), bool(rng.random() < 0.5)
        if thing.habitat == "air":
            y, turn = float(rng.uniform(0.26, 0.5)) + (0.06 if leading else -0.04), rng.uniform(-0.25, 0.25)
        else:
            y, turn = foot, rng.uniform(-0.04, 0.04)
            canvas.ellipse(x, y + 0.004, half * 0.95, 0.022, DARK, 0.28)
        thing.draw(Pen(canvas, x, y, size, turn=turn, mirrored=mirrored), paint)


def lit_thing(colour: Colour, sky: str) -> Colour:
    """Return a thing's colour under a sky: tinted, but less than the land, so that its name stays true."""
    tinted = lit(colour, sky)
    red, green, blue = (round(0.72 * own + 0.28 * land) for own, land in zip(colour, tinted, strict=True))
    return red, green, blue
