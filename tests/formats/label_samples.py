"""A small source of labels in every format that is read, all with the same two images."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.io import savemat

NAMES = ("0--Parade/a.jpg", "1--Handshaking/b.jpg")
WIDTH, HEIGHT = 100, 80
BOX = (10, 20, 40, 60)
"""Corners of the face of the first image; the second image has none."""

POINTS = ((18.5, 30.25), (32, 30), (25, 40), (19, 50), (31, 50.125))

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


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def points_text(flag: int = 0) -> str:
    return " ".join(f"{x} {y} {flag}" for x, y in POINTS)


def canonical(folder: Path) -> Path:
    face = {"bbox": BOX, "landmarks": POINTS, "ignore": True, "attributes": {"blur": 1}}
    images = [
        {"file_name": NAMES[0], "width": WIDTH, "height": HEIGHT, "annotations": [face]},
        {"file_name": NAMES[1], "annotations": []},
    ]
    return write_text(folder / "labels.json", "[\n" + ",\n".join(map(json.dumps, images)) + "\n]\n")


def json_lines(folder: Path) -> Path:
    images = json.loads(canonical(folder / "other").read_text(encoding="utf-8"))
    return write_text(folder / "labels.jsonl", "".join(json.dumps(image) + "\n" for image in images))


def label_txt(folder: Path) -> Path:
    return write_text(folder / "label.txt", f"# {NAMES[0]}\n10 20 30 40 {points_text()} 0.5\n# {NAMES[1]}\n")


def labelv2_txt(folder: Path) -> Path:
    text = f"# {NAMES[0]} 100 80\n10 20 40 60 {points_text()} 1\n# {NAMES[1]} 100 80\n"
    return write_text(folder / "labelv2.txt", text)


def wider_txt(folder: Path) -> Path:
    text = f"{NAMES[0]}\n1\n10 20 30 40 2 0 1 0 1 0 \n{NAMES[1]}\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    return write_text(folder / "wider_face_val_bbx_gt.txt", text)


def _cells(rows: list[list[np.ndarray]]) -> np.ndarray:
    """A cell array of events, each with a cell array of images."""
    result = np.empty((len(rows), 1), object)
    for i, row in enumerate(rows):
        result[i, 0] = np.empty((len(row), 1), object)
        for j, value in enumerate(row):
            result[i, 0][j, 0] = value
    return result


def wider_mat(folder: Path, *, name: str = "wider_face_val.mat", counted: list[int] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [[np.array([[10, 20, 30, 40]], np.int32)], [np.zeros((0, 4), np.int32)]]
    events = np.empty((2, 1), object)
    events[:, 0] = [image.split("/")[0] for image in NAMES]
    content = {"event_list": events, "face_bbx_list": _cells(boxes)}
    content["file_list"] = _cells([[np.array([image.split("/")[1][:-4]])] for image in NAMES])
    values = {"blur": 2, "expression": 0, "illumination": 1, "invalid": 0, "occlusion": 1, "pose": 0}
    for attribute, value in values.items():
        column = [[np.array([[value]], np.uint8)], [np.zeros((0, 1), np.uint8)]]
        content[f"{attribute}_label_list"] = _cells(column)
    if counted is not None:
        content["gt_list"] = _cells([[np.array(counted, np.float64).reshape(-1, 1)], [np.zeros((0, 1))]])
    savemat(folder / name, content)
    return folder / name


def wider_folder(folder: Path) -> Path:
    label_txt(folder / "train")
    wider_txt(folder / "wider_face_split").rename(folder / "wider_face_split/wider_face_train_bbx_gt.txt")
    for name in NAMES:
        write_png(folder / "train/images" / name)
    return folder


def coco(folder: Path) -> Path:
    names = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    content = {
        "images": [
            {"id": 1, "file_name": NAMES[0], "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": NAMES[1], "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": names}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [10, 20, 30, 40],
                "iscrowd": 0,
                "keypoints": [value for point in POINTS for value in (*point, 2)],
                "attributes": {"blur": 1},
            }
        ],
    }
    return write_text(folder / "coco.json", json.dumps(content, indent=1))


def yolo(folder: Path) -> Path:
    write_text(folder / "data.yaml", "train: images\nnc: 1\nnames: [face]\nkpt_shape: [5, 3]\n")
    points = " ".join(f"{x / WIDTH} {y / HEIGHT} 2" for x, y in POINTS)
    write_text(folder / "labels" / NAMES[0].replace("jpg", "txt"), f"0 0.25 0.5 0.3 0.5 {points}\n")
    for name in NAMES:
        write_png(folder / "images" / name)
    return folder


def voc(folder: Path) -> Path:
    write_text(folder / "Annotations/a.xml", VOC)
    empty = VOC[: VOC.index("<object>")].replace("a.jpg", "b.jpg") + "</annotation>\n"
    write_text(folder / "Annotations/b.xml", empty)
    return folder


def fddb(folder: Path) -> Path:
    text = "2002/08/11/big/img_591\n1\n20.5 15 1.5 50 40  1\n2002/08/11/big/img_592\n0\n"
    return write_text(folder / "FDDB-fold-01-ellipseList.txt", text)


def csv_table(folder: Path) -> Path:
    text = "image,x1,y1,x2,y2,label,left_eye_x,left_eye_y,blur\n"
    text += f"{NAMES[0]},10,20,40,60,face,18.5,30.25,1\n{NAMES[1]},,,,,,,,\n"
    return write_text(folder / "labels.csv", text)


def labelme(folder: Path) -> Path:
    names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    shapes = [{"label": "face", "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]], "group_id": 1}]
    shapes += [
        {"label": name, "shape_type": "point", "points": [point], "group_id": 1}
        for name, point in zip(names, POINTS, strict=True)
    ]
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_text(folder / "a.json", json.dumps({"shapes": shapes, "imagePath": "a.jpg", **size}, indent=1))
    write_text(folder / "b.json", json.dumps({"shapes": [], "imagePath": "b.jpg", **size}))
    return folder


SAMPLES: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "json": (canonical, "labels.json"),
    "jsonl": (json_lines, "labels.jsonl"),
    "retinaface": (label_txt, "label.txt"),
    "scrfd": (labelv2_txt, "labelv2.txt"),
    "wider text": (wider_txt, "wider_face_val_bbx_gt.txt"),
    "wider mat": (wider_mat, "wider_face_val.mat"),
    "wider folder": (wider_folder, "train/label.txt"),
    "coco": (coco, "coco.json"),
    "yolo": (yolo, "labels/0--Parade/a.txt"),
    "yolo yaml": (yolo, "data.yaml"),
    "voc": (voc, "Annotations/a.xml"),
    "fddb": (fddb, "FDDB-fold-01-ellipseList.txt"),
    "csv": (csv_table, "labels.csv"),
    "labelme": (labelme, "a.json"),
}
"""Name (format first) -> what writes a sample into a folder, and the file in it that is worth breaking."""
