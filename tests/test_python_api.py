"""What `import retinaface_cli` gives to Python programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import retinaface_cli
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import FaceTable, write_predictions
from tests.commands.training_runs import SMALL, write_data
from tests.conftest import REPOSITORY

IMAGES = REPOSITORY / "examples" / "images"


def test_labels_are_read_and_written_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, retinaface_cli\n"
        "assert not {'torch', 'cv2', 'numpy'} & set(sys.modules)\n"
        f"labels = retinaface_cli.read_labels({str(IMAGES / 'labels.json')!r})\n"
        f"retinaface_cli.write_labels({str(tmp_path / 'label.txt')!r}, labels)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(retinaface_cli.read_labels(str(tmp_path / "label.txt")).boxes) == 82


def test_an_image_is_read_by_its_name_as_text() -> None:
    assert retinaface_cli.load_rgb(str(IMAGES / "astronaut.jpg")).shape == (512, 512, 3)


def test_evaluate_wider_takes_tables_and_files_and_warns_of_what_may_be_wrong(tmp_path: Path) -> None:
    labels = retinaface_cli.read_labels(IMAGES / "labels.json")
    found = [
        FaceDetections(faces.boxes, faces.landmarks, np.linspace(0.9, 0.01, len(faces), dtype=np.float32))
        for faces in labels.labels()
    ]
    table = FaceTable.from_detections(labels.file_names, found)
    assert retinaface_cli.evaluate_wider(table, str(IMAGES / "labels.json")).subsets["all"].ap == pytest.approx(1)
    write_predictions(tmp_path / "found.json", table, format_name="json")
    half = table.select_images(np.arange(len(table)) < 4)
    with pytest.warns(UserWarning, match="1 labelled images have no predictions"):
        report = retinaface_cli.evaluate_wider(half, IMAGES / "labels.json")
    assert report.subsets["all"].recall == pytest.approx(1 - found[4].boxes.shape[0] / 82)
    assert retinaface_cli.evaluate_wider(tmp_path / "found.json", IMAGES / "labels.json").subsets["all"].num_faces == 82


def test_train_takes_a_config_and_settings_and_says_where_the_weights_are(tmp_path: Path) -> None:
    config = write_data(tmp_path)
    outcome = retinaface_cli.train(config, {**SMALL, "trainer.max_epochs": 1, "output": str(tmp_path / "run")})
    assert outcome is not None
    assert outcome["status"] == "finished"
    assert Path(outcome["weights"]) == tmp_path / "run" / "best.safetensors"
    assert (tmp_path / "run" / "best.safetensors").is_file()
