"""Makes the images of examples/images and their labels from two free portraits.

Needs scikit-image (`pip install scikit-image`), which carries one of the portraits; matplotlib carries the other.
Run it from anywhere: python examples/make_example_images.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib.cbook
import numpy as np
import numpy.typing as npt
import skimage.data

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable, write_labels
from retinaface_cli.visualization.image_files import save_image

Canvas = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Portrait:
    """An image (H, W, 3) of one face, its box x_min, y_min, x_max, y_max and its five points, set by hand."""

    image: Canvas
    box: tuple[float, float, float, float]
    points: tuple[tuple[float, float], ...]

    def cut(self, left: int, top: int, right: int, bottom: int) -> Portrait:
        """The part of the portrait between these pixels."""
        x1, y1, x2, y2 = self.box
        return Portrait(
            self.image[top:bottom, left:right],
            (x1 - left, y1 - top, x2 - left, y2 - top),
            tuple((x - left, y - top) for x, y in self.points),
        )

    def mirror(self) -> Portrait:
        """Left and right swapped."""
        width = self.image.shape[1]
        x1, y1, x2, y2 = self.box
        points = [self.points[index] for index in LANDMARK_MIRROR_ORDER]
        return Portrait(self.image[:, ::-1], (width - x2, y1, width - x1, y2), tuple((width - x, y) for x, y in points))

    def tint(self, color: tuple[float, float, float] | None, brightness: float) -> Portrait:
        """Darker or brighter, and printed in shades of one color if one is given."""
        image = self.image * brightness
        if color is not None:
            image = image @ np.array([[0.299], [0.587], [0.114]], np.float32) * np.array(color, np.float32)
        return Portrait(np.clip(image, 0, 255).astype(np.float32), self.box, self.points)


@dataclass(frozen=True)
class Print:
    """How a portrait lies in an image: middle and height in pixels, turned clockwise by degrees, its border."""

    x: float
    y: float
    height: float
    degrees: float = 0.0
    mirrored: bool = False
    brightness: float = 1.0
    color: tuple[float, float, float] | None = None
    border: float = 0.06
    border_color: tuple[float, float, float] = (236, 232, 222)
    shadow: float = 0.5


def load_portraits() -> tuple[Portrait, Portrait]:
    """Eileen Collins and Grace Hopper."""
    collins = Portrait(
        np.asarray(skimage.data.astronaut()).astype(np.float32),
        (180.8, 63.5, 271.3, 179.8),
        ((204.8, 100.5), (247.0, 103.2), (223.5, 126.0), (205.0, 139.8), (245.0, 141.5)),
    )
    hopper_path = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    hopper = Portrait(
        load_rgb(hopper_path).astype(np.float32),
        (178.3, 126.0, 357.0, 327.3),
        ((224.0, 189.8), (306.3, 187.3), (265.8, 238.5), (230.8, 279.8), (303.3, 278.5)),
    )
    return collins, hopper


def lay(canvas: Canvas, portrait: Portrait, placed: Print) -> tuple[Canvas, FaceLabels]:
    """The canvas with a print on it, and where its face is now."""
    portrait = (portrait.mirror() if placed.mirrored else portrait).tint(placed.color, placed.brightness)
    factor = placed.height / portrait.image.shape[0]
    size = (max(1, round(portrait.image.shape[1] * factor)), round(placed.height))
    small = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    border = round(placed.border * placed.height)
    framed = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_CONSTANT, value=placed.border_color)
    height, width = framed.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -placed.degrees, 1.0)
    turn[:, 2] += (placed.x - width / 2, placed.y - height / 2)
    target = (canvas.shape[1], canvas.shape[0])
    ink = cv2.warpAffine(framed, turn, target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.ones(framed.shape[:2], np.float32), turn, target, flags=cv2.INTER_LINEAR)[:, :, None]
    depth = max(2.0, 0.03 * placed.height)
    shadow = cv2.GaussianBlur(np.roll(mask[:, :, 0], (round(depth), round(0.6 * depth)), (0, 1)), (0, 0), depth)
    shaded = canvas * (1 - placed.shadow * shadow[:, :, None])
    return shaded * (1 - mask) + ink * mask, move_face(portrait, factor, border, turn)


def move_face(portrait: Portrait, factor: float, border: int, turn: npt.NDArray[Any]) -> FaceLabels:
    """The face of a portrait that was scaled, framed and turned; its box is that of a turned ellipse."""
    offset = border - 0.5  # the matrix counts from the middle of the first pixel
    points = np.array(portrait.points) * factor + offset
    x1, y1, x2, y2 = (value * factor + offset for value in portrait.box)
    center = turn @ np.array([(x1 + x2) / 2, (y1 + y2) / 2, 1])
    half = np.sqrt((turn[:, :2] ** 2) @ np.array([((x2 - x1) / 2) ** 2, ((y2 - y1) / 2) ** 2]))
    moved = points @ turn[:, :2].T + turn[:, 2] + 0.5
    return FaceLabels(
        boxes=np.round(np.concatenate([center - half, center + half])[None] + 0.5, 1).astype(np.float32),
        landmarks=np.round(moved[None], 1).astype(np.float32),
        has_landmarks=np.ones((1, 5), np.bool_),
        ignore=np.zeros(1, np.bool_),
    )


def noise(generator: np.random.Generator, size: tuple[int, int], *, grain: float, stretch: float = 1.0) -> Canvas:
    """(H, W, 1) soft random spots of about `grain` pixels, standard deviation 1, drawn out along x by `stretch`."""
    raw = generator.normal(size=size).astype(np.float32)
    soft = cv2.GaussianBlur(raw, (0, 0), sigmaX=grain * stretch, sigmaY=grain, borderType=cv2.BORDER_REFLECT)
    spots: Canvas = (soft / soft.std())[:, :, None]
    return spots


def make_gallery(collins: Portrait, hopper: Portrait) -> tuple[Canvas, list[FaceLabels]]:
    """Framed portraits of many sizes on a plastered wall, lit from above."""
    generator = np.random.default_rng(1)
    size = (660, 960)
    light = np.linspace(1.06, 0.84, size[0], dtype=np.float32)[:, None, None]
    wall = np.array([203, 196, 180], np.float32) * light
    canvas = wall + 2.5 * noise(generator, size, grain=1.5) + 3 * noise(generator, size, grain=20)
    gold, wood, black = (176.0, 140.0, 74.0), (94.0, 62.0, 40.0), (30.0, 30.0, 32.0)
    bust = collins.cut(96, 6, 340, 306)
    sepia, grey = (1.0, 0.86, 0.68), (1.0, 1.0, 1.0)
    prints = [
        (hopper, Print(190, 190, 320, border=0.05, border_color=gold)),
        (bust, Print(474, 180, 240, mirrored=True, border_color=black)),
        (collins, Print(774, 190, 256, border=0.05, border_color=wood)),
        (hopper, Print(84, 528, 130, mirrored=True, color=grey, border_color=black)),
        (bust, Print(240, 515, 152, color=sepia, border_color=wood)),
        (hopper, Print(440, 470, 190, degrees=1.5, brightness=0.85, border_color=wood)),
        (collins, Print(635, 440, 165, mirrored=True, color=grey, border_color=gold)),
        (bust, Print(782, 440, 100, border_color=black)),
        (hopper, Print(888, 440, 110, color=sepia, degrees=-2, border_color=gold)),
        (bust, Print(765, 570, 84, mirrored=True, border_color=gold)),
        (hopper, Print(875, 570, 84, mirrored=True, border_color=wood)),
        (bust, Print(610, 585, 76, border_color=black)),
    ]
    return lay_all(canvas, prints)


def make_table(collins: Portrait, hopper: Portrait) -> tuple[Canvas, list[FaceLabels]]:
    """Snapshots thrown on a wooden table by lamplight: dark, and turned this way and that."""
    generator = np.random.default_rng(2)
    size = (768, 1024)
    wood = np.array([120, 78, 46], np.float32) * np.ones((*size, 1), np.float32)
    fibres = 14 * noise(generator, size, grain=1.2, stretch=60) + 10 * noise(generator, size, grain=6, stretch=30)
    planks = 1 - 0.6 * (np.arange(size[0]) % 128 < 3)[:, None, None]
    canvas = (wood + fibres * np.array([1, 0.8, 0.6], np.float32)) * planks.astype(np.float32)
    bust, face = collins.cut(96, 6, 340, 306), hopper.cut(110, 10, 420, 390)
    prints = [
        (collins, Print(230, 210, 290, degrees=-14)),
        (face, Print(560, 190, 240, degrees=9, mirrored=True)),
        (bust, Print(845, 215, 220, degrees=24)),
        (hopper, Print(180, 575, 230, degrees=17)),
        (bust, Print(420, 540, 170, degrees=-30, mirrored=True, brightness=0.8)),
        (face, Print(640, 520, 150, degrees=-8, brightness=1.1)),
        (collins, Print(860, 560, 260, degrees=6, mirrored=True)),
        (face, Print(520, 690, 90, degrees=-18)),
    ]
    canvas, faces = lay_all(canvas, prints)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    lamp = np.exp(-((rows - 300) ** 2 + (columns - 430) ** 2) / (2 * 420.0**2))[:, :, None]
    return canvas * (0.16 + 0.42 * lamp) * np.array([1, 0.93, 0.8], np.float32), faces


def make_yearbook(collins: Portrait, hopper: Portrait) -> tuple[Canvas, list[FaceLabels]]:
    """A page of sixty small portraits, no two lit alike."""
    generator = np.random.default_rng(3)
    size = (920, 900)
    canvas = np.full((*size, 3), 240, np.float32) + 1.5 * noise(generator, size, grain=0.8)
    cuts = [collins.cut(130, 20, 315, 250), hopper.cut(110, 10, 430, 408)]
    prints = [
        (
            cuts[int(generator.integers(2))],
            Print(
                x=62 + column * 86,
                y=90 + row * 148,
                height=float(generator.uniform(64, 92)),
                degrees=float(generator.normal(0, 3)),
                mirrored=bool(generator.integers(2)),
                brightness=float(generator.uniform(0.55, 1.15)),
                color=(1.0, 1.0, 1.0) if generator.integers(4) == 0 else None,
                border=0.0,
                shadow=0.25,
            ),
        )
        for row in range(6)
        for column in range(10)
    ]
    return lay_all(canvas, prints)


def lay_all(canvas: Canvas, prints: list[tuple[Portrait, Print]]) -> tuple[Canvas, list[FaceLabels]]:
    """Lays prints one on the other."""
    faces = []
    for portrait, placed in prints:
        canvas, face = lay(canvas, portrait, placed)
        faces.append(face)
    return canvas, faces


def join(faces: list[FaceLabels]) -> FaceLabels:
    """The faces of one image."""
    return FaceLabels(
        boxes=np.concatenate([face.boxes for face in faces]),
        landmarks=np.concatenate([face.landmarks for face in faces]),
        has_landmarks=np.concatenate([face.has_landmarks for face in faces]),
        ignore=np.concatenate([face.ignore for face in faces]),
    )


def main() -> None:
    """Writes the images and labels.json."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "images"
    collins, hopper = load_portraits()
    images = {
        "astronaut.jpg": (collins.image, [whole(collins)]),
        "grace_hopper.jpg": (hopper.image, [whole(hopper)]),
        "gallery.jpg": make_gallery(collins, hopper),
        "table.jpg": make_table(collins, hopper),
        "yearbook.jpg": make_yearbook(collins, hopper),
    }
    labels = []
    for name, (canvas, faces) in images.items():
        height, width = canvas.shape[:2]
        save_image(folder / name, np.clip(np.rint(canvas), 0, 255).astype(np.uint8), quality=88)
        labels.append(ImageLabels(name, join(faces), width=width, height=height))
        print(f"{folder / name}: {width} x {height}, {len(faces)} faces")
    write_labels(folder / "labels.json", FaceTable.from_images(labels), format_name="json", force=True)


def whole(portrait: Portrait) -> FaceLabels:
    """The face of a portrait in its own image."""
    return move_face(portrait, 1.0, 0, np.eye(2, 3))


if __name__ == "__main__":
    main()
