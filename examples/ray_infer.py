"""Faces of many images with Ray Data, as rows of Parquet.

    pip install 'ray[data]' retinaface-cli
    python examples/ray_infer.py examples/images runs/ray -w mobilenet0.25 --num-workers 2

Each worker holds one detector, which it loads once. IMAGES is a folder on a disk that all workers see, or any address
that Ray reads (`s3://bucket/folder`). Started with `ray job submit` on a cluster, the script uses the cluster. The
columns are those of `retinaface infer --save parts`, with the image's path as its name.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import ray

from retinaface_cli import FaceDetector


class FindFaces:
    """A worker of map_batches."""

    def __init__(self, weights: str, options: dict[str, Any]) -> None:
        self._detector = FaceDetector.load(weights, **options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Finds the faces of images of any sizes."""
        images = [np.asarray(image, np.uint8) for image in batch["image"]]
        faces = self._detector.detect_batch(images)
        return {
            "name": list(batch["path"]),
            "width": [image.shape[1] for image in images],
            "height": [image.shape[0] for image in images],
            "boxes": [found.boxes.tolist() for found in faces],
            "scores": [found.scores.tolist() for found in faces],
            "landmarks": [found.landmarks.tolist() for found in faces],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("output")
    parser.add_argument("-w", "--weights", default="mobilenet0.25")
    parser.add_argument("--max-size", type=int, default=960)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--num-cpus", type=float, default=0.5, help="of each worker; some must be left for reading")
    parser.add_argument("--num-gpus", type=float, default=0, help="of each worker; .5 lets two share a GPU")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    arguments = (options.weights, {"max_size": options.max_size})
    images = ray.data.read_images(options.images, include_paths=True, mode="RGB")
    rows = images.map_batches(
        FindFaces,
        fn_constructor_args=arguments,
        batch_size=options.batch_size,
        concurrency=options.num_workers,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
    )
    rows.write_parquet(options.output)


if __name__ == "__main__":
    main()
