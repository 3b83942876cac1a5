"""The command line of infer, with that of the older tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from retinaface_cli.cli.app import app


def settings_of(*arguments: str) -> dict[str, Any]:
    """The settings in force."""
    result = CliRunner().invoke(app, ["infer", *arguments, "--print-config"])
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = yaml.safe_load(result.stdout)
    return values


@pytest.fixture
def image(tmp_path: Path) -> str:
    (tmp_path / "a.jpg").touch()
    return str(tmp_path / "a.jpg")


def test_the_command_line_of_ternaus_works(image: str) -> None:
    values = settings_of(
        *(
            "-i",
            image,
            "-o",
            "out",
            "-v",
            "-g",
            "2",
            "-m",
            "800",
            "-b",
            "3",
            "-j",
            "4",
            "--confidence_threshold",
            "0.6",
        ),
        *("--nms_threshold", "0.3", "-w", "w.pth", "--keep_top_k", "100", "--world_size", "2", "--local_rank", "0"),
        "--fp16",
    )
    wanted = {
        "inputs": [image],
        "output": "out",
        "visualize": True,
        "devices": 2,
        "max_size": 800,
        "batch_size": 3,
        "num_workers": 4,
        "score_threshold": 0.6,
        "nms_iou_threshold": 0.3,
        "weights": "w.pth",
        "keep_top_k": 100,
        "precision": "16",
    }
    assert {key: values[key] for key in wanted} == wanted
    long = settings_of("--input_path", image, "--output_path", "out", "--num_gpus", "2", "--weight_path", "w.pth")
    assert (long["output"], long["devices"], long["weights"]) == ("out", 2, "w.pth")


def test_the_command_line_of_biubug6_works(image: str) -> None:
    values = settings_of(
        *(image, "--confidence_threshold", "0.02", "--top_k", "5000", "--keep_top_k", "750", "--origin_size", "-s"),
        *("--vis_thres", "0.5"),
    )
    assert (values["score_threshold"], values["pre_nms_top_k"], values["keep_top_k"]) == (0.02, 5000, 750)
    assert values["max_size"] is None and values["visualize"] is True


@pytest.mark.parametrize("order", [0, 1])
def test_options_go_before_the_config_file_wherever_they_stand(image: str, tmp_path: Path, order: int) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("max_size: original\nrescore: false\ncrop_size: 96\n")
    parts = [["--config", str(config)], ["--crop-size", "112", "--rescore"]]
    values = settings_of(image, *parts[order], *parts[1 - order])
    assert (values["max_size"], values["rescore"], values["crop_size"]) == (None, True, 112)


def test_an_address_stays_whole(image: str) -> None:
    assert settings_of(image, "-w", "https://a.org/w.pth")["weights"] == "https://a.org/w.pth"
