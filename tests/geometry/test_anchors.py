from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retinaface_cli.geometry.anchors import generate_anchors, padded_size

SIZES = ((16.0, 32.0), (64.0, 128.0), (256.0, 512.0))
STRIDES = (8, 16, 32)


@pytest.mark.parametrize(("side", "count"), [(640, 16_800), (840, 29_126), (1024, 43_008)])
def test_the_number_of_anchors_is_that_of_the_old_code(side: int, count: int) -> None:
    assert generate_anchors((side, side), SIZES, STRIDES).shape == (count, 4)


def test_anchors_go_by_level_row_column_and_size() -> None:
    anchors = generate_anchors((16, 17), SIZES, STRIDES)
    assert len(anchors) == 2 * (2 * 3 + 1 * 2 + 1 * 1)
    assert anchors[:4].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16], [12, 4, 32, 32]]
    assert anchors[-2:].tolist() == [[16, 16, 256, 256], [16, 16, 512, 512]]


@pytest.mark.shared
@pytest.mark.parametrize("size", [(133, 170), (33, 47), (640, 640), (768, 1024)])
def test_anchors_equal_the_recorded_ones(shared: Path, size: tuple[int, int]) -> None:
    with np.load(shared / "reference" / "anchors.npz") as recorded:
        name = f"{size[0]}x{size[1]}"
        relative = generate_anchors(size, SIZES, STRIDES).double() / torch.tensor([size[1], size[0]] * 2)
        assert len(relative) == recorded[f"{name}_count"]
        np.testing.assert_allclose(relative.sum(0), recorded[f"{name}_sum"], rtol=1e-6)
        if name in recorded:
            np.testing.assert_array_equal(relative.float(), recorded[name])


def test_padding_goes_up_to_multiples_of_32() -> None:
    assert padded_size((1, 32)) == (32, 32)
    assert padded_size((33, 640)) == (64, 640)
