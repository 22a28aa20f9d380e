"""The upper half of a scene: light, clouds, stars, and what shines."""

from collections.abc import Callable

import numpy as np

from curate.demo.canvas import Canvas, Colour, mix, vary

WHITE: Colour = (255, 255, 255)

SKY_COLOURS: dict[str, tuple[Colour, Colour, Colour]] = {  # at the top, half-way, at the horizon
    "day": ((72, 148, 220), (128, 190, 238), (206, 232, 246)),
    "sunset": ((86, 70, 140), (232, 122, 96), (254, 206, 120)),
    "night": ((10, 14, 44), (26, 36, 84), (56, 68, 122)),
    "cloudy": ((132, 142, 156), (168, 176, 186), (204, 208, 212)),
    "rainbow": ((104, 158, 206), (158, 200, 228), (222, 236, 240)),
    "space": ((4, 4, 14), (10, 8, 28), (26, 18, 50)),
}

LIGHT: dict[str, tuple[Colour, float]] = {  # what the land below is tinted with, and how much
    "day": ((255, 246, 214), 0.0),
    "sunset": ((214, 96, 84), 0.24),
    "night": ((14, 20, 66), 0.58),
    "cloudy": ((120, 126, 136), 0.26),
    "rainbow": ((255, 255, 255), 0.04),
    "space": ((16, 14, 40), 0.12),
}


def lit(colour: Colour, sky: str) -> Colour:
    """Return a colour of the land as it looks under a sky."""
    tint, share = LIGHT[sky]
    return mix(colour, tint, share)


def draw_sky(canvas: Canvas, sky: str, horizon: float, rng: np.random.Generator) -> None:
    """Draw a sky down to the horizon."""
    top, middle, low = (vary(rng, colour, 7) for colour in SKY_COLOURS[sky])
    canvas.gradient([(0.0, top), (0.55, middle), (1.0, low)], 0.0, horizon)
    FURNITURE[sky](canvas, horizon, rng)


def _day(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    _sun(canvas, rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.22), rng.uniform(0.06, 0.085), (255, 214, 64))
    for _ in range(int(rng.integers(0, 3))):
        _cloud(canvas, rng, WHITE, 0.85)


def _sunset(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    _sun(
        canvas,
        rng.uniform(0.15, 0.85),
        horizon - rng.uniform(0.0, 0.07),
        rng.uniform(0.09, 0.13),
        (255, 138, 54),
    )
    for _ in range(int(rng.integers(1, 4))):
        x, y, wide = rng.uniform(0, 1), rng.uniform(0.06, horizon - 0.2), rng.uniform(0.12, 0.3)
        canvas.ellipse(x, y, wide, 0.012, (255, 190, 150), 0.6)


def _night(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    _stars(canvas, horizon, rng, 34)
    x, y, radius = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.22), rng.uniform(0.055, 0.085)
    for halo in (2.2, 1.6):
        canvas.ellipse(x, y, radius * halo, radius * halo, (240, 240, 210), 0.1)
    canvas.ellipse(x, y, radius, radius, (246, 242, 214))
    canvas.ellipse(x - radius * 0.3, y - radius * 0.2, radius * 0.22, radius * 0.22, (222, 216, 186))
    canvas.ellipse(x + radius * 0.3, y + radius * 0.3, radius * 0.3, radius * 0.3, (222, 216, 186))


def _cloudy(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(5, 8))):
        _cloud(canvas, rng, mix((206, 210, 216), WHITE, rng.uniform(0, 0.9)), 0.9)


def _rainbow(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    _cloud(canvas, rng, WHITE, 0.8)
    x, y, radius = rng.uniform(0.3, 0.7), horizon + rng.uniform(0.0, 0.06), rng.uniform(0.42, 0.52)
    bands: tuple[Colour, ...] = (
        (228, 62, 62), (246, 150, 50), (250, 224, 80), (92, 184, 96), (70, 130, 220), (132, 86, 190),
    )  # fmt: skip
    for i, band in enumerate(bands):
        canvas.ring(x, y, radius - 0.024 * i, band, 0.026, 0.75)


def _space(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    _stars(canvas, horizon, rng, 60)
    x, y, radius = rng.uniform(0.12, 0.88), rng.uniform(0.12, 0.24), rng.uniform(0.07, 0.1)
    canvas.ellipse(x, y, radius * 1.25, radius * 1.25, (90, 150, 240), 0.22)
    canvas.ellipse(x, y, radius, radius, (52, 112, 206))
    canvas.ellipse(x - radius * 0.3, y - radius * 0.25, radius * 0.42, radius * 0.34, (88, 168, 92))
    canvas.ellipse(x + radius * 0.35, y + radius * 0.35, radius * 0.34, radius * 0.26, (88, 168, 92))
    canvas.ellipse(x, y - radius * 0.8, radius * 0.4, radius * 0.12, WHITE)


FURNITURE: dict[str, Callable[[Canvas, float, np.random.Generator], None]] = {
    "day": _day,
    "sunset": _sunset,
    "night": _night,
    "cloudy": _cloudy,
    "rainbow": _rainbow,
    "space": _space,
}


def _sun(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    for halo in (2.1, 1.5):
        canvas.ellipse(x, y, radius * halo, radius * halo, mix(colour, WHITE, 0.4), 0.22)
    canvas.ellipse(x, y, radius, radius, colour)


def _cloud(canvas: Canvas, rng: np.random.Generator, colour: Colour, alpha: float) -> None:
    x, y, size = rng.uniform(0, 1), rng.uniform(0.06, 0.3), rng.uniform(0.06, 0.11)
    for dx, dy, radius in ((-0.9, 0.1, 0.55), (0.0, -0.15, 0.8), (0.85, 0.1, 0.5), (0.0, 0.3, 0.6)):
        wide = 1.8 if dy == 0.3 else 1.0
        canvas.ellipse(
            x + dx * size, y + dy * size, radius * size * wide, radius * size * 0.75, colour, alpha
        )


def _stars(canvas: Canvas, horizon: float, rng: np.random.Generator, n_stars: int) -> None:
    for x, y, size in rng.uniform(0, 1, (n_stars, 3)):
        radius = 0.003 + 0.005 * size * size
        canvas.ellipse(x, y * horizon, radius, radius, (255, 252, 230), 0.55 + 0.45 * size)
