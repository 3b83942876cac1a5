"""Where the labelled images lie."""

from __future__ import annotations

from pathlib import Path

from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.errors import ImageReadError
from retinaface_cli.formats.images import find_images


def locate_images(truth: GroundTruth, images: Path | None) -> dict[str, Path]:
    """Where the labelled images lie; those that are not there are left out.

    Raises:
        LabelFormatError: the folder does not exist or holds none of them.
        ImageReadError: it is not known where they lie.
    """
    names = [image.file_name for image in truth.images]
    if images is not None:
        place = find_images(images, names)
        candidates = {name: place.root / place.name(name) for name in names}
    elif truth.paths:
        candidates = dict(truth.paths)
    elif truth.image_root is not None:
        candidates = {name: truth.image_root / name for name in names}
    else:
        raise ImageReadError(f"{truth.name}: does not say where its images are; name their folder with --images")
    return {name: path for name, path in candidates.items() if path.is_file()}
