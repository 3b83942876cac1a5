"""Counts what a detector takes for faces in free images without any.

    python examples/benchmarks/false_positives.py [-w WEIGHTS] [--threshold 0.7] [--max-size 960] [--precision 32]
        [--rescore]

Needs scikit-image (`pip install scikit-image`), which carries the images: textures, objects, an animal, microscopy,
the sky, printed pages. Each is looked at whole and in four quarters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage

from retinaface_cli import FaceDetector
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.faces import RgbImage

# fmt: off
NAMES = (
    "brick.png", "cell.png", "chelsea.png", "chessboard_GRAY.png", "chessboard_RGB.png", "clock_motion.png",
    "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg",
    "ihc.png", "logo.png", "microaneurysms.png", "moon.png", "motorcycle_left.png", "motorcycle_right.png",
    "page.png", "phantom.png", "retina.jpg", "rocket.jpg", "text.png",
)
# fmt: on


def find_views(image: RgbImage) -> Iterator[RgbImage]:
    """The image and its quarters."""
    yield image
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    for top in (0, rows):
        for left in (0, columns):
            yield np.ascontiguousarray(image[top : top + rows, left : left + columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-w", "--weights", default="yunet")
    parser.add_argument("--threshold", type=float, default=0.7, help="score above which a face counts")
    parser.add_argument("--max-size", type=int, default=960, help="longest side in pixels")
    parser.add_argument("--precision", default="32", help="32, 16, bf16 or auto")
    parser.add_argument("--rescore", action="store_true")
    options = parser.parse_args()
    detector = FaceDetector.load(
        options.weights,
        max_size=options.max_size,
        score_threshold=options.threshold,
        precision=options.precision,
        rescore=options.rescore,
    )
    num_views, num_found, in_wholes = 0, 0, 0
    for name in NAMES:
        for index, view in enumerate(find_views(load_rgb(Path(skimage.__file__).parent / "data" / name))):
            faces = detector.detect(view)
            num_views += 1
            num_found += len(faces)
            in_wholes += len(faces) if index == 0 else 0
            if len(faces):
                place = "whole" if index == 0 else f"quarter {index}"
                print(f"{name}, {place}: scores {', '.join(f'{score:.2f}' for score in faces.scores)}")
    print(f"{num_found} false positives in {num_views} images; {in_wholes} in the {len(NAMES)} whole ones")


if __name__ == "__main__":
    main()
