"""Scoring of 470,000 seeded detections on all of WIDER FACE val, whole process.

    python examples/benchmarks/evaluate_speed.py GROUND_TRUTH [--repeats 3] [--protocol wider --protocol coco]

GROUND_TRUTH is the folder with the four .mat files. Three in ten detections lie near a face, with landmarks; the others
are anywhere with low scores. Writes predictions.json once, then runs `retinaface evaluate` on it and prints seconds
from the start of the process to its end, and processor seconds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retinaface_cli.commands.evaluate.truth import read_truth
from retinaface_cli.faces import FaceDetections, ImageDetections, ImageLabels
from retinaface_cli.formats import FaceTable, write_predictions

NUM_DETECTIONS = 470_000
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def invent(labels: Sequence[ImageLabels], num_detections: int) -> Iterator[ImageDetections]:
    """Detections for every image, more where there are more faces."""
    rng = np.random.default_rng(0)
    weights = np.array([len(image.faces) + 8.0 for image in labels])
    counts = rng.multinomial(num_detections, weights / weights.sum())
    for image, count in zip(labels, counts.tolist(), strict=True):
        faces = image.faces.boxes[rng.integers(0, max(len(image.faces), 1), count)]
        is_near = rng.random(count) < 0.3
        sides = np.maximum(faces[:, 2:] - faces[:, :2], 1)
        near = faces + rng.normal(0, 0.12, (count, 4)) * np.concatenate([sides, sides], axis=1)
        boxes = np.where(is_near[:, None], near, scattered(rng, count))
        scores = np.clip(np.where(is_near, rng.beta(2, 2, count), rng.beta(1, 12, count)), 0.02, 1)
        order = np.argsort(-scores)
        boxes = boxes[order]
        landmarks = boxes[:, None, :2] + (boxes[:, None, 2:] - boxes[:, None, :2]) * POINTS
        found = FaceDetections(boxes.astype(np.float32), landmarks.astype(np.float32), scores[order].astype(np.float32))
        yield ImageDetections(image.file_name, found, width=1024, height=768)


def scattered(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Boxes anywhere, most of them small."""
    corner = rng.uniform(0, 900, (count, 2))
    return np.concatenate([corner, corner + np.exp(rng.normal(3, 0.7, (count, 1))) * [1.0, 1.2]], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num-detections", type=int, default=NUM_DETECTIONS)
    parser.add_argument("--protocol", action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.json")
        write_predictions(
            path,
            FaceTable.from_images(
                invent(read_truth(options.ground_truth).faces.label_images(), options.num_detections)
            ),
            format_name="json",
        )
        print(f"{path.name}: {options.num_detections:,} detections, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        command = [sys.executable, "-m", "retinaface_cli", "evaluate", "--predictions", str(path)]
        command += ["--labels", str(options.ground_truth), "-o", f"{folder}/out", "--overwrite"]
        command += [word for protocol in options.protocol for word in ("--protocol", protocol)]
        seconds = []
        for _ in range(options.repeats):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - started)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{seconds[-1]:.2f} s, processor {spent:.2f} s", flush=True)
        print(f"median {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
