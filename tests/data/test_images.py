from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.data.images import TrainingData, load_training_data
from retinaface_cli.errors import ImageReadError, LabelFormatError
from retinaface_cli.settings.data import DataSettings, LabelSource


def load(labels: Path, **settings: Any) -> TrainingData:
    return load_training_data(DataSettings(train=(LabelSource(labels=labels),), **{"held_out": 0, **settings}))


def edit(labels: Path, change: dict[str, Any], *, image: int = 0) -> None:
    entries = json.loads(labels.read_text(encoding="utf-8"))
    entries[image].update(change)
    labels.write_text(json.dumps(entries), encoding="utf-8")


def test_images_come_in_the_files_order_with_their_sizes_and_faces(labels: Path) -> None:
    (source,) = load(labels).train
    assert [image.file_name for image in source.images] == ["a/one.jpg", "a/two.png", "b/none.jpg", "b/wide.jpg"]
    assert [image.size for image in source.images] == [(120, 160), (100, 90), (80, 80), (60, 200)]
    assert [len(image.faces) for image in source.images] == [1, 2, 0, 1]
    assert "4 images, 1 of them without faces; 4 faces, 4 with landmarks, 0 ignored" in source.summary
    assert load(labels).findings == ()


def test_the_folder_of_images_can_be_named(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(ImageReadError, match=r"4 of 4 images cannot be read: .* and 1 more; name their folder"):
        load(labels)
    source = LabelSource(labels=labels, images=tmp_path / "elsewhere")
    assert len(load_training_data(DataSettings(train=(source,), held_out=0)).train[0].images) == 4


def test_a_folder_that_is_not_there_is_named(labels: Path, tmp_path: Path) -> None:
    source = LabelSource(labels=labels, images=tmp_path / "nowhere")
    with pytest.raises(LabelFormatError, match="nowhere: no such folder"):
        load_training_data(DataSettings(train=(source,)))


def test_names_may_begin_with_folders_that_are_not_there(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "images/a/one.jpg").rename(tmp_path / "images/one.jpg")
    entries = json.loads(labels.read_text(encoding="utf-8"))[:1]
    entries[0]["file_name"] = "train/elsewhere/one.jpg"
    labels.write_text(json.dumps(entries), encoding="utf-8")
    source = LabelSource(labels=labels, images=tmp_path / "images")
    (one_image,) = load_training_data(DataSettings(train=(source,), held_out=0)).train[0].images
    assert one_image.file_name == "one.jpg" and one_image.size == (120, 160)


def test_a_missing_image_stops_the_training_before_it_starts(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "images/a/one.jpg").unlink()
    with pytest.raises(ImageReadError, match=r"1 of 4 images .*one\.jpg: cannot be read \(No such file.*skip_unread"):
        load(labels)


def test_broken_images_are_left_out_and_reported_where_that_is_asked_for(labels: Path, tmp_path: Path) -> None:
    path = tmp_path / "images/a/one.jpg"
    path.write_bytes(path.read_bytes()[:500])
    data = load(labels, skip_unreadable=True)
    assert len(data.train[0].images) == 3
    (finding,) = data.findings
    assert "1 of 4 images cannot be read" in finding and "one.jpg" in finding and finding.endswith("left out")


def test_labels_made_for_another_size_are_reported(labels: Path) -> None:
    edit(labels, {"width": 120, "height": 160})
    (finding,) = load(labels).findings
    assert "1 of 4 images have another size than the labels say: a/one.jpg" in finding


def test_doubtful_labels_are_reported(labels: Path) -> None:
    edit(labels, {"annotations": [{"bbox": [30, 20, 10, 60], "landmarks": []}]})
    data = load(labels)
    assert len(data.findings) == 1 and str(labels) in data.findings[0]


def test_boxes_are_clipped_to_their_image(labels: Path) -> None:
    edit(labels, {"annotations": [{"bbox": [-10, 20, 500, 60], "landmarks": []}]})
    np.testing.assert_array_equal(load(labels).train[0].images[0].faces.boxes, [[0, 20, 160, 60]])


def test_a_label_file_without_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(LabelFormatError, match=r"empty\.json"):
        load(path)


def test_held_out_images_are_not_trained_on_and_stay_the_same(labels: Path) -> None:
    data = load(labels, held_out=0.25)
    trained = {image.file_name for image in data.train[0].images}
    held = {image.file_name for image in data.validation[0].images}
    assert len(trained) == 3 and len(held) == 1 and not trained & held
    assert held == {image.file_name for image in load(labels, held_out=0.25).validation[0].images}
    assert held < {image.file_name for image in load(labels, held_out=0.5).validation[0].images}


def test_at_least_one_image_is_held_out_and_one_kept(labels: Path) -> None:
    assert len(load(labels, held_out=0.01).validation[0].images) == 1
    assert len(load(labels, held_out=0.99).train[0].images) == 1
    entries = json.loads(labels.read_text(encoding="utf-8"))
    labels.write_text(json.dumps(entries[:1]), encoding="utf-8")
    data = load(labels, held_out=0.5)
    assert len(data.train[0].images) == 1 and data.validation == ()


def test_a_validation_file_replaces_the_held_out_part_and_shared_images_are_reported(labels: Path) -> None:
    data = load(labels, held_out=0.5, validation=(LabelSource(labels=labels),))
    assert len(data.train[0].images) == len(data.validation[0].images) == 4
    assert "4 of 4 validation images are trained on, too" in data.findings[0]


def test_the_fingerprint_changes_with_any_label(labels: Path) -> None:
    before = load(labels).fingerprint
    assert load(labels).fingerprint == before
    edit(labels, {"annotations": []})
    assert load(labels).fingerprint != before
