"""The images and labels of a training run, read and checked before the first step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retinaface_cli.data.headers import read_image_size
from retinaface_cli.data.pixel_budget import PixelBudget
from retinaface_cli.data.sources import ShardIndex, Source
from retinaface_cli.errors import ImageReadError, LabelFormatError, count_of, shown, some_of
from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable, read_labels
from retinaface_cli.settings.data import DataSettings, LabelSource

_NUM_THREADS = 8
"""Threads that look at files; they mostly wait for the disk."""

_MAX_LISTED = 3
"""Number of files named in one message."""


@dataclass(frozen=True, eq=False)
class Image:
    """One labelled image that is there and can be read.

    Attributes:
        source: where it lies.
        file_name: its name in the label file.
        size: (height, width) in pixels, upright by EXIF.
        faces: in pixels of the image, boxes clipped to it.
    """

    source: Source
    file_name: str
    size: tuple[int, int]
    faces: FaceLabels


@dataclass(frozen=True, eq=False)
class ImageSource:
    """The images of one label file.

    Attributes:
        labels: the label file.
        format_name: of the label file.
        images: in the file's order.
        weight: how often an epoch shows each of them.
        findings: what is odd about the labels or was left out, one line each, for the user.
    """

    labels: Path
    format_name: str
    images: tuple[Image, ...]
    weight: float
    findings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line: number of images, faces, and faces with landmarks or ignored."""
        faces = [image.faces for image in self.images]
        num_faces = sum(map(len, faces))
        num_landmarks = sum(int(np.sum(labels.has_landmarks.any(axis=1))) for labels in faces)
        num_ignored = sum(int(np.sum(labels.ignore)) for labels in faces)
        num_empty = sum(len(labels) == 0 for labels in faces)
        return (
            f"{self.labels} ({self.format_name}): "
            f"{count_of(len(faces), 'image')}, {num_empty:,} of them without faces; "
            f"{count_of(num_faces, 'face')}, {num_landmarks:,} with landmarks, {num_ignored:,} ignored"
        )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All images of a run.

    Attributes:
        train: to learn from.
        validation: to measure on; empty where the settings ask for none.
    """

    train: tuple[ImageSource, ...]
    validation: tuple[ImageSource, ...]

    @property
    def has_validation_faces(self) -> bool:
        """Whether there is a face to measure on."""
        return any(_count_usable(source) for source in self.validation)

    @property
    def findings(self) -> tuple[str, ...]:
        """What the user should know before the first step, one line each."""
        found = [line for source in (*self.train, *self.validation) for line in source.findings]
        trained = {_place(image) for source in self.train for image in source.images}
        measured = [image for source in self.validation for image in source.images]
        shared = [image.source.place for image in measured if _place(image) in trained]
        if shared:
            found.append(f"{len(shared)} of {len(measured)} validation images are trained on, too{_list(shared)}")
        return tuple(dict.fromkeys(found))

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any name, size or label of the data."""
        digest = hashlib.sha256()
        for source in (*self.train, *self.validation):
            digest.update(f"{source.weight} {len(source.images)}\n".encode())
            for image in source.images:
                digest.update(f"{image.file_name} {image.size}\n".encode())
                digest.update(image.faces.boxes.tobytes() + image.faces.landmarks.tobytes())
                digest.update(image.faces.ignore.tobytes())
        return digest.hexdigest()[:16]


def load_training_data(settings: DataSettings) -> TrainingData:
    """Reads all label files and looks at the head of every image.

    Raises:
        LabelFormatError: a label file cannot be understood or has no images, or there is no face to learn from.
        ImageReadError: images are missing or cannot be read.
    """
    data = _load_and_split(settings)
    if not any(_count_usable(source) for source in data.train):
        names = ", ".join(str(source.labels) for source in data.train)
        raise LabelFormatError(f"{names}: no face to learn from: no image has one that is not ignored")
    return data


def _load_and_split(settings: DataSettings) -> TrainingData:
    train = tuple(_load_source(source, skip_unreadable=settings.skip_unreadable) for source in settings.train)
    if settings.validation:
        validation = (_load_source(source, skip_unreadable=settings.skip_unreadable) for source in settings.validation)
        return TrainingData(train, tuple(validation))
    if settings.held_out == 0:
        return TrainingData(train, ())
    halves = [_hold_out(source, settings.held_out) for source in train]
    return TrainingData(tuple(kept for kept, _ in halves), tuple(held for _, held in halves if held.images))


def _count_usable(source: ImageSource) -> int:
    """Faces that are not ignored, and of which a part lies in the image."""
    return sum(
        int(np.sum(~image.faces.ignore & np.all(image.faces.boxes[:, 2:] > image.faces.boxes[:, :2], axis=1)))
        for image in source.images
    )


def _load_source(source: LabelSource, *, skip_unreadable: bool) -> ImageSource:
    """Reads one label file and checks its images."""
    label_set = read_labels(source.labels, split=source.split, images=source.images, classes=source.classes)
    labelled = label_set.label_images()
    if not labelled:
        raise LabelFormatError(f"{source.labels}: holds no images")
    places = _find_places(source, label_set)
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        measured = list(threads.map(partial(_measure, places.find, PixelBudget()), label_set.file_names))
    broken = [found for found in measured if isinstance(found, ImageReadError)]
    findings = [_name_file(finding.describe(), source.labels) for finding in label_set.findings]
    if broken:
        message = f"{source.labels}: {len(broken)} of {len(labelled)} images cannot be read{_list(broken)}"
        message = "; ".join([message, *places.problems])
        if len(broken) == len(labelled):
            raise ImageReadError(f"{message}; {places.advice}")
        if not skip_unreadable:
            raise ImageReadError(f"{message}; mend them, or leave them out with data.skip_unreadable=true")
        findings.append(f"{message}; left out")
    else:
        findings += places.problems
    pairs = [
        (image, *found)
        for image, found in zip(labelled, measured, strict=True)
        if not isinstance(found, ImageReadError)
    ]
    other_size = [image.file_name for image, _, size in pairs if _differs(image, size)]
    if other_size:
        findings.append(
            f"{source.labels}: {len(other_size)} of {len(pairs)} images have another size than the labels say"
            f"{_list(other_size)}"
        )
    images_found = [Image(place, image.file_name, size, _clip_faces(image.faces, size)) for image, place, size in pairs]
    return ImageSource(source.labels, label_set.format_name, tuple(images_found), source.weight, tuple(findings))


class _Places(NamedTuple):
    """Where the images of a label file are looked for.

    Attributes:
        find: gives the image of a name; raises ImageReadError.
        advice: what to do where none is found.
        problems: shards that are missing or break off, one line each.
    """

    find: Callable[[str], Source]
    advice: str
    problems: tuple[str, ...] = ()


def _find_places(source: LabelSource, label_set: FaceTable) -> _Places:
    """The shards that the settings name, or the folder of the images."""
    if source.shards is None:
        root = source.labels.parent if label_set.image_root is None else label_set.image_root
        return _Places(lambda name: Source(root / name, name), "name their folder with `images` beside `labels`")
    index = ShardIndex.read(source.shards)
    problems = tuple(f"{shown(problem.name)}: {problem.reason}" for problem in index.problems)
    return _Places(index.find, "labels name images by their paths in the shards", problems)


def _measure(
    find: Callable[[str], Source], budget: PixelBudget, name: str
) -> tuple[Source, tuple[int, int]] | ImageReadError:
    """The image of a name with its size, or why it cannot be used."""
    try:
        source = find(name)
        return source, read_image_size(source, budget)
    except ImageReadError as error:
        return error


def _place(image: Image) -> tuple[Path, str]:
    """What tells an image from others: its file, and its name where that is a shard."""
    return image.source.path.resolve(), image.source.name if image.source.shard else ""


def _differs(image: ImageLabels, size: tuple[int, int]) -> bool:
    """Whether the label file states another size than the image has."""
    return image.width is not None and image.height is not None and (image.height, image.width) != size


def _clip_faces(faces: FaceLabels, size: tuple[int, int]) -> FaceLabels:
    """Faces with boxes clipped to an image of (height, width) pixels."""
    height, width = size
    return replace(faces, boxes=np.clip(faces.boxes, 0, np.array([width, height, width, height], np.float32)))


def _hold_out(source: ImageSource, part: float) -> tuple[ImageSource, ImageSource]:
    """Splits a source in what is kept for training and what is held out.

    The images are chosen by a hash of their names, so that the choice depends on nothing else and changes little when
    images are added.
    """
    by_hash = sorted(source.images, key=lambda image: hashlib.sha256(image.file_name.encode()).digest())
    num_held = min(round(part * len(by_hash)) or 1, len(by_hash) - 1)
    held = {image.file_name for image in by_hash[:num_held]}
    kept_part = tuple(image for image in source.images if image.file_name not in held)
    held_part = tuple(image for image in source.images if image.file_name in held)
    return replace(source, images=kept_part), replace(source, images=held_part, weight=1.0, findings=())


def _name_file(finding: str, labels: Path) -> str:
    """The finding with the label file's name in front, unless its examples name it anyway."""
    return finding if str(labels) in finding else f"{labels}: {finding}"


def _list(items: Sequence[object]) -> str:
    """`: a, b, c and 4 more`."""
    return f": {some_of([str(item) for item in items], max_listed=_MAX_LISTED)}"
