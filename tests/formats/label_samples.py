"""A small source of labels in every format that is read: one image with two faces, one without any."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

NAMES = ("0--Parade/a.jpg", "1--Handshaking/b.jpg")
WIDTH, HEIGHT = 100, 80
OTHER_NAMES = ("a.jpg", "b.jpg", "2002/08/11/big/img_591.jpg", "2002/08/11/big/img_592.jpg")
"""Of the formats that have no folders, and of FDDB."""

BOXES = ((10, 20, 40, 60), (50, 10, 58, 21))
"""Corners of the faces of the first image; the second image has none."""

POINT_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
POINTS = ((18.5, 30.25), (32, 30), (25, 40), (19, 50), (31, 50.125))
"""Of the first face; the other one has no landmarks, and is ignored where the format can say so."""

_MISSING = " ".join(["-1"] * 15)

VOC = """<annotation>
  <folder>images</folder><filename>a.jpg</filename>
  <size><width>100</width><height>80</height><depth>3</depth></size>
  <object><name>face</name><pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>
    <has_lm>1</has_lm><lm><x1>18.5</x1><y1>30.25</y1><x2>32</x2><y2>30</y2><x3>25</x3><y3>40</y3>
      <x4>19</x4><y4>50</y4><x5>31</x5><y5>50.125</y5></lm>
  </object>
</annotation>
"""
"""With the first face alone."""

_OTHER_OBJECT = """<object><name>face</name><difficult>1</difficult>
<bndbox><xmin>50</xmin><ymin>10</ymin><xmax>58</xmax><ymax>21</ymax></bndbox></object>
"""


def write_png(path: Path, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """A black image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zlib.compress(b"".join(b"\0" + b"\0" * width for _ in range(height)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def write_images(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """The images, in black."""
    for name in names:
        write_png(folder / name)
    return folder


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def points_text() -> str:
    return " ".join(f"{x} {y} 0" for x, y in POINTS)


def canonical(folder: Path) -> Path:
    faces = [
        {"bbox": BOXES[0], "landmarks": POINTS, "attributes": {"blur": 1}},
        {"bbox": BOXES[1], "landmarks": [], "ignore": True},
    ]
    images = [
        {"file_name": NAMES[0], "width": WIDTH, "height": HEIGHT, "annotations": faces},
        {"file_name": NAMES[1], "annotations": []},
    ]
    return write_text(folder / "labels.json", "[\n" + ",\n".join(map(json.dumps, images)) + "\n]\n")


def json_lines(folder: Path) -> Path:
    images = json.loads(canonical(folder / "other").read_text(encoding="utf-8"))
    return write_text(folder / "labels.jsonl", "".join(json.dumps(image) + "\n" for image in images))


def label_txt(folder: Path) -> Path:
    text = f"# {NAMES[0]}\n10 20 30 40 {points_text()} 0.5\n50 10 8 11 {_MISSING} 0.1\n# {NAMES[1]}\n"
    return write_text(folder / "label.txt", text)


def labelv2_txt(folder: Path) -> Path:
    faces = f"10 20 40 60 {points_text()} 1\n50 10 58 21 {_MISSING} 0\n"
    text = f"# {NAMES[0]} 100 80\n{faces}# {NAMES[1]} 100 80\n"
    return write_text(folder / "labelv2.txt", text)


def wider_txt(folder: Path) -> Path:
    faces = "10 20 30 40 2 0 1 0 1 0 \n50 10 8 11 0 1 0 1 2 1 \n"
    text = f"{NAMES[0]}\n2\n{faces}{NAMES[1]}\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    return write_text(folder / "wider_face_val_bbx_gt.txt", text)


def cells(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    """A cell array of Matlab, with one column."""
    array = np.empty((len(values), 1), object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


def wider_mat(folder: Path, *, name: str = "wider_face_val.mat", counted: Sequence[int] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [np.array([[10, 20, 30, 40], [50, 10, 8, 11]], np.int32), np.zeros((0, 4), np.int32)]
    lists: dict[str, Sequence[Any]] = {"file_list": ["a", "b"], "face_bbx_list": boxes}
    pairs = {"blur": (2, 0), "expression": (0, 1), "illumination": (1, 0), "occlusion": (1, 2), "pose": (0, 1)}
    for attribute, pair in {**pairs, "invalid": (0, 1)}.items():
        lists[f"{attribute}_label_list"] = [np.array(pair, np.uint8).reshape(-1, 1), np.zeros((0, 1), np.uint8)]
    if counted is not None:
        lists["gt_list"] = [np.array(counted, np.float64).reshape(-1, 1), np.zeros((0, 1))]
    content = {key: cells([cells([value]) for value in values]) for key, values in lists.items()}
    savemat(folder / name, {"event_list": cells([image.split("/")[0] for image in NAMES]), **content})
    return folder / name


def wider_folder(folder: Path) -> Path:
    label_txt(folder / "train")
    wider_txt(folder / "wider_face_split").rename(folder / "wider_face_split/wider_face_train_bbx_gt.txt")
    write_images(folder / "train/images")
    return folder


def coco(folder: Path) -> Path:
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
    return write_text(folder / "coco.json", json.dumps(content, indent=1))


def yolo(folder: Path) -> Path:
    write_text(folder / "data.yaml", "train: images\nnc: 1\nnames: [face]\nkpt_shape: [5, 3]\n")
    points = " ".join(f"{x / WIDTH} {y / HEIGHT} 2" for x, y in POINTS)
    faces = f"0 0.25 0.5 0.3 0.5 {points}\n0 0.54 0.19375 0.08 0.1375 {' '.join(['0'] * 15)}\n"
    write_text(folder / "labels" / NAMES[0].replace("jpg", "txt"), faces)
    write_images(folder / "images")
    return folder


def voc(folder: Path) -> Path:
    write_text(folder / "Annotations/a.xml", VOC.replace("</annotation>", f"{_OTHER_OBJECT}</annotation>"))
    empty = VOC[: VOC.index("<object>")].replace("a.jpg", "b.jpg") + "</annotation>\n"
    write_text(folder / "Annotations/b.xml", empty)
    return folder


def fddb(folder: Path) -> Path:
    text = "2002/08/11/big/img_591\n2\n20.5 15 1.5 50 40  1\n12 8 0.25 120 30  1\n2002/08/11/big/img_592\n0\n"
    return write_text(folder / "FDDB-fold-01-ellipseList.txt", text)


def csv_table(folder: Path) -> Path:
    text = "image,x1,y1,x2,y2,label,left_eye_x,left_eye_y,blur\n"
    text += f"{NAMES[0]},10,20,40,60,face,18.5,30.25,1\n{NAMES[0]},50,10,58,21,face,,,0\n{NAMES[1]},,,,,,,,\n"
    return write_text(folder / "labels.csv", text)


def labelme(folder: Path) -> Path:
    faces = [
        {"label": "face", "shape_type": "rectangle", "points": [box[:2], box[2:]], "group_id": group}
        for group, box in enumerate(BOXES, 1)
    ]
    points = [
        {"label": name, "shape_type": "point", "points": [point], "group_id": 1}
        for name, point in zip(POINT_NAMES, POINTS, strict=True)
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_text(folder / "a.json", json.dumps({"shapes": [*faces, *points], "imagePath": "a.jpg", **size}, indent=1))
    write_text(folder / "b.json", json.dumps({"shapes": [], "imagePath": "b.jpg", **size}))
    return folder


SOURCES: Mapping[str, Callable[[Path], Path]] = {
    "json": canonical,
    "jsonl": json_lines,
    "retinaface": label_txt,
    "scrfd": labelv2_txt,
    "fddb": fddb,
    "wider_text": wider_txt,
    "wider_mat": wider_mat,
    "labelme": labelme,
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "csv": csv_table,
}
"""Name (format first) -> what writes a source into a folder."""
