"""The script that shifts the scores of single anchor sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints import load_weights
from retinaface_cli.settings.network import AnchorSettings
from tests.conftest import REPOSITORY
from tests.engine.test_detector import THREE_LEVELS, write_random_weights
from tests.model.target_making import FINE

SIZE = (64, 96)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "examples" / "shift_scores.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("anchors", "by"),
    [(FINE, {(8, 4): 0.5, (32, 8): -1.25}), (THREE_LEVELS, {(512, 32): 2.0})],
    ids=["fine level", "three levels"],
)
def test_only_the_named_anchors_are_shifted(
    tmp_path: Path, anchors: AnchorSettings, by: dict[tuple[int, int], float]
) -> None:
    path = write_random_weights(tmp_path / "w.safetensors", anchors=anchors)
    output = tmp_path / "shifted.safetensors"
    shifts = [f"--by={side}@{stride}={value}" for (side, stride), value in by.items()]
    done = run(path, *shifts, "-o", output)
    assert done.returncode == 0, done.stderr
    before, after = load_weights(path), load_weights(output)
    assert after.training["shifted_scores"] == {f"{side}@{stride}": value for (side, stride), value in by.items()}
    image = torch.randn(1, 3, *SIZE)
    with torch.inference_mode():
        old, new = before.build()(image), after.build()(image)
    first = 0
    for stride, sizes in zip(anchors.strides, anchors.sizes, strict=True):
        sides = generate_anchors(SIZE, (sizes,), (stride,))[:, 2]
        moved = (new.class_logits - old.class_logits)[0, first : first + len(sides)]
        expected = torch.tensor([by.get((int(side), stride), 0.0) for side in sides.tolist()])
        torch.testing.assert_close(moved[:, 1], expected, atol=1e-4, rtol=0)
        assert float(moved[:, 0].abs().max()) == 0
        first += len(sides)
    assert torch.equal(new.box_deltas, old.box_deltas)


def test_anchors_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    done = run(path, "--by=8@4=1", "-o", tmp_path / "x.safetensors")
    assert done.returncode == 1
    assert "has no anchors 8@4; there are 16@8, 32@8, 64@16" in done.stderr
    assert not (tmp_path / "x.safetensors").exists()
