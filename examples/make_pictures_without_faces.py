r"""Makes training pictures without faces: objects and animals, cut out, on pieces of landscapes and patterns.

    python examples/make_pictures_without_faces.py --stamps STAMPS --backgrounds FOLDER [FOLDER ...] -o without_faces

A detector that has seen few things besides people takes wheels, animals and textures for faces. STAMPS is a folder of
cut-out pictures (PNG with transparency), FOLDER one of photographs or paintings without people, both searched with all
folders inside. README.md's figures are with those of these Debian packages, all under free licences:

    apt-get download tuxpaint-stamps-default plasma-workspace-wallpapers gnome-backgrounds mate-backgrounds \
        ukui-wallpapers
    for package in *.deb; do dpkg-deb -x $package ${package%%_*}; done

Everything whose path hints at people is left out (see NOT_TAKEN): look through the result all the same. It holds the
pictures and labels.json, which says of each that it has no faces.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

# fmt: off
NOT_TAKEN = (
    "screenshot", "symbols/faces", "alphabets", "math", "money", "people", "cartoon", "halloween", "christmas",
    "easter", "hanukkah", "gorilla", "chimp", "monkey", "orang", "baboon", "mandrill", "spacewalk", "puppet", "doll",
    "statue", "liberty", "rushmore", "buddha", "sphinx", "mask", "flags",
)
# fmt: on
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
CANVAS_SIZES = ((480, 640), (600, 800), (512, 512))
LONG_SIDE = 1280
MIN_SIDE = 300
PLAIN_PART = 0.3
"""Part of the cut-out objects that are put on one colour instead of a picture."""


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder that may be taken, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return [path for path in paths if not any(word in path.as_posix().lower() for word in NOT_TAKEN)]


def read_backgrounds(folders: Sequence[Path]) -> Iterator[Image]:
    """Each picture once, at most LONG_SIDE pixels long; of one picture in several sizes, the largest file."""
    largest: dict[str, Path] = {}
    for folder in folders:
        for path in find_pictures(folder):
            name = path.parent.parent.as_posix() if path.parent.name.startswith("images") else path.as_posix()
            if name not in largest or path.stat().st_size > largest[name].stat().st_size:
                largest[name] = path
    for path in largest.values():
        image = cv2.imread(str(path))
        if image is not None and min(image.shape[:2]) >= MIN_SIDE:
            factor = min(1.0, LONG_SIDE / max(image.shape[:2]))
            yield cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[misc]


def make_canvas(backgrounds: Sequence[Image], random: np.random.Generator) -> Image:
    """A piece of a background, or one colour."""
    height, width = CANVAS_SIZES[random.integers(len(CANVAS_SIZES))]
    background = backgrounds[random.integers(len(backgrounds))]
    top, left = (
        random.integers(max(1, background.shape[0] - height)),
        random.integers(max(1, background.shape[1] - width)),
    )
    piece = cv2.resize(background[top : top + height, left : left + width], (width, height))
    if random.random() < PLAIN_PART:
        piece[:] = random.integers(120, 256, 3)
    return piece  # type: ignore[return-value]


def paste(canvas: Image, stamp: Image, random: np.random.Generator) -> None:
    """Puts a picture with transparency somewhere on the canvas, as large as half the canvas to all of it."""
    height, width = canvas.shape[:2]
    factor = min(2.0, random.uniform(0.5, 0.98) * min(height / stamp.shape[0], width / stamp.shape[1]))
    small = cv2.resize(stamp, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    opacity = small[..., 3:] / 255
    rows, columns = small.shape[:2]
    top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
    place = canvas[top : top + rows, left : left + columns]
    place[:] = (small[..., :3] * opacity + place * (1 - opacity)).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, required=True)
    parser.add_argument("--backgrounds", type=Path, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    backgrounds = list(read_backgrounds(options.backgrounds))
    if not backgrounds:
        parser.error(f"--backgrounds: no pictures of at least {MIN_SIDE} pixels in {options.backgrounds}")
    random = np.random.default_rng(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    images = [(f"background_{number:03d}.jpg", image) for number, image in enumerate(backgrounds)]
    for path in find_pictures(options.stamps):
        stamp = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stamp is not None and stamp.ndim == 3 and stamp.shape[2] == 4:
            canvas = make_canvas(backgrounds, random)
            paste(canvas, stamp, random)  # type: ignore[arg-type]
            images.append((f"stamp_{len(images) - len(backgrounds):03d}.jpg", canvas))
    for name, image in images:
        cv2.imwrite(str(options.output / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    labels = [{"file_name": name, "annotations": []} for name, _ in images]
    (options.output / "labels.json").write_text(json.dumps(labels, indent=1))
    print(f"{options.output}: {len(images)} pictures without faces, {len(backgrounds)} of them backgrounds alone")


if __name__ == "__main__":
    main()
