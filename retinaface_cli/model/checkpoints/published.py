"""Published weights by name: where they lie, what is known of them, and the cache folder they are downloaded to once.

PUBLISHED is the table of them all; a new one is one entry.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from retinaface_cli.model.checkpoints.legacy_keys import BIUBUG6, YAKHYO
from retinaface_cli.model.checkpoints.yunet_weights import FAMILY as YUNET
from retinaface_cli.settings.network import AnchorSettings

CACHE_VARIABLE = "RETINAFACE_CACHE"
MIRROR_VARIABLE = "RETINAFACE_WEIGHTS_MIRROR"

_TERNAUS = "https://github.com/ternaus/retinaface/releases/download/0.01"
_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download/v0.1.0"
_CODEFORMER = "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0"
_YUNET = (
    "https://github.com/ShiqiYu/libfacedetection.train/raw/dca340aa082c71081a68d17db8e58b33a58a914b/weights"  # a commit
)
_YAKHYO = "https://github.com/yakhyo/retinaface-pytorch/releases/download/v0.0.1"


@dataclass(frozen=True)
class PublishedWeights:
    """One published weights file and what is known of it.

    Attributes:
        name: what stands after -w.
        backbone: a name in BACKBONES.
        url: where its publisher keeps it.
        megabytes: about how large it is (10^6 bytes).
        wider_face_ap: AP on WIDER FACE val at original image size, single scale, as its publisher states it
            (easy, medium, hard in per cent); None where none is stated.
        sha256: of the file; None where nobody has stated or measured it.
        preprocessing: a name in PREPROCESSINGS.
        licence: of the publisher's repository.
    """

    name: str
    backbone: str
    url: str
    megabytes: float
    wider_face_ap: tuple[float, float, float] | None = None
    sha256: str | None = None
    preprocessing: str = "mean-bgr"
    licence: str = "MIT"

    @property
    def file_name(self) -> str:
        """The file's name at its publisher and in the cache folder."""
        return self.url.rpartition("/")[2]

    @property
    def family(self) -> str:
        """Whose names its weights have, as LoadedWeights.family says."""
        return {_YAKHYO: YAKHYO, _YUNET: YUNET}.get(self.url.rpartition("/")[0], BIUBUG6)

    @property
    def address(self) -> str:
        """Where it is fetched from: its publisher, or the mirror of RETINAFACE_WEIGHTS_MIRROR."""
        mirror = os.environ.get(MIRROR_VARIABLE)
        return f"{mirror.rstrip('/')}/{self.file_name}" if mirror else self.url

    @property
    def path(self) -> Path:
        """Where it lies, or would lie, in the cache folder."""
        return cache_folder() / self.file_name

    @property
    def is_cached(self) -> bool:
        """Whether it is there already."""
        return self.path.is_file()


PUBLISHED: tuple[PublishedWeights, ...] = (
    PublishedWeights(
        "yunet_n",
        "yunet",
        f"{_YUNET}/yunet_n.pth",
        0.7,
        (89.2, 88.3, 81.1),
        sha256="9c7c9e14a4d60e57491d77e4d8b0d451bd834f300e05c0dea7fd1f6533817b06",
        preprocessing="raw-bgr",
        licence="Apache-2.0",
    ),
    PublishedWeights(
        "mobilenet0.25_yakhyo",
        "mobilenet0.25",
        f"{_YAKHYO}/retinaface_mv1_0.25.pth",
        1.8,
        (90.70, 88.12, 73.82),
        sha256="ac6c197445e97169b40de4208fe10eb9d7657e1fe0370f28175fdfb11d447ade",
    ),
    PublishedWeights(
        "mobilenet0.25_biubug6",
        "mobilenet0.25",
        f"{_CODEFORMER}/detection_mobilenet0.25_Final.pth",
        1.8,
        (90.70, 88.16, 73.82),
        sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    PublishedWeights(
        "mobilenet0.5_yakhyo", "mobilenet0.5", f"{_YAKHYO}/retinaface_mv1_0.50.pth", 6.8, (91.56, 89.46, 76.56)
    ),
    PublishedWeights(
        "mobilenet1.0_yakhyo", "mobilenet1.0", f"{_YAKHYO}/retinaface_mv1.pth", 26.0, (92.19, 90.41, 79.56)
    ),
    PublishedWeights(
        "mobilenet_v2_yakhyo", "mobilenet_v2", f"{_YAKHYO}/retinaface_mv2.pth", 13.0, (94.04, 92.26, 83.59)
    ),
    PublishedWeights("resnet18_yakhyo", "resnet18", f"{_YAKHYO}/retinaface_r18.pth", 48.0, (94.28, 92.69, 82.95)),
    PublishedWeights("resnet34_yakhyo", "resnet34", f"{_YAKHYO}/retinaface_r34.pth", 89.0, (95.07, 93.48, 84.40)),
    PublishedWeights(
        "resnet50_biubug6",
        "resnet50",
        f"{_FACEXLIB}/detection_Resnet50_Final.pth",
        109.0,
        (95.48, 94.04, 84.43),
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    PublishedWeights(
        "resnet50_2020-07-20",
        "resnet50",
        f"{_TERNAUS}/retinaface_resnet50_2020-07-20-f168fae3c.zip",
        102.0,
        preprocessing="imagenet-rgb",
    ),
)
"""Every published file that can be had by name, small networks first; the last is ternaus' own name for his."""

_OTHER_KNOWN_FILES = {
    # biubug6's network, another training (easy 89.64)
    "7c417d4a43c5e2100ef40c2fbd2177d2fd0e5090d8e87c0fa31806cfb895c12f": "mean-bgr",
    # biubug6's 1MB family (anchors of 10, 20, 32, 64, 128 and 256 pixels)
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": "mean-bgr",
}
"""sha256 -> preprocessing of files that are about but not offered by name."""

KNOWN_ANCHORS = {
    "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1": AnchorSettings(
        sizes=((10, 20), (32, 64), (128, 256))
    )
}
"""sha256 -> anchors of known files that have other than the usual ones."""


def list_published() -> tuple[PublishedWeights, ...]:
    """All published weights, small networks first."""
    return PUBLISHED


def find_published(name: str) -> PublishedWeights | None:
    """The published weights of that name; None if there are none."""
    return next((weights for weights in PUBLISHED if weights.name == name), None)


def preprocessing_by_sha256(sha256: str) -> str | None:
    """The name of the preprocessing that a known file was trained with; None for files that are not known."""
    published = (weights.preprocessing for weights in PUBLISHED if weights.sha256 == sha256)
    return next(published, _OTHER_KNOWN_FILES.get(sha256))


def cache_folder() -> Path:
    """The folder for downloaded weights: RETINAFACE_CACHE, or the user's cache folder of the platform."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("retinaface-cli"))
