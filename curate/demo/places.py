"""Where a scene happens: the land or water below the horizon, and what stands at the back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curate.demo.canvas import Canvas, Colour, mix, vary
from curate.demo.skies import SKY_COLOURS, lit
from curate.demo.things import Habitat

Background = Callable[[Canvas, str, float, np.random.Generator], None]

WHITE: Colour = (255, 255, 255)
DARK: Colour = (24, 28, 44)


@dataclass(frozen=True)
class Place:
    """What is drawn below the horizon, which things live there, and under which skies it is seen."""

    draw: Background
    habitats: tuple[Habitat, ...]
    skies: tuple[str, ...] = ("day", "sunset", "night", "cloudy", "rainbow")


def sea(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw open water with waves."""
    far, near = lit(vary(rng, (70, 150, 196)), sky), lit(vary(rng, (18, 84, 140)), sky)
    canvas.gradient([(0, mix(far, SKY_COLOURS[sky][2], 0.25)), (1, near)], horizon, 1.0)
    _waves(canvas, horizon + 0.03, rng, mix(far, WHITE, 0.4))


def lake(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw calm water before wooded hills."""
    wood = lit(vary(rng, (44, 96, 72)), sky)
    _hills(canvas, horizon, rng, mix(wood, SKY_COLOURS[sky][2], 0.45), 0.16)
    _hills(canvas, horizon, rng, wood, 0.08)
    water = lit(vary(rng, (86, 158, 168)), sky)
    canvas.gradient([(0, mix(wood, water, 0.3)), (0.3, water), (1, mix(water, DARK, 0.25))], horizon, 1.0)
    for x, length in zip((0.02, 0.93), rng.uniform(0.12, 0.26, 2), strict=True):
        for blade in np.linspace(0, 0.06, 4):
            tip = (x + blade + 0.02, 1 - length + blade)
            canvas.line([(x + blade, 1.0), tip], lit((92, 128, 52), sky), 0.012)


def meadow(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw rolling green hills dotted with blossoms."""
    grass = lit(vary(rng, (104, 176, 74)), sky)
    _hills(canvas, horizon, rng, mix(grass, SKY_COLOURS[sky][2], 0.4), 0.1)
    canvas.gradient([(0, grass), (1, mix(grass, DARK, 0.3))], horizon, 1.0)
    _hills(canvas, horizon + 0.12, rng, mix(grass, DARK, 0.12), 0.07)
    for x, y in rng.uniform(0, 1, (26, 2)):
        blossom = lit(vary(rng, (252, 236, 170), 25), sky)
        canvas.ellipse(x, horizon + 0.08 + y * (0.92 - horizon), 0.007, 0.007, blossom)


def desert(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw sand dunes with a cactus far off."""
    sand = lit(vary(rng, (232, 184, 112)), sky)
    _hills(canvas, horizon, rng, mix(sand, SKY_COLOURS[sky][2], 0.25), 0.09)
    x, green = rng.uniform(0.08, 0.92), lit((70, 128, 84), sky)
    canvas.gradient([(0, sand), (1, mix(sand, (150, 84, 44), 0.45))], horizon, 1.0)
    canvas.line([(x, horizon + 0.06), (x, horizon - 0.12)], green, 0.026)
    canvas.line([(x, horizon - 0.02), (x + 0.04, horizon - 0.02), (x + 0.04, horizon - 0.08)], green, 0.018)
    for rise in (0.16, 0.3):
        _hills(canvas, horizon + rise, rng, mix(sand, (170, 104, 56), rise), 0.06)


def snow(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw a snowy field with fir trees and falling flakes."""
    white = lit(vary(rng, (240, 244, 250), 5), sky)
    _hills(canvas, horizon, rng, mix(white, SKY_COLOURS[sky][1], 0.35), 0.12)
    for x in rng.uniform(0, 1, int(rng.integers(4, 8))):
        _fir(canvas, x, horizon + 0.02, rng.uniform(0.1, 0.2), lit((52, 92, 84), sky), white)
    canvas.gradient([(0, white), (1, mix(white, (150, 176, 214), 0.45))], horizon, 1.0)
    for x, y in rng.uniform(0, 1, (40, 2)):
        canvas.ellipse(x, y, 0.006, 0.006, WHITE, 0.85)


def beach(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw a strip of sea, surf, and sand with a palm."""
    water, sand = lit(vary(rng, (52, 158, 190)), sky), lit(vary(rng, (240, 214, 150)), sky)
    shore = horizon + 0.11
    canvas.gradient([(0, water), (1, mix(water, WHITE, 0.3))], horizon, shore)
    canvas.gradient([(0, sand), (1, mix(sand, (170, 120, 70), 0.3))], shore, 1.0)
    xs = np.linspace(0, 1, 25)
    surf = shore + 0.012 * np.sin(xs * rng.uniform(12, 20) + rng.uniform(0, 6))
    canvas.line(np.stack([xs, surf], 1), mix(water, WHITE, 0.8), 0.022)
    x, top = (0.06 if rng.random() < 0.5 else 0.94), horizon - 0.2
    canvas.line([(x, shore + 0.06), (x + 0.01, top)], lit((128, 92, 60), sky), 0.024)
    for dx, dy in ((-0.13, 0.04), (-0.09, -0.06), (0.09, -0.07), (0.14, 0.03), (-0.05, 0.1), (0.07, 0.09)):
        leaf = [(x + 0.01, top), (x + dx, top + dy - 0.03), (x + dx * 1.25, top + dy + 0.03)]
        canvas.polygon(leaf, lit((64, 138, 70), sky))


def city(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw a skyline with windows behind a street."""
    stone = lit(vary(rng, (112, 118, 140)), sky)
    window = (255, 226, 130) if sky in ("night", "sunset") else mix(stone, WHITE, 0.45)
    left = -0.04
    while left < 1.0:
        width, height = rng.uniform(0.1, 0.2), rng.uniform(0.14, 0.42)
        front = mix(stone, SKY_COLOURS[sky][2], rng.uniform(0.0, 0.4))
        corners = [
            (left, horizon),
            (left, horizon - height),
            (left + width, horizon - height),
            (left + width, horizon),
        ]
        canvas.polygon(corners, front)
        for x in np.arange(left + 0.02, left + width - 0.03, 0.036):
            for y in np.arange(horizon - height + 0.025, horizon - 0.02, 0.05):
                if rng.random() < 0.6:
                    canvas.polygon([(x, y), (x + 0.018, y), (x + 0.018, y + 0.024), (x, y + 0.024)], window)
        left += width + rng.uniform(-0.01, 0.02)
    canvas.gradient([(0, lit((168, 166, 164), sky)), (1, lit((148, 146, 146), sky))], horizon, horizon + 0.09)
    canvas.gradient([(0, lit((84, 86, 94), sky)), (1, lit((58, 60, 68), sky))], horizon + 0.09, 1.0)
    for x in np.arange(rng.uniform(-0.1, 0.05), 1.0, 0.24):
        canvas.line([(x, horizon + 0.25), (x + 0.12, horizon + 0.25)], (232, 226, 206), 0.014)


def mountains(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw snow-capped peaks above a stony slope."""
    rock = lit(vary(rng, (104, 108, 128)), sky)
    for share in (0.45, 0.1):
        tone = mix(rock, SKY_COLOURS[sky][2], share)
        for x in np.linspace(0.0, 1.0, 4) + rng.uniform(-0.12, 0.12, 4):
            height, wide = rng.uniform(0.2, 0.42), rng.uniform(0.2, 0.3)
            peak = horizon - height
            canvas.polygon([(x - wide, horizon), (x, peak), (x + wide, horizon)], tone)
            canvas.polygon([(x, peak), (x + wide, horizon), (x + 0.04, horizon)], DARK, 0.18)
            cap, drop = wide * 0.3, height * 0.3
            jagged = [
                (x, peak),
                (x + cap, peak + drop),
                (x + cap * 0.3, peak + drop * 0.8),
                (x, peak + drop * 1.2),
            ]
            canvas.polygon(
                [*jagged, (x - cap * 0.4, peak + drop * 0.75), (x - cap, peak + drop)], lit(WHITE, sky)
            )
    slope = lit(vary(rng, (124, 126, 96)), sky)
    canvas.gradient([(0, slope), (1, mix(slope, DARK, 0.35))], horizon, 1.0)
    for x, y, size in rng.uniform(0, 1, (12, 3)):
        canvas.ellipse(x, horizon + 0.05 + y * 0.4, 0.012 + 0.02 * size, 0.008 + 0.01 * size, rock)


def moon(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw grey dust pocked with craters."""
    dust = vary(rng, (158, 156, 164), 6)
    canvas.gradient([(0, dust), (1, mix(dust, DARK, 0.45))], horizon, 1.0)
    for x, y, size in rng.uniform(0, 1, (9, 3)):
        depth = horizon + 0.04 + y * (0.9 - horizon)
        wide = (0.03 + 0.06 * size) * (0.5 + y)
        canvas.ellipse(x, depth, wide, wide * 0.36, mix(dust, WHITE, 0.3))
        canvas.ellipse(x, depth + 0.006, wide * 0.92, wide * 0.3, mix(dust, DARK, 0.5))


PLACES: dict[str, Place] = {
    "sea": Place(sea, ("water", "air")),
    "lake": Place(lake, ("water", "air")),
    "meadow": Place(meadow, ("ground", "air")),
    "desert": Place(desert, ("ground", "air"), ("day", "sunset", "night", "cloudy")),
    "snow": Place(snow, ("ground", "air"), ("day", "sunset", "night", "cloudy")),
    "beach": Place(beach, ("ground", "air")),
    "city": Place(city, ("ground", "air")),
    "mountains": Place(mountains, ("ground", "air")),
    "moon": Place(moon, ("ground", "air"), ("space",)),
}


def _hills(canvas: Canvas, base: float, rng: np.random.Generator, colour: Colour, height: float) -> None:
    xs = np.linspace(0, 1, 33)
    waves = sum(np.sin(xs * rng.uniform(3, 9) + rng.uniform(0, 6)) for _ in range(2))
    ridge = base - height * (0.5 + 0.25 * np.asarray(waves))
    outline = np.concatenate([np.stack([xs, ridge], 1), [(1.0, base + 0.12), (0.0, base + 0.12)]])
    canvas.polygon(outline, colour)


def _waves(canvas: Canvas, top: float, rng: np.random.Generator, colour: Colour) -> None:
    for share in np.sort(rng.uniform(0, 1, 14)):
        y, x, wide = top + share * (0.98 - top), rng.uniform(-0.05, 0.95), 0.04 + 0.1 * share
        crest = [(x, y), (x + wide / 2, y - 0.01 - 0.01 * share), (x + wide, y)]
        canvas.line(crest, colour, 0.006 + 0.008 * share, 0.65)


def _fir(canvas: Canvas, x: float, foot: float, height: float, green: Colour, white: Colour) -> None:
    for share, wide in ((0.0, 0.34), (0.3, 0.27), (0.58, 0.18)):
        low, high = foot - share * height, foot - (share + 0.46) * height
        canvas.polygon([(x - wide * height, low), (x, high), (x + wide * height, low)], green)
    canvas.polygon(
        [
            (x - 0.07 * height, foot - 0.84 * height),
            (x, foot - 1.04 * height),
            (x + 0.07 * height, foot - 0.84 * height),
        ],
        white,
    )
