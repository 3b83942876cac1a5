"""A small source of labels in every format that is read: one image with two faces, one without any."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from tests.golden.golden import write_image

NAMES = ("0--Parade/a.jpg", "1--Handshaking/b.jpg")
OTHER_NAMES = ("a.jpg", "b.jpg", "2002/08/11/big/img_591.jpg", "2002/08/11/big/img_592.jpg")
"""Of the formats that have no folders, and of FDDB."""

WIDTH, HEIGHT = 100, 80
POINT_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
POINTS = ((18.5, 30.25), (32, 30), (25, 40), (19, 50), (31, 50.125))
"""Of the first face, whose corners are 10, 20, 40, 60; those of the second are 50, 10, 58, 21."""

VOC_START = """<annotation><folder>images</folder><filename>{name}</filename>
<size><width>100</width><height>80</height><depth>3</depth></size>
"""
VOC_FACES = """<object><name>face</name><pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>
<has_lm>1</has_lm><lm><x1>18.5</x1><y1>30.25</y1><x2>32</x2><y2>30</y2><x3>25</x3><y3>40</y3>
<x4>19</x4><y4>50</y4><x5>31</x5><y5>50.125</y5></lm></object>
<object><name>face</name><difficult>1</difficult>
<bndbox><xmin>50</xmin><ymin>10</ymin><xmax>58</xmax><ymax>21</ymax></bndbox></object>
"""


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def write_images(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """The images, in black."""
    for name in names:
        write_image(folder / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return folder


def own_entries() -> list[dict[str, Any]]:
    faces = [
        {"bbox": [10, 20, 40, 60], "landmarks": POINTS, "attributes": {"blur": 1}},
        {"bbox": [50, 10, 58, 21], "landmarks": [], "ignore": True},
    ]
    return [
        {"file_name": NAMES[0], "width": WIDTH, "height": HEIGHT, "annotations": faces},
        {"file_name": NAMES[1], "annotations": []},
    ]


def write_json(folder: Path) -> Path:
    return write_text(folder / "labels.json", json.dumps(own_entries()))


def write_json_lines(folder: Path) -> Path:
    return write_text(folder / "labels.jsonl", "".join(json.dumps(entry) + "\n" for entry in own_entries()))


def write_retinaface(folder: Path) -> Path:
    points = " ".join(f"{x} {y} 0" for x, y in POINTS)
    missing = " ".join(["-1"] * 15)
    text = f"# {NAMES[0]}\n10 20 30 40 {points} 0.5\n50 10 8 11 {missing} 0.1\n# {NAMES[1]}\n"
    return write_text(folder / "label.txt", text)


def write_scrfd(folder: Path) -> Path:
    points = " ".join(f"{x} {y} 0" for x, y in POINTS)
    missing = " ".join(["-1"] * 15)
    text = f"# {NAMES[0]} 100 80\n10 20 40 60 {points} 1\n50 10 58 21 {missing} 0\n# {NAMES[1]} 100 80\n"
    return write_text(folder / "labelv2.txt", text)


def write_fddb(folder: Path) -> Path:
    text = "2002/08/11/big/img_591\n2\n20.5 15 1.5 50 40  1\n12 8 0.25 120 30  1\n2002/08/11/big/img_592\n0\n"
    return write_text(folder / "FDDB-fold-01-ellipseList.txt", text)


def write_wider_text(folder: Path) -> Path:
    faces = "10 20 30 40 2 0 1 0 1 0 \n50 10 8 11 0 1 0 1 2 1 \n"
    text = f"{NAMES[0]}\n2\n{faces}{NAMES[1]}\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    return write_text(folder / "wider_face_val_bbx_gt.txt", text)


def write_wider_mat(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [np.array([[10, 20, 30, 40], [50, 10, 8, 11]], np.int32), np.zeros((0, 4), np.int32)]
    lists: dict[str, Sequence[Any]] = {"file_list": ["a", "b"], "face_bbx_list": boxes}
    pairs = {"blur": (2, 0), "expression": (0, 1), "illumination": (1, 0), "occlusion": (1, 2), "pose": (0, 1)}
    for name, pair in {**pairs, "invalid": (0, 1)}.items():
        lists[f"{name}_label_list"] = [np.array(pair, np.uint8).reshape(-1, 1), np.zeros((0, 1), np.uint8)]
    content = {name: cells([cells([value]) for value in values]) for name, values in lists.items()}
    savemat(folder / "wider_face_val.mat", {"event_list": cells([name.split("/")[0] for name in NAMES]), **content})
    return folder / "wider_face_val.mat"


def cells(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """A cell array of Matlab, with one column."""
    array = np.empty((len(values), 1), object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


def write_labelme(folder: Path) -> Path:
    first = {"label": "face", "shape_type": "rectangle", "points": [(10, 20), (40, 60)], "group_id": 1}
    second = {"label": "face", "shape_type": "rectangle", "points": [(50, 10), (58, 21)], "group_id": 2}
    points = [
        {"label": name, "shape_type": "point", "points": [point], "group_id": 1}
        for name, point in zip(POINT_NAMES, POINTS, strict=True)
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_text(folder / "a.json", json.dumps({"shapes": [first, second, *points], "imagePath": "a.jpg", **size}))
    write_text(folder / "b.json", json.dumps({"shapes": [], "imagePath": "b.jpg", **size}))
    return folder


def write_coco(folder: Path) -> Path:
    first: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 0}
    first |= {"keypoints": [value for point in POINTS for value in (*point, 2)], "attributes": {"blur": 1}}
    second = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 10, 8, 11], "iscrowd": 1}
    content = {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(NAMES, 1)
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": POINT_NAMES}],
        "annotations": [first, second],
    }
    return write_text(folder / "coco.json", json.dumps(content))


def write_voc(folder: Path) -> Path:
    for name, faces in (("a", VOC_FACES), ("b", "")):
        text = VOC_START.format(name=f"{name}.jpg") + faces + "</annotation>\n"
        write_text(folder / f"Annotations/{name}.xml", text)
    return folder


def write_yolo(folder: Path) -> Path:
    write_text(folder / "data.yaml", "train: images\nnc: 1\nnames: [face]\nkpt_shape: [5, 3]\n")
    points = " ".join(f"{x / WIDTH} {y / HEIGHT} 2" for x, y in POINTS)
    faces = f"0 0.25 0.5 0.3 0.5 {points}\n0 0.54 0.19375 0.08 0.1375 {' '.join(['0'] * 15)}\n"
    write_text(folder / "labels" / NAMES[0].replace("jpg", "txt"), faces)
    write_images(folder / "images")
    return folder


def write_csv(folder: Path) -> Path:
    text = "image,x1,y1,x2,y2,label,left_eye_x,left_eye_y,blur\n"
    text += f"{NAMES[0]},10,20,40,60,face,18.5,30.25,1\n{NAMES[0]},50,10,58,21,face,,,0\n{NAMES[1]},,,,,,,,\n"
    return write_text(folder / "labels.csv", text)


SOURCES: Mapping[str, Callable[[Path], Path]] = {
    "json": write_json,
    "jsonl": write_json_lines,
    "retinaface": write_retinaface,
    "scrfd": write_scrfd,
    "fddb": write_fddb,
    "wider_text": write_wider_text,
    "wider_mat": write_wider_mat,
    "labelme": write_labelme,
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "csv": write_csv,
}
