"""The albumentations pipeline that every training image goes through, with its boxes and landmarks."""

from __future__ import annotations

import difflib
import os
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, NUM_LANDMARKS, BoolArray, FaceLabels, FloatArray, RgbImage
from retinaface_cli.settings.data import (
    AugmentationSettings,
    ColorSettings,
    TransformSettings,
)

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer version
import albumentations as A

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""

_RGB_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""Brightness and two colour axes; turning the latter turns the hue (NTSC, 1953)."""

_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)

_MARKERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
"""Corner of a unit frame that goes through the pipeline as key points; it shows size and mirroring of the whole."""

_CENTER = NUM_LANDMARKS
_POINTS_A_FACE = NUM_LANDMARKS + 5
"""The landmarks, the centre of the whole box, and the corners of what is seen of it."""

_MIN_SIDE = 0.01
"""Boxes with a visible side below this many network pixels are gone."""


class ColorMatrix(A.ImageOnlyTransform):  # type: ignore[misc]
    """Brightness, contrast, saturation and hue as one linear map of the colours, and gamma.

    One pass over the image in uint8 replaces the ways to HSV and back.
    """

    def __init__(self, color: ColorSettings, *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.color = color

    def get_params(self) -> dict[str, Any]:
        """Draws the map: matrix (3, 4) of the colours, and the exponent."""
        color = self.color
        hue = np.deg2rad(self._draw(-color.hue, color.hue, 0.0))
        saturation = self._draw(*color.saturation, 1.0)
        contrast = self._draw(*color.contrast, 1.0)
        brightness = self._draw(-color.brightness, color.brightness, 0.0)
        turn = np.array([[1, 0, 0], [0, np.cos(hue), -np.sin(hue)], [0, np.sin(hue), np.cos(hue)]])
        turn[1:] *= saturation
        matrix = contrast * (_YIQ_TO_RGB @ turn @ _RGB_TO_YIQ)
        return {
            "matrix": np.hstack([matrix, np.full((3, 1), brightness)]).astype(np.float32),
            "gamma": self._draw(*color.gamma, 1.0),
        }

    def apply(self, img: RgbImage, matrix: FloatArray, gamma: float, **_: Any) -> RgbImage:
        """The image (H, W, 3) uint8 with its colours mapped."""
        result = img
        if not np.array_equal(matrix, np.eye(3, 4, dtype=np.float32)):
            result = cv2.transform(result, matrix)  # type: ignore[assignment]
        if gamma != 1.0:
            table = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
            result = cv2.LUT(result, table)  # type: ignore[assignment]
        return result

    def _draw(self, low: float, high: float, neutral: float) -> float:
        """A value from the range with the settings' probability, else the one that changes nothing."""
        if low == high == neutral or self.py_random.random() >= self.color.probability:
            return neutral
        return float(self.py_random.uniform(low, high))


class Augmentation:
    """Changes an image of network size at random, and its faces with it."""

    def __init__(self, settings: AugmentationSettings, *, image_size: int) -> None:
        """Builds the pipeline of albumentations.

        Args:
            settings: what is done, and which faces become ignored.
            image_size: side of the images in pixels.

        Raises:
            SettingsError: an extra transform is unknown, has wrong arguments, or changes size or type of the image.
        """
        self.settings = settings
        self.image_size = image_size
        transforms = [*_build_transforms(settings), *_build_extra(settings.extra, image_size=image_size)]
        self._pipeline = _compose(transforms)

    def __call__(
        self, image: RgbImage, faces: FaceLabels, *, content: FloatArray, rng: np.random.Generator
    ) -> tuple[RgbImage, FaceLabels]:
        """Augments one image.

        A landmark stays with its point of the face when the image is turned; when it is mirrored, left and right
        swap. Landmarks that leave the image become missing; faces that are cut too much or too small are ignored, and
        only those of which nothing is left are gone.

        Args:
            image: (S, S, 3) uint8 RGB.
            faces: in pixels of the image; they may reach past it.
            content: (4,) the part of `image` in which there is an image; the rest is filled.
            rng: source of all random numbers.

        Returns:
            The new image (S, S, 3) uint8 and the faces in its pixels, boxes clipped to it.
        """
        boxes = _clip(faces.boxes, content)
        kept = np.flatnonzero(np.all(boxes[:, 2:] - boxes[:, :2] >= _MIN_SIDE, axis=-1))
        faces, boxes = faces.select(kept), boxes[kept]
        centers = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        centered = np.all((centers > content[:2]) & (centers < content[2:]), axis=-1)
        points = np.concatenate([faces.landmarks, centers[:, None], _corners(boxes)], axis=1)  # (N, 10, 2)
        self._pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        moved = _run(self._pipeline, image, boxes, points)
        centered &= self._is_inside(moved.points[:, _CENTER])
        visibility = _areas(moved.boxes) / np.maximum(_areas(faces.boxes) * moved.area_factor, 1e-9)
        is_small = (
            np.min(moved.boxes[:, 2:] - moved.boxes[:, :2], axis=-1, initial=np.inf) < self.settings.min_face_size
        )
        is_cut = (visibility < self.settings.min_visibility) | ~centered | moved.is_removed
        order = list(LANDMARK_MIRROR_ORDER) if moved.is_mirrored else list(range(NUM_LANDMARKS))
        landmarks = moved.points[:, order]
        has_landmarks = faces.has_landmarks[:, order] & self._is_inside(landmarks)
        result = FaceLabels(
            boxes=moved.boxes,
            landmarks=np.where(has_landmarks[..., None], landmarks, np.nan),
            has_landmarks=has_landmarks,
            ignore=faces.ignore | is_small | is_cut,
            attributes=faces.attributes,
        )
        return moved.image, result.select(_areas(moved.boxes) > 0)

    def _is_inside(self, points: FloatArray) -> BoolArray:
        """(...) whether points (..., 2) lie in the image; missing ones do not."""
        result: BoolArray = np.all((points >= 0) & (points <= self.image_size), axis=-1)
        return result


def known_transforms() -> dict[str, type[A.BasicTransform]]:
    """The transforms of albumentations that settings may name."""
    bases = (A.ImageOnlyTransform, A.DualTransform)
    return {
        name: value
        for name, value in vars(A).items()
        if isinstance(value, type) and issubclass(value, bases) and value not in bases and not name.startswith("Base")
    }


def _build_transforms(settings: AugmentationSettings) -> Iterator[A.BasicTransform]:
    """The transforms that the settings have groups for, those with a chance of 0 left out."""
    flip, affine, color, quality = settings.flip, settings.affine, settings.color, settings.quality
    yield A.HorizontalFlip(p=flip.horizontal)  # even with a chance of 0: a pipeline for boxes needs one that moves them
    if flip.rotate90 > 0:
        yield A.RandomRotate90(p=flip.rotate90)
    if flip.transpose > 0:
        yield A.Transpose(p=flip.transpose)
    if affine.probability > 0:
        yield A.Affine(
            rotate=(-affine.max_angle, affine.max_angle),
            scale=affine.scale,
            translate_percent=(-affine.max_shift, affine.max_shift),
            rotate_method="ellipse",  # the corners of a turned box lie outside the face
            fill=settings.fill,
            p=affine.probability,
        )
    if color.probability > 0:
        yield ColorMatrix(color)
    if quality.blur_probability > 0:
        yield A.GaussianBlur(blur_limit=0, sigma_limit=quality.blur_sigma, p=quality.blur_probability)
    if quality.noise_probability > 0:
        low, high = quality.noise_std
        yield A.GaussNoise(std_range=(low / 255, high / 255), p=quality.noise_probability)
    if quality.jpeg_probability > 0:
        yield A.ImageCompression(quality_range=quality.jpeg_quality, p=quality.jpeg_probability)


def _build_extra(extra: tuple[TransformSettings, ...], *, image_size: int) -> Iterator[A.BasicTransform]:
    """The transforms named in the settings, each tried once on a blank image."""
    known = known_transforms()
    for position, entry in enumerate(extra):
        where = f"augmentation.extra.{position}: {entry.name}"
        if entry.name not in known:
            nearest = difflib.get_close_matches(entry.name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "see the list of transforms of albumentations"
            raise SettingsError(f"{where}: albumentations has no such transform; {hint}")
        try:
            transform = known[entry.name](**entry.arguments, strict=True)
            _try_out(known[entry.name](**{**entry.arguments, "p": 1.0}), image_size=image_size)
        except Exception as error:  # whatever the library raises, the setting is what must be mended
            raise SettingsError(f"{where}: {' '.join(str(error).split())}") from None
        yield transform


def _try_out(transform: A.BasicTransform, *, image_size: int) -> None:
    """Raises ValueError unless the transform keeps size and type of the image and the number of its points."""
    blank = np.full((image_size, image_size, 3), 128, np.uint8)
    box = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32) * image_size
    points = np.full((1, _POINTS_A_FACE, 2), image_size / 2, np.float32)
    result = _run(_compose([A.NoOp(), transform]), blank, box, points).image
    if result.shape != blank.shape or result.dtype != np.uint8:
        raise ValueError(f"the image must stay {blank.shape} uint8, got {result.shape} {result.dtype}")


def _compose(transforms: list[A.BasicTransform]) -> A.Compose:
    # Boxes are clipped after each transform (their default), since some, the dropouts among them, fail on others.
    return A.Compose(
        transforms,
        bbox_params=A.BboxParams(format="pascal_voc", min_width=_MIN_SIDE, min_height=_MIN_SIDE),
        keypoint_params=A.KeypointParams(format="xy", remove_invisible=False, check_each_transform=False),
    )


class _Moved(NamedTuple):
    """An image and its N faces behind the pipeline.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        boxes: (N, 4) clipped to the image; empty ones for faces of which nothing is left.
        points: (N, 10, 2); NaN where they were NaN.
        is_removed: (N,) boxes that a transform took out although a part of them is still seen.
        area_factor: by which the whole map changes areas.
        is_mirrored: whether it swaps left and right.
    """

    image: RgbImage
    boxes: FloatArray
    points: FloatArray
    is_removed: BoolArray
    area_factor: float
    is_mirrored: bool


def _run(pipeline: A.Compose, image: RgbImage, boxes: FloatArray, points: FloatArray) -> _Moved:
    """Runs the pipeline on an image with boxes (N, 4) inside it and points (N, 10, 2)."""
    size = np.array([image.shape[1], image.shape[0]], np.float32)
    unknown = np.isnan(points)
    markers = size / 2 + _MARKERS * size / 8
    flat = np.concatenate([np.where(unknown, 0, points).reshape(-1, 2), markers])
    result = pipeline(
        image=image,
        bboxes=np.column_stack([boxes, np.arange(len(boxes))]).astype(np.float32),
        keypoints=flat - 0.5,  # here the first pixel's middle is at .5, in albumentations at 0
    )
    moved = np.asarray(result["keypoints"], np.float32)[:, :2] + np.float32(0.5)
    if len(moved) != len(flat):
        raise ValueError(f"key points must stay, got {len(moved)} of {len(flat)}")
    moved_points = np.where(unknown, np.nan, moved[:-3].reshape(points.shape)).astype(np.float32)
    corners = moved_points[:, _CENTER + 1 :]  # (N, 4, 2)
    around = np.concatenate([corners.min(axis=1, initial=np.inf), corners.max(axis=1, initial=-np.inf)], axis=-1)
    moved_boxes = _clip(around.reshape(-1, 4), np.array([0, 0, *size], np.float32))
    left = np.asarray(result["bboxes"], np.float32).reshape(-1, 5)
    index = left[:, 4].round().astype(np.intp)
    moved_boxes[index] = left[:, :4]
    is_removed = np.ones(len(boxes), np.bool_)
    is_removed[index] = False
    axes = (moved[-2:] - moved[-3]) / (size / 8)  # (2, 2) where the unit steps in x and y went
    determinant = float(axes[0, 0] * axes[1, 1] - axes[0, 1] * axes[1, 0])
    return _Moved(result["image"], moved_boxes, moved_points, is_removed, abs(determinant), determinant < 0)


def _corners(boxes: FloatArray) -> FloatArray:
    """(N, 4, 2) corners of boxes (N, 4)."""
    result: FloatArray = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    return result


def _clip(boxes: FloatArray, limits: FloatArray) -> FloatArray:
    """Boxes (N, 4) clipped to (4,) limits; those outside become empty."""
    result: FloatArray = np.clip(boxes, limits[[0, 1, 0, 1]], limits[[2, 3, 2, 3]])
    return result


def _areas(boxes: FloatArray) -> FloatArray:
    result: FloatArray = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    return result
