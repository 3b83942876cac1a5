"""What a training run learns from: label files with their images, batches, and augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from retinaface_cli.settings.base import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0)]
Level = Annotated[int, Field(ge=0, le=255)]
Quality = Annotated[int, Field(ge=1, le=100)]


def _check_ordered(limits: tuple[float, float]) -> tuple[float, float]:
    """Raises ValueError where a smallest value is above the largest."""
    if limits[0] > limits[1]:
        raise ValueError(f"the smallest value {limits[0]} is above the largest {limits[1]}")
    return limits


Range = Annotated[tuple[Factor, Factor], AfterValidator(_check_ordered)]


def _refuse_address(value: Any) -> Any:
    """Raises ValueError for an address on the web, which a path would spoil."""
    if isinstance(value, str) and "://" in value:
        raise ValueError("expected a path on this machine; download it first")
    return value


LocalName = Annotated[str, BeforeValidator(_refuse_address)]
"""A path, glob or `{000..999}` that is no address on the web."""

LocalPath = Annotated[Path, BeforeValidator(_refuse_address)]
"""A path that is no address on the web."""


class LabelSource(Settings):
    """One label file or folder with the folder or the tar shards of its images."""

    labels: LocalPath
    """The label file or folder, in any format that `retinaface convert-labels` reads."""

    images: LocalPath | None = None
    """Folder that image names are relative to; empty: looked for where the format has it, and beside the file."""

    shards: LocalName | None = None
    """Tar shards that hold the images instead, e.g. train/{000000..000009}.tar; names are paths in them."""

    split: Literal["train", "val", "test"] | None = None
    """Part of the data set, where the source holds several (folders of YOLO and WIDER FACE); empty: it holds one."""

    classes: tuple[str, ...] = ()
    """Names of the classes that are faces, where the source holds other objects too; empty: by their names."""

    weight: float = Field(default=1.0, gt=0)
    """How often an epoch shows each of its images: 2 shows all twice, .5 a fresh random half in each epoch."""

    @model_validator(mode="after")
    def _check_place(self) -> LabelSource:
        if self.images is not None and self.shards is not None:
            raise ValueError("images and shards: the images lie in a folder or in shards; name one of them")
        return self


class CropSettings(Settings):
    """A random square is cut from the image and scaled to the network input."""

    probability: Probability = 1.0
    """Chance that an image is cropped; else it is shown whole, padded to a square."""

    scales: tuple[Factor, ...] = Field(default=(0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0), min_length=1)
    """Sides of the square as multiples of the image's short side; what lies outside the image is filled."""

    max_tries: int = Field(default=250, gt=0)
    """Number of random squares looked at before the image is shown whole."""

    min_best_visibility: Probability = 0.5
    """A square must show at least this part of the area of one face; 1: one face is wholly inside; 0: any square."""


class FlipSettings(Settings):
    """Mirrorings and quarter turns; a reflection swaps the left and right landmarks."""

    horizontal: Probability = 0.5
    """Chance of mirroring left and right."""

    rotate90: Probability = 0.0
    """Chance of a turn by a random multiple of 90 degrees."""

    transpose: Probability = 0.0
    """Chance of swapping rows and columns."""


class AffineSettings(Settings):
    """Small rotation, scale and shift of the cropped square."""

    probability: Probability = 0.0
    """Chance that it is done at all."""

    max_angle: float = Field(default=15.0, ge=0, le=180)
    """Largest rotation to either side, in degrees."""

    scale: Range = (1.0, 1.0)
    """Smallest and largest factor of size."""

    max_shift: float = Field(default=0.0, ge=0, le=1)
    """Largest shift in each direction, as a part of the side."""


class ColorSettings(Settings):
    """Colour changes; each is drawn on its own."""

    probability: Probability = 0.5
    """Chance of each single change below."""

    brightness: float = Field(default=32.0, ge=0, le=255)
    """Largest amount added or taken away, in levels of 0 to 255."""

    contrast: Range = (0.5, 1.5)
    """Smallest and largest factor of the values."""

    saturation: Range = (0.5, 1.5)
    """Smallest and largest factor of the saturation."""

    hue: float = Field(default=36.0, ge=0, le=180)
    """Largest turn of the colour circle to either side, in degrees."""

    gamma: Range = (1.0, 1.0)
    """Smallest and largest exponent of the values on the scale 0 to 1."""


class QualitySettings(Settings):
    """Loss of quality, as bad cameras and heavy compression bring it."""

    blur_probability: Probability = 0.0
    """Chance of blurring."""

    blur_sigma: Range = (0.3, 1.5)
    """Smallest and largest standard deviation of the Gaussian blur, in pixels of the network input."""

    noise_probability: Probability = 0.0
    """Chance of adding noise."""

    noise_std: Range = (2.0, 10.0)
    """Smallest and largest standard deviation of the noise, in levels of 0 to 255."""

    jpeg_probability: Probability = 0.0
    """Chance of compressing the image as JPEG."""

    jpeg_quality: Annotated[tuple[Quality, Quality], AfterValidator(_check_ordered)] = (40, 95)
    """Lowest and highest JPEG quality, 1 to 100."""


class TransformSettings(Settings):
    """One more transform of albumentations, by the name of its class."""

    name: str
    """Name of the class, e.g. CLAHE."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its arguments, as the documentation of albumentations names them."""


class AugmentationSettings(Settings):
    """What is done to a training image, from top to bottom."""

    crop: CropSettings = CropSettings()
    """The square that is cut out."""

    flip: FlipSettings = FlipSettings()
    """Mirrorings and quarter turns."""

    affine: AffineSettings = AffineSettings()
    """Small rotation, scale and shift."""

    color: ColorSettings = ColorSettings()
    """Brightness, contrast, saturation, hue and gamma."""

    quality: QualitySettings = QualitySettings()
    """Blur, noise and JPEG compression."""

    extra: tuple[TransformSettings, ...] = ()
    """Further transforms of albumentations, done last, in this order."""

    fill: tuple[Level, Level, Level] = (124, 116, 104)
    """Red, green and blue of what lies outside the image, 0 to 255."""

    min_face_size: float = Field(default=6.0, ge=0)
    """Faces whose shorter side is below this many pixels of the network input are neither face nor background."""

    min_visibility: Probability = 0.3
    """Faces of which a smaller part of the area is left are ignored; so are those whose centre is cut off."""


class DataSettings(Settings):
    """Label files, the split, and how batches are made."""

    train: tuple[LabelSource, ...] = Field(min_length=1)
    """Label files to learn from."""

    validation: tuple[LabelSource, ...] = ()
    """Label files to measure on; empty: a part of the training images is held out."""

    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Part of the training images held out where `validation` is empty; 0: no validation."""

    skip_unreadable: bool = False
    """Whether images that are missing or broken are left out, and reported; else the training does not start."""

    image_size: int = Field(default=640, ge=32)
    """Side of the square network input in training, in pixels."""

    batch_size: int = Field(default=16, gt=0)
    """Images a step on each device."""

    validation_scale: Annotated[int, Field(gt=0)] | Literal["original"] = 640
    """Longest side of a validation image at the network input, in pixels; original: as it is."""

    validation_batch_size: int = Field(default=8, gt=0)
    """Validation images a step on each device, as far as there are as many of one size."""

    num_workers: int | None = Field(default=None, ge=0)
    """Processes that prepare batches for each device, 0: none; empty: as many as there are free cores, at most 8."""

    @field_validator("train", "validation", mode="before")
    @classmethod
    def _read_paths(cls, value: Any) -> Any:
        """Lets a path stand for the list of one label file, and a path in the list for a file without settings."""
        sources = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(sources, list | tuple):
            return value
        return [{"labels": source} if isinstance(source, str) else source for source in sources]


AUGMENTATIONS: dict[str, AugmentationSettings] = {
    "modern": AugmentationSettings(),
    "classic": AugmentationSettings(
        crop=CropSettings(scales=(0.3, 0.45, 0.6, 0.8, 1.0), min_best_visibility=1.0),
        fill=(123, 117, 104),
        min_face_size=0.0,
        min_visibility=0.0,
    ),
}
"""Whole augmentations by name: with zoom-out as SCRFD trains, and as the old RetinaFace repositories trained."""
