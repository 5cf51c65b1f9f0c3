"""A street scene: one function paints each kind of thing (house, tree, car, person), and `Scene` arranges them."""

from collections.abc import Callable

import numpy as np

from tce_core.data.streets.camera import Camera, Color

ROAD, SIDEWALK, BUILDING, WALL, POLE, VEGETATION, SKY, PERSON, RIDER, CAR = range(10)
VOID_THING = 255

FACADES: list[Color] = [(150, 128, 108), (168, 152, 130), (128, 112, 104), (176, 168, 158), (140, 98, 82)]
PAINTS: list[Color] = [(190, 190, 195), (40, 42, 48), (150, 30, 30), (40, 70, 130), (225, 225, 222), (96, 104, 108)]
MUTED: list[Color] = [(44, 48, 66), (70, 62, 58), (92, 96, 104), (52, 70, 92), (104, 78, 66), (38, 36, 40)]
STONES: list[Color] = [(128, 140, 168), (112, 122, 150), (146, 152, 176)]
BRIGHT: list[Color] = [(236, 214, 48), (240, 116, 36), (120, 226, 74), (228, 62, 96), (64, 196, 228)]
SKIN: list[Color] = [(222, 180, 152), (196, 148, 116), (134, 94, 70)]
TYRE: Color = (26, 26, 28)
GLASS: Color = (58, 72, 88)


class Scene:
    """One street of `height` x `width` pixels, drawn with `rng`.

    `riders` and `walls` say whether it has these rare classes.
    """

    def __init__(self, height: int, width: int, riders: bool, walls: bool, rng: np.random.Generator) -> None:
        self.rng = rng
        self.overcast = float(rng.uniform(0, 1))
        haze: Color = (206, 210 + 6 * self.overcast, 226 - 8 * self.overcast)
        self.camera = Camera(height, width, haze, rng)
        self.half_road = self.uniform(3.6, 5.0)
        self.half_street = self.half_road + self.uniform(2.0, 3.6)
        self.offset = self.uniform(-0.2, 0.5) * self.half_road
        # Pairs of depth and painter. `render` paints the farthest first, so that near things hide far ones.
        self.things: list[tuple[float, Callable[[], None]]] = []
        self._furnish(riders, walls)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, colors: list[Color]) -> Color:
        """Return one of the colours, a little lighter or darker."""
        return shade(colors[self.rng.integers(len(colors))], self.uniform(0.85, 1.15))

    def x(self, across: float) -> float:
        """Convert metres right of the middle of the street to metres right of the camera."""
        return across - self.offset

    def _furnish(self, riders: bool, walls: bool) -> None:
        for side in (-1, 1):
            self._houses(side)
            for z in np.arange(self.uniform(5, 10), 30, self.uniform(8, 16)):
                self._add(float(z), pole if self.chance(0.55) else tree, side * (self.half_road + 0.5))
            for z in np.arange(self.uniform(5, 14), 40, self.uniform(6, 9)):
                if self.chance(0.4):
                    self._add(float(z), car, side * (self.half_road - 1.1))
            for _ in range(self.rng.poisson(1.6)):
                self._add(
                    self.uniform(6, 24), person, side * self.uniform(self.half_road + 0.3, self.half_street - 0.4)
                )
            if self.chance(0.3):
                self._add(self.uniform(6, 14), litter_bin, side * (self.half_street - 0.5))
        if self.chance(0.5):
            self._add(self.uniform(9, 30), car, self.uniform(0.8, 1.2))
        if self.chance(0.3):
            self._add(self.uniform(7, 18), person, self.uniform(-0.7, 0.7) * self.half_road)
        if walls:
            self._add(self.uniform(8, 12), wall, float(self.rng.choice([-1, 1])) * (self.half_street - 0.1))
        if riders:
            self._add(self.uniform(6.5, 10.5), rider, self.uniform(-0.6, 0.85) * self.half_road)

    def _houses(self, side: int) -> None:
        z = 1.3
        while z < 90:
            length = self.uniform(7, 16)
            self._add(z, house if self.chance(0.82) else hedge, side * self.half_street, length)
            z += length

    def _add(self, z: float, thing: Callable[..., None], across: float, *details: float) -> None:
        # Houses and hedges extend far behind z. All other things are nearer to the middle of the street and hide them.
        depth = z + 1000 if thing in (house, hedge) else z
        self.things.append((depth, lambda: thing(self, across, z, *details)))

    def render(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scene as an image (H, W, 3) uint8 and a mask (H, W) uint8."""
        backdrop(self)
        for _, paint in sorted(self.things, key=lambda thing: -thing[0]):
            paint()
        if self.chance(0.6):
            self.camera.bonnet(self.uniform(0.05, 0.09), self.pick(PAINTS))
        image, mask = self.camera.develop(self.uniform(0.2, 0.7))
        gain = self.uniform(0.72, 1.15) * self.rng.uniform(0.94, 1.06, 3)
        noise = self.rng.normal(0, self.uniform(1, 4), mask.shape)[..., None] + self.rng.normal(0, 2, image.shape)
        return np.clip(image * gain + noise, 0, 255).round().astype(np.uint8), mask


def shade(color: Color, factor: float) -> Color:
    """Return the colour multiplied by `factor`, at most 255 per channel."""
    return (min(255.0, color[0] * factor), min(255.0, color[1] * factor), min(255.0, color[2] * factor))


def backdrop(scene: Scene) -> None:
    """Paint the sky with clouds, the far end of the street, the sidewalks, and the road with its marks."""
    camera, half = scene.camera, scene.half_road
    camera.sky((110 + 80 * scene.overcast, 160 + 36 * scene.overcast, 222), SKY)
    for _ in range(scene.rng.integers(0, 5)):
        place = (scene.uniform(-150, 150), scene.uniform(40, 90), 150.0)
        camera.disc(place, (scene.uniform(15, 40), scene.uniform(3, 8)), (250, 250, 252), SKY)
    camera.ground((-400, 400), (1, 1000), shade((168, 158, 152), scene.uniform(0.9, 1.1)), SIDEWALK)
    for _ in range(8):
        x, label = scene.uniform(-25, 25), BUILDING if scene.chance(0.4) else VEGETATION
        color = scene.pick(FACADES) if label == BUILDING else (78.0, 100.0, 62.0)
        camera.front((x - 6, x + 6), (0, scene.uniform(5, 14)), 100, color, label)
    asphalt = shade((92, 92, 98), scene.uniform(0.85, 1.2))
    camera.ground((scene.x(-half), scene.x(half)), (1, 1000), asphalt, ROAD)
    for side in (-1, 1):
        camera.ground((scene.x(side * half), scene.x(side * (half + 0.15))), (1, 200), (196, 192, 188), SIDEWALK)
        for z in np.arange(1.5, 24, 1.5):
            edges = sorted((scene.x(side * (half + 0.15)), scene.x(side * scene.half_street)))
            camera.ground((edges[0], edges[1]), (float(z), float(z) + 0.06), (138, 130, 126), SIDEWALK)
    if scene.chance(0.85):
        for z in np.arange(1.6 + scene.uniform(0, 4), 70, 4):
            camera.ground((scene.x(-0.08), scene.x(0.08)), (float(z), float(z) + 2), (222, 222, 216), ROAD)
    if scene.chance(0.25):
        z = scene.uniform(5, 12)
        for across in np.arange(-half + 0.3, half - 0.5, 1.0):
            camera.ground((scene.x(float(across)), scene.x(float(across) + 0.5)), (z, z + 2.5), (216, 216, 212), ROAD)


def house(scene: Scene, across: float, z: float, length: float) -> None:
    """Paint a facade along the street with rows of windows, and the gable above a lower neighbour."""
    camera, x, height = scene.camera, scene.x(across), scene.uniform(6, 19)
    outward = 12.0 if across > 0 else -12.0
    color = scene.pick(FACADES)
    camera.front((x, x + outward), (0, height), z, shade(color, 0.8), BUILDING)
    camera.side(x, (0, height), (z, z + length), color, BUILDING)
    camera.side(x, (0, 0.6), (z, z + length), shade(color, 0.75), BUILDING)
    camera.side(x, (height - 0.4, height), (z, z + length), shade(color, 1.2), BUILDING)
    if z > 45:
        return
    bay, pane = scene.uniform(2.2, 3.4), shade(GLASS, scene.uniform(0.7, 1.6))
    for floor in np.arange(1.0, height - 2, 3.0):
        for start in np.arange(z + 0.7, z + length - 1.4, bay):
            camera.side(x, (float(floor), float(floor) + 1.6), (float(start), float(start) + 1.2), pane, BUILDING)


def hedge(scene: Scene, across: float, z: float, length: float) -> None:
    """Paint a hedge with trees behind it, in a gap between houses."""
    for step in np.linspace(z + length, z + 1, 4):
        tree(scene, across * 1.15, float(step))
    x, height = scene.x(across), scene.uniform(1.2, 2.6)
    scene.camera.side(x, (0, height), (z, z + length), shade((62, 92, 44), scene.uniform(0.8, 1.2)), VEGETATION)


def wall(scene: Scene, across: float, z: float) -> None:
    """Paint a wall in front of the houses: bluish stone without windows, dark joints and a bright top."""
    camera, x, length, height = scene.camera, scene.x(across), scene.uniform(3.5, 6), scene.uniform(1.9, 2.4)
    color = scene.pick(STONES)
    camera.side(x, (0, height), (z, z + length), color, WALL)
    for course in np.arange(0.4, height - 0.2, 0.5):
        camera.side(x, (float(course), float(course) + 0.16), (z, z + length), shade(color, 0.6), WALL)
    camera.side(x, (height - 0.2, height), (z, z + length), shade(color, 1.4), WALL)


def pole(scene: Scene, across: float, z: float) -> None:
    """Paint a dark grey mast, often with a lamp over the road."""
    x, height = scene.x(across), scene.uniform(3.5, 7)
    color = shade((74, 82, 80), scene.uniform(0.7, 1.2))
    scene.camera.line((x, 0, z), (x, height, z), 0.32, color, POLE)
    if scene.chance(0.6):
        inward = -1.1 if across > 0 else 1.1
        scene.camera.line((x, height, z), (x + inward, height + 0.1, z), 0.2, color, POLE)


def tree(scene: Scene, across: float, z: float) -> None:
    """Paint a trunk and a crown of overlapping leaves, darker below."""
    camera, x, height = scene.camera, scene.x(across), scene.uniform(3.2, 5.5)
    leaf = shade((84, 118, 52), scene.uniform(0.75, 1.25))
    camera.line((x, 0, z), (x, height, z), 0.28, (84, 68, 54), VEGETATION)
    for step in range(9):
        place = (x + scene.uniform(-1, 1), height + scene.uniform(-0.6, 1.2) + 0.1 * step, z)
        camera.disc(
            place, (scene.uniform(0.5, 1.1), scene.uniform(0.4, 0.9)), shade(leaf, 0.7 + 0.06 * step), VEGETATION
        )


def litter_bin(scene: Scene, across: float, z: float) -> None:
    """Paint a litter bin, which has no class: void."""
    x = scene.x(across)
    scene.camera.front((x - 0.3, x + 0.3), (0, 1.0), z, (60, 84, 72), VOID_THING)


def car(scene: Scene, across: float, z: float) -> None:
    """Paint a car from behind, with the side that the camera sees."""
    camera, x, color = scene.camera, scene.x(across), scene.pick(PAINTS)
    flank = x - 0.88 if x > 0 else x + 0.88
    camera.ground((x - 0.95, x + 0.95), (z - 0.1, z + 4.0), (50, 50, 54), CAR)
    camera.side(flank, (0.3, 0.9), (z, z + 4), shade(color, 0.75), CAR)
    camera.side(flank * 0.98, (0.9, 1.4), (z + 0.4, z + 2.8), shade(GLASS, 0.8), CAR)
    for axle in (0.7, 3.2):
        camera.side(flank, (0, 0.6), (z + axle - 0.3, z + axle + 0.3), TYRE, CAR)
    for wheel in (-0.75, 0.55):
        camera.front((x + wheel, x + wheel + 0.2), (0, 0.4), z, TYRE, CAR)
    camera.front((x - 0.9, x + 0.9), (0.25, 0.95), z, color, CAR)
    roof = [(x - 0.85, 0.95, z), (x + 0.85, 0.95, z), (x + 0.65, 1.48, z), (x - 0.65, 1.48, z)]
    camera.polygon(roof, color, CAR)
    window = [(x - 0.7, 0.98, z), (x + 0.7, 0.98, z), (x + 0.56, 1.38, z), (x - 0.56, 1.38, z)]
    camera.polygon(window, GLASS, CAR)
    lamp: Color = (200, 40, 36) if scene.chance(0.7) else (244, 240, 214)
    for place in (-0.85, 0.6):
        camera.front((x + place, x + place + 0.25), (0.62, 0.8), z, lamp, CAR)
    camera.front((x - 0.25, x + 0.25), (0.42, 0.55), z, (224, 224, 218), CAR)


def person(scene: Scene, across: float, z: float) -> None:
    """Paint a person on foot, mostly in muted clothes."""
    camera, x, size = scene.camera, scene.x(across), scene.uniform(0.9, 1.06)
    coat, trousers = scene.pick(BRIGHT if scene.chance(0.12) else MUTED), scene.pick(MUTED)
    stride = scene.uniform(0.05, 0.28)
    for foot in (-stride, stride):
        camera.line((x, 0.85 * size, z), (x + foot, 0, z), 0.17, trousers, PERSON)
    camera.front((x - 0.21, x + 0.21), (0.8 * size, 1.45 * size), z, coat, PERSON)
    for hand in (-0.3, 0.3):
        camera.line((x + 0.6 * hand, 1.4 * size, z), (x + hand, 0.8 * size, z), 0.1, shade(coat, 0.8), PERSON)
    camera.disc((x, 1.6 * size, z), (0.13, 0.16), scene.pick(SKIN), PERSON)


def rider(scene: Scene, across: float, z: float) -> None:
    """Paint a person on a bicycle, mostly in bright clothes; both are the class rider."""
    camera, x = scene.camera, scene.x(across)
    ahead = float(scene.rng.choice([-1, 1])) * scene.uniform(0.55, 1)  # below 1: turned off the side view
    coat, helmet, frame = scene.pick(BRIGHT if scene.chance(0.6) else MUTED), scene.pick(BRIGHT), scene.pick(BRIGHT)
    for wheel in (-0.55, 0.55):
        camera.disc((x + wheel * ahead, 0.34, z), (0.34 * abs(ahead), 0.34), TYRE, RIDER, rim=0.07)
    saddle, pedal, bar = (x - 0.25 * ahead, 0.9, z), (x, 0.3, z), (x + 0.45 * ahead, 1.0, z)
    for start, end in ((saddle, pedal), (pedal, bar), (saddle, bar), (bar, (x + 0.55 * ahead, 0.34, z))):
        camera.line(start, end, 0.06, frame, RIDER)
    camera.line((x - 0.22 * ahead, 0.95, z), (x + 0.18 * ahead, 0.65, z), 0.18, scene.pick(MUTED), RIDER)
    camera.line((x + 0.18 * ahead, 0.65, z), (x + 0.02 * ahead, 0.25, z), 0.15, scene.pick(MUTED), RIDER)
    camera.line((x - 0.22 * ahead, 0.9, z), (x + 0.12 * ahead, 1.5, z), 0.4, coat, RIDER)
    camera.line((x + 0.12 * ahead, 1.42, z), (x + 0.45 * ahead, 1.02, z), 0.11, shade(coat, 0.85), RIDER)
    camera.disc((x + 0.2 * ahead, 1.66, z), (0.14, 0.16), scene.pick(SKIN), RIDER)
    camera.disc((x + 0.18 * ahead, 1.74, z), (0.16, 0.11), helmet, RIDER)
