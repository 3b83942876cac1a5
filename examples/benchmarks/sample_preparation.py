"""How long one core takes to prepare a training sample: read, crop, augment and scale to the network input.

    python examples/benchmarks/sample_preparation.py data/train/label.txt --images data/train/images

Every repetition prepares each image once. The figures are milliseconds an image: of the fastest repetition, which is
the least disturbed by other programs, and of the median one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from retinaface_cli.data.batches import collate_training
from retinaface_cli.data.datamodule import TrainingDataset
from retinaface_cli.data.images import load_training_data
from retinaface_cli.data.sampling import SampleKey
from retinaface_cli.settings.data import AUGMENTATIONS, DataSettings, LabelSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="label file")
    parser.add_argument("--images", type=Path, help="folder of the images")
    parser.add_argument("--image-size", type=int, default=640, help="side of the network input in pixels")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

    source = LabelSource(labels=options.labels, images=options.images)
    data = load_training_data(DataSettings(train=(source,), held_out=0))
    images = data.train[0].images
    print(data.train[0].summary)
    print(f"OpenCV {cv2.__version__}, one thread, {options.repetitions} repetitions\n")
    print(f"{'ms an image':<42}{'fastest':>9}{'median':>9}")
    report("decode whole images", len(images), options.repetitions, lambda _: [one.source.load_rgb() for one in images])
    for name, augmentation in AUGMENTATIONS.items():
        dataset = TrainingDataset(images, augmentation, image_size=options.image_size, seed=0)

        def prepare(epoch: int, dataset: TrainingDataset = dataset) -> None:
            for index in range(len(images)):
                dataset[SampleKey(epoch, index, index)]

        report(f"prepare samples, {name} augmentation", len(images), options.repetitions, prepare)
    samples = [dataset[SampleKey(0, index, index)] for index in range(min(16, len(images)))]
    report(f"collate a batch of {len(samples)}", len(samples), options.repetitions, lambda _: collate_training(samples))


def report(what: str, num_images: int, repetitions: int, work: Callable[[int], object]) -> None:
    """Times the work after one warm-up and prints a line; the work gets the number of the repetition."""
    work(0)
    times = []
    for repetition in range(repetitions):
        start = time.perf_counter()
        work(repetition)
        times.append(1000 * (time.perf_counter() - start) / num_images)
    print(f"{what:<42}{min(times):>9.2f}{statistics.median(times):>9.2f}", flush=True)


if __name__ == "__main__":
    main()
