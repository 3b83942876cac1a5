from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retinaface_cli.geometry.boxes import (
    box_area,
    cxcywh_to_xyxy,
    decode_boxes,
    decode_landmarks,
    encode_boxes,
    encode_landmarks,
    pairwise_iou,
    xyxy_to_cxcywh,
)


def test_corners_become_centre_and_size_and_back() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert xyxy_to_cxcywh(boxes).tolist() == [[20, 40, 20, 40]]
    assert torch.equal(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_iou_of_worked_examples() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [5.0, 5, 5, 5]])
    second = torch.tensor([[0.0, 0, 10, 10], [5.0, 0, 15, 10], [20.0, 20, 30, 30]])
    expected = torch.tensor([[1.0, 1 / 3, 0], [0.0, 0, 0]])
    torch.testing.assert_close(pairwise_iou(first, second), expected)
    assert pairwise_iou(first[:0], second).shape == (0, 3)


def test_a_box_turned_inside_out_has_no_area() -> None:
    assert box_area(torch.tensor([[10.0, 10, 0, 20]])).tolist() == [0]


def test_encoding_of_a_worked_example() -> None:
    anchors = torch.tensor([[50.0, 50, 20, 20]])
    box = torch.tensor([[41.0, 42, 61, 82]])  # centre (51, 62), 20 x 40
    encoded = encode_boxes(box, anchors)
    torch.testing.assert_close(encoded, torch.tensor([[0.5, 6.0, 0.0, 3.4657359]]))  # ln(2) / .2
    points = torch.tensor([[[52.0, 54.0]] * 5])
    assert encode_landmarks(points, anchors)[0, 0].tolist() == [1.0, 2.0]


def test_decoding_inverts_encoding() -> None:
    generator = torch.Generator().manual_seed(1)
    anchors = torch.rand(50, 4, generator=generator) * 100 + 10
    low = torch.rand(50, 2, generator=generator) * 100
    boxes = torch.cat([low, low + 1 + torch.rand(50, 2, generator=generator) * 100], dim=1)
    points = torch.rand(50, 5, 2, generator=generator) * 100
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(decode_landmarks(encode_landmarks(points, anchors), anchors), points)


def test_a_wild_output_gives_finite_boxes() -> None:
    wild = torch.tensor([[0.0, 0.0, 1e4, 1e4]])
    assert decode_boxes(wild, torch.tensor([[8.0, 8, 16, 16]])).isfinite().all()


@pytest.mark.shared
def test_decoding_equals_the_recorded_one(shared: Path) -> None:
    with np.load(shared / "reference" / "loss.npz") as recorded:
        anchors = torch.from_numpy(recorded["anchors"])
        boxes = decode_boxes(torch.from_numpy(recorded["box_deltas"][0]) * 0.3, anchors)
        np.testing.assert_allclose(boxes, recorded["decoded_boxes"], rtol=1e-5, atol=1e-5)
        deltas = torch.from_numpy(recorded["landmark_deltas"][0]).reshape(-1, 5, 2)
        decoded = decode_landmarks(deltas, anchors).reshape(-1, 10)
        np.testing.assert_allclose(decoded, recorded["decoded_landmarks"], rtol=1e-5, atol=1e-5)
