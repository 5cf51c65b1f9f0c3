"""A pinhole camera that paints coloured, labelled shapes of a street. The caller paints far shapes first.

Coordinates are in metres: x to the right of the camera, y up from the ground, z ahead of the camera. Each shape is
painted twice at the same position: its colour into the image and its label id into the mask.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tce_core import VOID

Color = tuple[float, float, float]
Point = tuple[float, float, float]

CAMERA_HEIGHT = 1.5  # in metres
FOCAL_LENGTH = 1.05  # in image heights
HAZE_METRES = 120.0  # at this distance a shape has 63 % of the haze's colour
OVERSAMPLING = 2  # shapes are painted larger and averaged down for soft edges


class Camera:
    """A canvas for one scene.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        haze: the colour that shapes approach with distance.
        rng: the source of the horizon and of the viewing direction.
    """

    def __init__(self, height: int, width: int, haze: Color, rng: np.random.Generator) -> None:
        self.aspect = width / height
        self.horizon = float(rng.uniform(0.36, 0.46))
        self.vanishing = self.aspect * float(rng.uniform(0.42, 0.58))
        self.haze = haze
        self._scale = OVERSAMPLING * height
        size = (OVERSAMPLING * width, OVERSAMPLING * height)
        self._image, self._mask = Image.new("RGB", size), Image.new("L", size, VOID)
        self._draw = ImageDraw.Draw(self._image), ImageDraw.Draw(self._mask)

    def screen(self, point: Point) -> tuple[float, float]:
        """Return where a point is seen, in canvas pixels from the upper left corner; z must be above 0."""
        x, y, z = point
        across = self.vanishing + FOCAL_LENGTH * x / z
        down = self.horizon + FOCAL_LENGTH * (CAMERA_HEIGHT - y) / z
        return across * self._scale, down * self._scale

    def polygon(self, points: Sequence[Point], color: Color, label: int) -> None:
        """Paint a polygon, with the haze of its first point."""
        corners = [self.screen(point) for point in points]
        self._draw[0].polygon(corners, fill=self._paint(color, points[0][2]))
        self._draw[1].polygon(corners, fill=label)

    def front(self, x: tuple[float, float], y: tuple[float, float], z: float, color: Color, label: int) -> None:
        """Paint a rectangle that faces the camera."""
        self.polygon([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], color, label)

    def side(self, x: float, y: tuple[float, float], z: tuple[float, float], color: Color, label: int) -> None:
        """Paint an upright rectangle along the street."""
        self.polygon([(x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])], color, label)

    def ground(self, x: tuple[float, float], z: tuple[float, float], color: Color, label: int) -> None:
        """Paint a rectangle on the ground."""
        self.polygon([(x[0], 0, z[0]), (x[1], 0, z[0]), (x[1], 0, z[1]), (x[0], 0, z[1])], color, label)

    def disc(self, center: Point, radii: tuple[float, float], color: Color, label: int, rim: float = 0.0) -> None:
        """Paint an upright ellipse. With a `rim` in metres, only the rim gets the colour but all of it the label."""
        x, y, z = center
        box = [*self.screen((x - radii[0], y + radii[1], z)), *self.screen((x + radii[0], y - radii[1], z))]
        paint, stroke = self._paint(color, z), max(1, round(rim * FOCAL_LENGTH / z * self._scale))
        if rim:
            self._draw[0].ellipse(box, outline=paint, width=stroke)
        else:
            self._draw[0].ellipse(box, fill=paint)
        self._draw[1].ellipse(box, fill=label)

    def line(self, start: Point, end: Point, width: float, color: Color, label: int) -> None:
        """Paint a bar `width` metres thick, but at least one pixel of the canvas."""
        stroke = max(1, round(width * FOCAL_LENGTH / start[2] * self._scale))
        ends = [self.screen(start), self.screen(end)]
        self._draw[0].line(ends, fill=self._paint(color, start[2]), width=stroke)
        self._draw[1].line(ends, fill=label, width=stroke)

    def sky(self, top: Color, label: int) -> None:
        """Fill everything above the horizon with a gradient from `top` down to the colour of the haze."""
        rows = math.ceil(self.horizon * self._scale)
        for row in range(rows + 1):
            part = row / rows
            fill = tuple(round(a + (b - a) * part) for a, b in zip(top, self.haze, strict=True))
            self._draw[0].line([(0, row), (self._image.width, row)], fill=fill)
        self._draw[1].rectangle([0, 0, self._image.width, rows], fill=label)

    def bonnet(self, height: float, color: Color) -> None:
        """Paint the bonnet of the camera's own car as void; `height` is a fraction of the image's height."""
        width, bottom = self._image.width, self._image.height
        box = [0.04 * width, bottom * (1 - height), 0.96 * width, bottom * (1 + 3 * height)]
        self._draw[0].ellipse(box, fill=tuple(map(round, color)))
        self._draw[1].ellipse(box, fill=VOID)

    def develop(self, blur: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the image (H, W, 3) float32 in 0..255, blurred by `blur` pixels, and the mask (H, W) uint8."""
        image = self._image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(blur))
        mask = np.asarray(self._mask)[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
        return np.asarray(image, np.float32), mask

    def _paint(self, color: Color, z: float) -> tuple[int, ...]:
        part = 1 - math.exp(-z / HAZE_METRES)
        return tuple(round(a + (b - a) * part) for a, b in zip(color, self.haze, strict=True))
