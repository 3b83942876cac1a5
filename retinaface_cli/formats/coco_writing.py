"""Writing COCO labels: one category `face` with five keypoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retinaface_cli.faces import LANDMARK_NAMES, NUM_LANDMARKS, FaceLabels, ImageLabels
from retinaface_cli.formats.coco import IMAGE_SIDES
from retinaface_cli.formats.decimals import decimal_boxes_xywh, number_words, shortest_decimals
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS, read_occlusion
from retinaface_cli.formats.flat_labels import flatten_labels
from retinaface_cli.formats.json_text import attribute_texts

_SKELETON = [[1, 2], [1, 3], [2, 3], [3, 4], [3, 5], [4, 5]]


def write_coco(path: Path, images: Sequence[ImageLabels]) -> None:
    """Writes COCO keypoints; ignored faces are `iscrowd` and `ignore`, so that COCO's tools pass over them."""
    flat = flatten_labels(images)
    info = {"description": "faces with five landmarks", "landmarks": IMAGE_SIDES}
    category = {"id": 1, "name": "face", "supercategory": "", "keypoints": LANDMARK_NAMES, "skeleton": _SKELETON}
    image_ids = np.repeat(np.arange(1, len(images) + 1), flat.num_faces).tolist()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": [{json.dumps(category)}],\n')
        file.write('"images": [\n' + ",\n".join(_image_texts(images)) + "\n],\n")
        file.write('"annotations": [\n' + ",\n".join(_annotation_texts(flat.faces, image_ids)) + "\n]}\n")


def _image_texts(images: Sequence[ImageLabels]) -> Iterator[str]:
    """The entry of each image."""
    for identity, image in enumerate(images, 1):
        size = f', "width": {image.width}, "height": {image.height}' if image.width and image.height else ""
        yield f'{{"id": {identity}, "file_name": {json.dumps(image.file_name, ensure_ascii=False)}{size}}}'


def _annotation_texts(faces: FaceLabels, image_ids: Sequence[int]) -> Iterator[str]:
    """The entry of each face."""
    boxes = decimal_boxes_xywh(faces.boxes)
    words = iter(number_words(boxes))
    areas = number_words(np.round(boxes[:, 2] * boxes[:, 3], 3))
    keypoints = _keypoint_texts(faces)
    others = {name: values for name, values in faces.attributes.items() if name != OCCLUDED_LANDMARKS}
    attributes = attribute_texts(others, len(faces))
    rows = zip(image_ids, zip(words, words, words, words, strict=True), areas, faces.ignore.tolist(), strict=True)
    for i, (image_id, (x, y, width, height), area, is_ignored) in enumerate(rows):
        yield (
            f'{{"id": {i + 1}, "image_id": {image_id}, "category_id": 1, "bbox": [{x}, {y}, {width}, {height}], '
            f'"area": {area}, "iscrowd": {int(is_ignored)}, "ignore": {int(is_ignored)}{keypoints[i]}{attributes[i]}}}'
        )


def _keypoint_texts(faces: FaceLabels) -> list[str]:
    """The keypoints of each face that has any: x, y and 2 for visible, 1 for occluded, 0 for missing points."""
    texts = [""] * len(faces)
    index = np.flatnonzero(faces.has_landmarks.any(axis=1))
    has = faces.has_landmarks[index]
    occluded = faces.attributes.get(OCCLUDED_LANDMARKS, np.zeros(len(faces)))[index]
    is_occluded = read_occlusion(occluded)
    values = np.zeros((len(index), NUM_LANDMARKS, 3))
    values[:, :, :2] = np.where(has[:, :, None], shortest_decimals(faces.landmarks[index]), 0.0)
    values[:, :, 2] = np.where(has, np.where(is_occluded, 1.0, 2.0), 0.0)
    words = iter(number_words(values))
    counts = has.sum(axis=1).tolist()
    for i, count, group in zip(index.tolist(), counts, zip(*[words] * (3 * NUM_LANDMARKS), strict=True), strict=True):
        texts[i] = f', "num_keypoints": {count}, "keypoints": [{", ".join(group)}]'
    return texts
