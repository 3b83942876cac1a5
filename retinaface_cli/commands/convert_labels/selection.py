"""Which images of a set of labels are written: a random subset, and those that are held out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import ImageLabels

_EVENT = re.compile(r"(?:^|/)(\d+--[^/]+)/[^/]+$")
"""An image's folder as WIDER FACE names its events: `0--Parade`."""


def pick_subset(images: Sequence[ImageLabels], count: int, *, seed: int) -> list[ImageLabels]:
    """So many images at random, in their old order; all of them if there are fewer."""
    index = np.random.default_rng(seed).permutation(len(images))[:count]
    return [images[i] for i in sorted(index.tolist())]


def event_of(file_name: str) -> str | None:
    """The WIDER FACE event that an image belongs to by its name; None for other images."""
    match = _EVENT.search(file_name)
    return match[1] if match else None


def hold_out(
    images: Sequence[ImageLabels], fraction: float, *, seed: int
) -> tuple[list[ImageLabels], list[ImageLabels]]:
    """Splits images into those that stay and those that are held out, both in their old order.

    Images of WIDER FACE are held out by whole events, since those of one event look alike; all others one by one.

    Args:
        images: the images.
        fraction: part of the images to hold out, which whole events meet as nearly as they can.
        seed: decides which.

    Raises:
        SettingsError: one of the two sides would be empty.
    """
    events = [event_of(image.file_name) for image in images]
    groups = [event or f"/{i}" for i, event in enumerate(events)]
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    names = sorted(members)
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    wanted = fraction * len(images)
    held: set[int] = set()
    for name in (names[i] for i in order):
        if abs(len(held) + len(members[name]) - wanted) < abs(len(held) - wanted):
            held.update(members[name])
    if not 0 < len(held) < len(images):
        kind = "events" if any(events) else "images"
        raise SettingsError(
            f"--holdout {fraction:g}: {len(names)} {kind} of {len(images)} images cannot be split like that; "
            "take another fraction"
        )
    kept = [image for i, image in enumerate(images) if i not in held]
    return kept, [images[i] for i in sorted(held)]
