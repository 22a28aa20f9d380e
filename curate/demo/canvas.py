"""A small drawing kit: colours, an anti-aliased square canvas and a pen that shifts, scales and turns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

OVERSAMPLING = 3

INK: Colour = (38, 36, 46)
IVORY: Colour = (252, 248, 238)
GLASS: Colour = (196, 226, 240)
WOOD: Colour = (128, 86, 54)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies ``share`` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def vary(rng: np.random.Generator, colour: Colour, amount: float = 10.0) -> Colour:
    """Return the colour shifted at random, by about ``amount`` levels of 255 per channel."""
    shifted = np.clip(np.asarray(colour) + rng.normal(0.0, amount, 3), 0, 255).round().astype(int)
    return int(shifted[0]), int(shifted[1]), int(shifted[2])


class Canvas:
    """A square picture in unit coordinates: x to the right, y downwards, both from 0 to 1.

    Parameters
    ----------
    side
        Width and height of the finished picture, in pixels.

    """

    def __init__(self, side: int) -> None:
        self._scale = side * OVERSAMPLING
        self._image = Image.new("RGB", (self._scale, self._scale))
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def gradient(self, stops: Sequence[tuple[float, Colour]], top: float, bottom: float) -> None:
        """Fill the band from ``top`` to ``bottom`` with a blend of ``stops``, pairs of share and colour."""
        first, last = round(top * self._scale), round(bottom * self._scale)
        shares = np.linspace(0.0, 1.0, max(last - first, 1))
        places = [share for share, _ in stops]
        column = np.stack([np.interp(shares, places, [c[i] for _, c in stops]) for i in range(3)], axis=1)
        strip = Image.fromarray(column.round().astype(np.uint8)[:, None, :])
        self._image.paste(strip.resize((self._scale, len(shares)), Image.Resampling.NEAREST), (0, first))

    def polygon(self, points: npt.ArrayLike, colour: Colour, alpha: float = 1.0) -> None:
        """Fill the polygon through ``points``, of shape (n, 2)."""
        corners = (np.asarray(points, dtype=float) * self._scale).ravel().tolist()
        self._draw.polygon(corners, fill=(*colour, round(255 * alpha)))

    def line(self, points: npt.ArrayLike, colour: Colour, width: float, alpha: float = 1.0) -> None:
        """Draw the line through ``points``, of shape (n, 2), ``width`` in canvas units."""
        corners = (np.asarray(points, dtype=float) * self._scale).ravel().tolist()
        pixels = max(1, round(width * self._scale))
        self._draw.line(corners, fill=(*colour, round(255 * alpha)), width=pixels, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: float = 1.0) -> None:
        """Fill an upright ellipse around (x, y)."""
        box = [v * self._scale for v in (x - rx, y - ry, x + rx, y + ry)]
        self._draw.ellipse(box, fill=(*colour, round(255 * alpha)))

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float, alpha: float) -> None:
        """Draw a circle's outline, ``width`` inwards of ``radius``."""
        box = [v * self._scale for v in (x - radius, y - radius, x + radius, y + radius)]
        self._draw.arc(
            box, 0, 360, fill=(*colour, round(255 * alpha)), width=max(1, round(width * self._scale))
        )

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        return self._image.reduce(OVERSAMPLING)


class Pen:
    """Draws in a thing's own coordinates: its foot (or middle, if it flies) at (0, 0), its height about 1.

    Parameters
    ----------
    canvas
        Where the strokes go.
    x, y
        Where the thing's origin lies on the canvas.
    size
        Canvas units per unit of the thing.
    turn
        Clockwise rotation in radians.
    mirrored
        Whether left and right change places.

    """

    def __init__(
        self, canvas: Canvas, x: float, y: float, size: float, *, turn: float = 0.0, mirrored: bool = False
    ) -> None:
        cos, sin, flip = math.cos(turn), math.sin(turn), -1.0 if mirrored else 1.0
        self._canvas = canvas
        self._size = size
        self._origin = np.array([x, y])
        self._matrix = size * np.array([[flip * cos, flip * sin], [-sin, cos]])

    def polygon(self, points: Iterable[Point], colour: Colour, alpha: float = 1.0) -> None:
        """Fill the polygon through ``points``."""
        self._canvas.polygon(self._placed(points), colour, alpha)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, alpha: float = 1.0) -> None:
        """Fill an ellipse around (x, y)."""
        self.sector(x, y, rx, ry, 0.0, 360.0, colour, alpha)

    def sector(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        start: float,
        end: float,
        colour: Colour,
        alpha: float = 1.0,
    ) -> None:
        """Fill what a chord between two angles, in degrees clockwise from the right, cuts off."""
        angles = np.radians(np.linspace(start, end, 25))
        rim = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
        self._canvas.polygon(rim @ self._matrix + self._origin, colour, alpha)

    def line(self, points: Iterable[Point], colour: Colour, width: float) -> None:
        """Draw the line through ``points``."""
        self._canvas.line(self._placed(points), colour, width * self._size)

    def _placed(self, points: Iterable[Point]) -> npt.NDArray[np.float64]:
        placed: npt.NDArray[np.float64] = np.asarray(list(points)) @ self._matrix + self._origin
        return placed
