"""The things a scene is made of, each drawn in its own unit coordinates and in any colour."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from curate.demo.canvas import GLASS, INK, IVORY, WOOD, Colour, Pen, mix

Habitat = Literal["ground", "water", "air"]


@dataclass(frozen=True)
class Paint:
    """One colour in three tones."""

    base: Colour

    @property
    def light(self) -> Colour:
        """The side that faces the light."""
        return mix(self.base, (255, 255, 255), 0.38)

    @property
    def dark(self) -> Colour:
        """The side in the shade."""
        return mix(self.base, (20, 16, 40), 0.36)


@dataclass(frozen=True)
class Thing:
    """How a thing is drawn, where it lives, and how wide it is for a height of 1."""

    draw: Callable[[Pen, Paint], None]
    habitat: Habitat
    width: float


def house(pen: Pen, paint: Paint) -> None:
    """Draw a house with a tiled roof, a door and a lit window."""
    pen.rectangle(-0.42, -0.58, 0.42, 0, paint.base)
    pen.rectangle(0.14, -0.58, 0.42, 0, mix(paint.base, paint.dark, 0.5))
    pen.rectangle(0.18, -0.98, 0.3, -0.7, paint.dark)
    pen.polygon([(-0.54, -0.56), (0, -1.02), (0.54, -0.56)], mix(paint.dark, INK, 0.35))
    pen.rectangle(-0.09, -0.34, 0.11, 0, WOOD)
    for left in (-0.34, 0.2):
        pen.rectangle(left, -0.44, left + 0.17, -0.24, (255, 232, 150))
        pen.line([(left + 0.085, -0.44), (left + 0.085, -0.24)], paint.dark, 0.025)


def tree(pen: Pen, paint: Paint) -> None:
    """Draw a tree with a round crown."""
    pen.polygon([(-0.08, 0), (-0.05, -0.5), (0.05, -0.5), (0.09, 0)], WOOD)
    pen.line([(0, -0.4), (0.16, -0.56)], WOOD, 0.04)
    for x, y, radius in ((-0.2, -0.55, 0.22), (0.21, -0.53, 0.21), (0, -0.75, 0.28)):
        pen.ellipse(x, y, radius, radius * 0.95, paint.dark)
        pen.ellipse(x - 0.03, y - 0.04, radius * 0.85, radius * 0.8, paint.base)
    pen.ellipse(-0.09, -0.82, 0.1, 0.08, paint.light)


def car(pen: Pen, paint: Paint) -> None:
    """Draw a small car from the side."""
    pen.polygon([(-0.46, -0.36), (-0.28, -0.68), (0.22, -0.68), (0.46, -0.36)], paint.dark)
    pen.polygon([(-0.37, -0.38), (-0.24, -0.61), (-0.04, -0.61), (-0.04, -0.38)], GLASS)
    pen.polygon([(0.02, -0.38), (0.02, -0.61), (0.19, -0.61), (0.36, -0.38)], GLASS)
    pen.polygon([(-0.72, -0.12), (-0.7, -0.36), (0.56, -0.38), (0.74, -0.28), (0.74, -0.12)], paint.base)
    pen.line([(-0.68, -0.3), (0.6, -0.31)], paint.light, 0.04)
    pen.ellipse(0.69, -0.26, 0.05, 0.05, (255, 240, 170))
    for x in (-0.4, 0.42):
        pen.ellipse(x, -0.14, 0.16, 0.16, INK)
        pen.ellipse(x, -0.14, 0.07, 0.07, (190, 190, 196))


def cat(pen: Pen, paint: Paint) -> None:
    """Draw a sitting cat with a long tail."""
    pen.line([(0.2, -0.06), (0.42, -0.08), (0.5, -0.26), (0.42, -0.4)], paint.dark, 0.09)
    pen.ellipse(0, -0.26, 0.26, 0.28, paint.base)
    pen.ellipse(0, -0.2, 0.13, 0.2, paint.light)
    for side in (-1, 1):
        pen.polygon([(side * 0.25, -0.98), (side * 0.26, -0.7), (side * 0.05, -0.84)], paint.dark)
        pen.ellipse(side * 0.12, -0.04, 0.1, 0.05, paint.dark)
    pen.ellipse(0, -0.66, 0.27, 0.23, paint.base)
    for side in (-1, 1):
        pen.ellipse(side * 0.11, -0.69, 0.055, 0.07, (240, 236, 150))
        pen.ellipse(side * 0.11, -0.69, 0.022, 0.06, INK)
        pen.line([(side * 0.1, -0.58), (side * 0.36, -0.62)], IVORY, 0.015)
        pen.line([(side * 0.1, -0.56), (side * 0.35, -0.54)], IVORY, 0.015)
    pen.polygon([(-0.035, -0.61), (0.035, -0.61), (0, -0.57)], (236, 128, 140))


def flower(pen: Pen, paint: Paint) -> None:
    """Draw a tall flower with six petals."""
    green = (62, 138, 66)
    pen.line([(0.02, 0), (-0.02, -0.35), (0, -0.7)], green, 0.05)
    pen.ellipse(0.13, -0.24, 0.14, 0.05, green)
    pen.ellipse(-0.15, -0.36, 0.14, 0.05, mix(green, INK, 0.2))
    for x, y in ((0.2, 0), (0.1, 0.17), (-0.1, 0.17), (-0.2, 0), (-0.1, -0.17), (0.1, -0.17)):
        pen.ellipse(x, y - 0.74, 0.13, 0.13, paint.dark)
        pen.ellipse(x * 0.95, y * 0.95 - 0.74, 0.11, 0.11, paint.base)
    pen.ellipse(0, -0.74, 0.1, 0.1, (250, 206, 66))


def umbrella(pen: Pen, paint: Paint) -> None:
    """Draw an open parasol in two tones."""
    pen.line([(0, 0), (0, -0.9)], WOOD, 0.045)
    pen.sector(0, -0.56, 0.56, 0.42, 180, 360, paint.base)
    pen.sector(0, -0.56, 0.3, 0.42, 180, 360, paint.light)
    pen.sector(0, -0.56, 0.1, 0.42, 180, 360, paint.base)
    pen.ellipse(0, -0.99, 0.03, 0.03, WOOD)


def tent(pen: Pen, paint: Paint) -> None:
    """Draw a camping tent with an open flap."""
    pen.polygon([(0.08, -0.72), (0.74, 0), (0.2, 0)], paint.dark)
    pen.polygon([(-0.62, 0), (0.08, -0.72), (0.36, 0)], paint.base)
    pen.polygon([(-0.3, 0), (0.06, -0.5), (0.12, 0)], INK)
    pen.polygon([(0.06, -0.5), (0.24, -0.02), (0.12, 0)], paint.light)
    pen.line([(0.08, -0.72), (0.08, -0.8)], WOOD, 0.04)


def lighthouse(pen: Pen, paint: Paint) -> None:
    """Draw a striped lighthouse with its light on."""
    edges = [(0, 0.22), (-0.2, 0.195), (-0.4, 0.17), (-0.6, 0.145), (-0.76, 0.125)]
    for i, ((low, wide), (high, narrow)) in enumerate(pairwise(edges)):
        stripe = IVORY if i % 2 else paint.base
        pen.polygon([(-wide, low), (wide, low), (narrow, high), (-narrow, high)], stripe)
    pen.polygon([(0.08, 0), (0.22, 0), (0.125, -0.76), (0.05, -0.76)], INK, 0.16)
    pen.rectangle(-0.17, -0.79, 0.17, -0.75, INK)
    pen.rectangle(-0.09, -0.92, 0.09, -0.79, (255, 236, 140))
    pen.sector(0, -0.91, 0.13, 0.13, 180, 360, paint.dark)


def windmill(pen: Pen, paint: Paint) -> None:
    """Draw a windmill with four sails."""
    pen.polygon([(-0.24, 0), (-0.15, -0.62), (0.15, -0.62), (0.24, 0)], paint.base)
    pen.polygon([(0.06, 0), (0.04, -0.62), (0.15, -0.62), (0.24, 0)], mix(paint.base, paint.dark, 0.5))
    pen.sector(0, -0.61, 0.17, 0.17, 180, 360, paint.dark)
    pen.rectangle(-0.06, -0.2, 0.07, 0, WOOD)
    for dx, dy in ((0.38, 0.24), (-0.24, 0.38), (-0.38, -0.24), (0.24, -0.38)):
        pen.line([(0, -0.66), (dx, dy - 0.66)], INK, 0.03)
        near, far, wide = 0.3, 0.98, 0.24
        blade = [(near, 0.0), (far, 0.0), (far, wide), (near, wide)]
        pen.polygon([(dx * a - dy * b, dy * a + dx * b - 0.66) for a, b in blade], IVORY)
    pen.ellipse(0, -0.66, 0.04, 0.04, INK)


def mushroom(pen: Pen, paint: Paint) -> None:
    """Draw a mushroom with a spotted cap."""
    pen.polygon([(-0.14, 0), (-0.11, -0.5), (0.11, -0.5), (0.16, 0)], IVORY)
    pen.polygon([(0.03, 0), (0.03, -0.5), (0.11, -0.5), (0.16, 0)], (222, 212, 196))
    pen.sector(0, -0.42, 0.46, 0.48, 180, 360, paint.base)
    pen.ellipse(0, -0.42, 0.46, 0.07, paint.dark)
    for x, y, radius in ((-0.22, -0.6, 0.08), (0.05, -0.74, 0.09), (0.26, -0.56, 0.065)):
        pen.ellipse(x, y, radius, radius * 0.8, IVORY)


def boat(pen: Pen, paint: Paint) -> None:
    """Draw a sailing boat with coloured sails."""
    pen.line([(0, -0.12), (0, -1.0)], WOOD, 0.035)
    pen.polygon([(0.04, -0.98), (0.04, -0.24), (0.52, -0.24)], paint.base)
    pen.polygon([(-0.04, -0.88), (-0.04, -0.24), (-0.36, -0.24)], paint.light)
    pen.polygon([(-0.52, -0.18), (0.6, -0.18), (0.4, 0.04), (-0.38, 0.04)], mix(WOOD, INK, 0.25))
    pen.line([(-0.5, -0.16), (0.58, -0.16)], IVORY, 0.035)


def fish(pen: Pen, paint: Paint) -> None:
    """Draw a fish that leaps out of the water."""
    pen.polygon([(-0.3, -0.42), (-0.66, -0.68), (-0.58, -0.42), (-0.66, -0.16)], paint.dark)
    pen.polygon([(-0.1, -0.62), (0.12, -0.84), (0.22, -0.6)], paint.dark)
    pen.ellipse(0.08, -0.42, 0.46, 0.26, paint.base)
    pen.sector(0.08, -0.4, 0.42, 0.22, 20, 160, paint.light)
    pen.line([(0.2, -0.6), (0.14, -0.42), (0.2, -0.26)], paint.dark, 0.035)
    pen.ellipse(0.36, -0.48, 0.06, 0.06, IVORY)
    pen.ellipse(0.37, -0.48, 0.03, 0.03, INK)


def duck(pen: Pen, paint: Paint) -> None:
    """Draw a swimming duck."""
    pen.polygon([(-0.62, -0.46), (-0.3, -0.36), (-0.4, -0.08)], paint.dark)
    pen.sector(-0.04, -0.3, 0.5, 0.32, 0, 180, paint.base)
    pen.ellipse(-0.04, -0.28, 0.5, 0.16, paint.base)
    pen.ellipse(-0.12, -0.26, 0.28, 0.12, paint.dark)
    pen.ellipse(0.3, -0.62, 0.21, 0.2, paint.base)
    pen.polygon([(0.47, -0.68), (0.74, -0.58), (0.47, -0.53)], (246, 150, 40))
    pen.ellipse(0.36, -0.67, 0.035, 0.035, INK)


def whale(pen: Pen, paint: Paint) -> None:
    """Draw a whale that blows water."""
    pen.polygon([(-0.5, -0.16), (-0.88, -0.6), (-0.6, -0.52), (-0.48, -0.64), (-0.36, -0.2)], paint.dark)
    pen.sector(0.1, -0.06, 0.66, 0.46, 180, 360, paint.base)
    pen.polygon([(-0.56, -0.06), (0.76, -0.06), (0.6, 0.04), (-0.4, 0.04)], paint.base)
    pen.sector(0.32, -0.08, 0.42, 0.12, 0, 180, paint.light)
    pen.ellipse(0.44, -0.24, 0.035, 0.035, INK)
    for tip in (-0.14, 0.0, 0.14):
        pen.line([(0.16, -0.52), (0.16 + tip * 0.6, -0.74), (0.16 + tip * 1.5, -0.78)], IVORY, 0.04)


def balloon(pen: Pen, paint: Paint) -> None:
    """Draw a hot-air balloon with striped cloth."""
    for x in (-0.1, 0.1):
        pen.line([(x * 2, 0.1), (x, 0.38)], INK, 0.02)
    pen.polygon([(-0.36, -0.06), (0.36, -0.06), (0.13, 0.22), (-0.13, 0.22)], paint.dark)
    pen.ellipse(0, -0.16, 0.4, 0.38, paint.base)
    pen.ellipse(0, -0.16, 0.22, 0.38, paint.light)
    pen.ellipse(0, -0.16, 0.08, 0.38, paint.base)
    pen.rectangle(-0.11, 0.36, 0.11, 0.52, WOOD)


def kite(pen: Pen, paint: Paint) -> None:
    """Draw a kite with a tail of bows."""
    tail = [(0.0, 0.3), (0.12, 0.42), (-0.02, 0.54), (0.1, 0.68)]
    pen.line(tail, INK, 0.02)
    for x, y in tail[1:]:
        pen.polygon(
            [(x - 0.09, y - 0.05), (x - 0.09, y + 0.05), (x + 0.09, y - 0.05), (x + 0.09, y + 0.05)],
            paint.dark,
        )
    pen.polygon([(0, -0.5), (0.34, -0.12), (0, 0.32), (-0.34, -0.12)], paint.base)
    pen.polygon([(0, -0.5), (0.34, -0.12), (0, -0.12)], paint.light)
    pen.polygon([(0, -0.12), (0, 0.32), (-0.34, -0.12)], paint.dark)


def rocket(pen: Pen, paint: Paint) -> None:
    """Draw a flying rocket with its flame."""
    pen.polygon([(-0.13, 0.28), (0, 0.62), (0.13, 0.28)], (255, 170, 40))
    pen.polygon([(-0.07, 0.28), (0, 0.46), (0.07, 0.28)], (255, 238, 150))
    for side in (-1, 1):
        pen.polygon([(side * 0.14, 0.02), (side * 0.36, 0.36), (side * 0.13, 0.26)], paint.base)
    pen.polygon([(-0.17, -0.18), (-0.17, 0.26), (0.17, 0.26), (0.17, -0.18), (0, -0.58)], IVORY)
    pen.polygon([(-0.13, -0.28), (0.13, -0.28), (0, -0.58)], paint.base)
    pen.rectangle(-0.17, 0.16, 0.17, 0.28, paint.dark)
    pen.ellipse(0, -0.08, 0.095, 0.095, paint.dark)
    pen.ellipse(0, -0.08, 0.06, 0.06, GLASS)


def bird(pen: Pen, paint: Paint) -> None:
    """Draw a bird with raised wings."""
    pen.polygon([(-0.2, 0.02), (-0.58, -0.06), (-0.52, 0.14)], paint.dark)
    pen.polygon([(-0.14, 0), (-0.34, -0.56), (0.14, -0.06)], paint.dark)
    pen.ellipse(0, 0.04, 0.32, 0.17, paint.base)
    pen.ellipse(0.04, 0.1, 0.2, 0.09, paint.light)
    pen.polygon([(-0.1, 0.04), (-0.06, -0.62), (0.18, 0)], paint.base)
    pen.ellipse(0.32, -0.06, 0.14, 0.13, paint.base)
    pen.polygon([(0.43, -0.09), (0.6, -0.02), (0.43, 0.02)], (246, 176, 50))
    pen.ellipse(0.36, -0.09, 0.025, 0.025, INK)


def saucer(pen: Pen, paint: Paint) -> None:
    """Draw a flying saucer with lights and a beam."""
    pen.polygon([(-0.16, 0.1), (0.16, 0.1), (0.36, 0.56), (-0.36, 0.56)], (255, 250, 180), 0.4)
    pen.sector(0, -0.06, 0.26, 0.34, 180, 360, GLASS)
    pen.ellipse(0, 0.02, 0.62, 0.17, paint.base)
    pen.ellipse(0, -0.03, 0.44, 0.09, paint.light)
    for x in (-0.42, -0.21, 0.0, 0.21, 0.42):
        pen.ellipse(x, 0.09 - x * x * 0.2, 0.04, 0.04, (255, 240, 140))


def butterfly(pen: Pen, paint: Paint) -> None:
    """Draw a butterfly with open wings."""
    for side in (-1, 1):
        pen.ellipse(side * 0.3, -0.17, 0.27, 0.26, paint.dark)
        pen.ellipse(side * 0.29, -0.17, 0.21, 0.2, paint.base)
        pen.ellipse(side * 0.22, 0.22, 0.2, 0.19, paint.dark)
        pen.ellipse(side * 0.22, 0.22, 0.14, 0.13, paint.light)
        pen.line([(0, -0.22), (side * 0.12, -0.48)], INK, 0.025)
    pen.ellipse(0, 0.02, 0.05, 0.3, INK)


THINGS: dict[str, Thing] = {
    "house": Thing(house, "ground", 1.05),
    "tree": Thing(tree, "ground", 0.85),
    "car": Thing(car, "ground", 1.45),
    "cat": Thing(cat, "ground", 0.85),
    "flower": Thing(flower, "ground", 0.65),
    "umbrella": Thing(umbrella, "ground", 1.1),
    "tent": Thing(tent, "ground", 1.35),
    "lighthouse": Thing(lighthouse, "ground", 0.45),
    "windmill": Thing(windmill, "ground", 0.85),
    "mushroom": Thing(mushroom, "ground", 0.9),
    "boat": Thing(boat, "water", 1.1),
    "fish": Thing(fish, "water", 1.15),
    "duck": Thing(duck, "water", 1.3),
    "whale": Thing(whale, "water", 1.6),
    "balloon": Thing(balloon, "air", 0.8),
    "kite": Thing(kite, "air", 0.75),
    "rocket": Thing(rocket, "air", 0.7),
    "bird": Thing(bird, "air", 1.15),
    "saucer": Thing(saucer, "air", 1.25),
    "butterfly": Thing(butterfly, "air", 1.1),
}
