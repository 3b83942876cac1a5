from __future__ import annotations

import pickle

import numpy as np
import pytest

from retinaface_cli.data.augmentations import Augmentation, known_transforms
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, FaceLabels, RgbImage
from retinaface_cli.settings.data import (
    AUGMENTATIONS,
    AffineSettings,
    AugmentationSettings,
    ColorSettings,
    FlipSettings,
    QualitySettings,
    TransformSettings,
)
from tests.data.painted import BACKGROUND, face_labels, nearest_point, paint, painted_box

SIZE = 160
WHOLE = np.array([0, 0, SIZE, SIZE], np.float32)
NO_FLIP = FlipSettings(horizontal=0)
NO_COLOR = ColorSettings(probability=0)
BOX = (30, 20, 90, 110)


def settings_of(
    *extra: tuple[str, dict[str, object]],
    flip: FlipSettings = NO_FLIP,
    affine: AffineSettings | None = None,
    color: ColorSettings = NO_COLOR,
    min_face_size: float = 0,
    min_visibility: float = 0,
) -> AugmentationSettings:
    return AugmentationSettings(
        flip=flip,
        affine=affine or AffineSettings(),
        color=color,
        extra=tuple(TransformSettings(name=name, arguments=arguments) for name, arguments in extra),
        fill=BACKGROUND,
        min_face_size=min_face_size,
        min_visibility=min_visibility,
    )


def augment(
    settings: AugmentationSettings, faces: FaceLabels, *, seed: int = 0, image: RgbImage | None = None
) -> tuple[RgbImage, FaceLabels]:
    one_image = paint((SIZE, SIZE), faces) if image is None else image
    return Augmentation(settings, image_size=SIZE)(one_image, faces, content=WHOLE, rng=np.random.default_rng(seed))


def test_mirroring_moves_boxes_and_swaps_left_and_right_landmarks() -> None:
    faces = face_labels((10, 20, 50, 100))
    _, result = augment(settings_of(flip=FlipSettings(horizontal=1)), faces)
    np.testing.assert_allclose(result.boxes, [[110, 20, 150, 100]], atol=1e-4)
    # the left eye of the mirrored face is the right eye (38, 48) of the first one, at 160 - 38
    np.testing.assert_allclose(result.landmarks[0, 0], [122, 48], atol=1e-4)
    np.testing.assert_allclose(result.landmarks[0, 1], [138, 48], atol=1e-4)
    np.testing.assert_allclose(result.landmarks[0, 2], [132, 64], atol=1e-4)


SPATIAL = {
    "mirror": (settings_of(flip=FlipSettings(horizontal=1)), True),
    "transpose": (settings_of(flip=FlipSettings(horizontal=0, transpose=1)), True),
    "mirror and transpose": (settings_of(flip=FlipSettings(horizontal=1, transpose=1)), False),
    "upside down": (settings_of(("VerticalFlip", {"p": 1.0})), True),
    "quarter turns": (settings_of(flip=FlipSettings(horizontal=0, rotate90=1)), False),
    "small turns": (settings_of(affine=AffineSettings(probability=1, max_angle=20)), False),
    "turns, sizes, shifts": (
        settings_of(affine=AffineSettings(probability=1, max_angle=15, scale=(0.7, 1.2), max_shift=0.1)),
        False,
    ),
    "perspective": (settings_of(("Perspective", {"scale": [0.05, 0.1], "p": 1.0})), False),
}


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("seed", range(4))
def test_landmarks_stay_on_their_points_when_turned_and_swap_when_mirrored(name: str, seed: int) -> None:
    settings, mirrors = SPATIAL[name]
    image, result = augment(settings, face_labels(BOX), seed=seed)
    order = LANDMARK_MIRROR_ORDER if mirrors else range(5)
    seen = [nearest_point(image[int(y), int(x)]) for x, y in result.landmarks[0]]
    assert seen == list(order)


@pytest.mark.parametrize("name", ["mirror", "transpose", "mirror and transpose", "upside down", "quarter turns"])
@pytest.mark.parametrize("seed", range(4))
def test_boxes_stay_exactly_on_their_faces_under_flips_and_quarter_turns(name: str, seed: int) -> None:
    image, result = augment(SPATIAL[name][0], face_labels(BOX), seed=seed)
    np.testing.assert_allclose(result.boxes[0], painted_box(image), atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_shifted_and_scaled_box_stays_on_its_face_within_a_pixel(seed: int) -> None:
    affine = AffineSettings(probability=1, max_angle=0, scale=(0.6, 1.1), max_shift=0.1)
    image, result = augment(settings_of(affine=affine), face_labels(BOX), seed=seed)
    np.testing.assert_allclose(result.boxes[0], painted_box(image), atol=1.01)


def test_the_box_of_a_slightly_turned_face_hardly_grows() -> None:
    affine = AffineSettings(probability=1, max_angle=20)
    boxes = np.stack([augment(settings_of(affine=affine), face_labels(BOX), seed=s)[1].boxes[0] for s in range(8)])
    # an ellipse of 60 x 90 turned by 20 degrees fits into 64.3 x 87.1 pixels, its corners would need 87.2 x 105.1
    assert np.all(boxes[:, 2] - boxes[:, 0] < 65) and np.all(boxes[:, 3] - boxes[:, 1] < 91)


def test_missing_landmarks_stay_missing_and_swap_with_the_others() -> None:
    faces = face_labels((10, 20, 50, 100))
    known = np.array([[True, False, True, False, True]])
    partly = FaceLabels(faces.boxes, np.where(known[..., None], faces.landmarks, np.nan), known, faces.ignore)
    _, result = augment(settings_of(flip=FlipSettings(horizontal=1)), partly, image=np.zeros((SIZE, SIZE, 3), np.uint8))
    assert result.has_landmarks.tolist() == [[False, True, True, True, False]]
    assert np.isnan(result.landmarks[0, [0, 4]]).all()
    np.testing.assert_allclose(result.landmarks[0, 1], [138, 48], atol=1e-4)


def test_a_landmark_outside_the_image_becomes_missing() -> None:
    faces = face_labels((-20, 20, 60, 100))  # the left eye is at x = 4, the left corner of the mouth too
    moved = FaceLabels(faces.boxes, faces.landmarks - np.array([10, 0], np.float32), faces.has_landmarks, faces.ignore)
    _, result = augment(settings_of(), moved)
    assert result.has_landmarks.tolist() == [[False, True, True, False, True]]
    np.testing.assert_allclose(result.boxes, [[0, 20, 60, 100]], atol=1e-4)
    assert not result.ignore.any()


def test_faces_below_the_smallest_size_are_ignored_not_dropped() -> None:
    faces = face_labels((10, 10, 17.9, 40), (50, 50, 58, 58))
    _, result = augment(settings_of(min_face_size=8), faces)
    assert result.ignore.tolist() == [True, False]


def test_a_face_whose_centre_is_cut_off_is_ignored_and_one_outside_is_gone() -> None:
    faces = face_labels((-50, 20, 40, 100), (-90, 20, -5, 100), (20, 20, 40, 50))
    _, result = augment(settings_of(), faces)
    assert result.ignore.tolist() == [True, False]
    np.testing.assert_allclose(result.boxes, [[0, 20, 40, 100], [20, 20, 40, 50]], atol=1e-4)


@pytest.mark.parametrize(("min_visibility", "is_ignored"), [(0.59, False), (0.61, True)])
def test_a_face_of_which_too_little_is_left_is_ignored(min_visibility: float, is_ignored: bool) -> None:
    _, result = augment(settings_of(min_visibility=min_visibility), face_labels((-40, 20, 60, 100)))  # 60 % is left
    assert result.ignore.tolist() == [is_ignored]


def test_what_an_affine_step_pushes_out_counts_as_cut() -> None:
    shift = settings_of(("Affine", {"translate_px": {"x": -60, "y": 0}, "p": 1.0}), min_visibility=0.55)
    _, result = augment(shift, face_labels((20, 20, 100, 100), (110, 20, 150, 100), (5, 5, 15, 15)))
    assert result.ignore.tolist() == [True, False]  # half of the first is left; the last is gone
    np.testing.assert_allclose(result.boxes, [[0, 20, 40, 100], [50, 20, 90, 100]], atol=1e-3)


def test_shrinking_a_image_does_not_count_as_cutting_its_faces() -> None:
    shrink = settings_of(("Affine", {"scale": 0.5, "p": 1.0}), min_visibility=0.95)
    _, result = augment(shrink, face_labels(BOX))
    assert result.ignore.tolist() == [False]
    np.testing.assert_allclose(result.boxes, [[55, 50, 85, 95]], atol=0.6)


def test_a_face_that_a_transform_takes_out_is_ignored_where_it_was() -> None:
    hole = {"num_holes_range": [1, 1], "hole_height_range": [0.95, 0.99], "hole_width_range": [0.95, 0.99], "p": 1.0}
    _, result = augment(settings_of(("CoarseDropout", hole)), face_labels(BOX))
    assert result.ignore.tolist() == [True]
    np.testing.assert_allclose(result.boxes, [BOX], atol=1e-3)


def test_faces_marked_as_ignored_stay_so() -> None:
    faces = face_labels(BOX)
    marked = FaceLabels(faces.boxes, faces.landmarks, faces.has_landmarks, np.array([True]))
    assert augment(settings_of(), marked)[1].ignore.tolist() == [True]


def test_a_image_without_faces_is_changed_like_any_other() -> None:
    image = np.arange(SIZE * SIZE * 3, dtype=np.uint32).astype(np.uint8).reshape(SIZE, SIZE, 3)
    result, faces = augment(settings_of(flip=FlipSettings(horizontal=1)), FaceLabels.empty(), image=image)
    assert len(faces) == 0
    np.testing.assert_array_equal(result, image[:, ::-1])


def test_only_what_shows_the_image_counts_as_seen() -> None:
    augmentation = Augmentation(settings_of(min_visibility=0.5), image_size=SIZE)
    content = np.array([0, 0, SIZE, 60], np.float32)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    faces = face_labels((10, 0, 50, 100), (60, 50, 100, 90))
    _, result = augmentation(image, faces, content=content, rng=np.random.default_rng(0))
    np.testing.assert_allclose(result.boxes, [[10, 0, 50, 60], [60, 50, 100, 60]], atol=1e-4)
    assert result.ignore.tolist() == [False, True]


def test_the_same_seed_gives_the_same_sample_and_another_seed_another() -> None:
    augmentation = Augmentation(AUGMENTATIONS["modern"], image_size=SIZE)
    faces = face_labels(BOX)
    image = paint((SIZE, SIZE), faces)
    results = [
        augmentation(image, faces, content=WHOLE, rng=np.random.default_rng(seed))[0] for seed in (1, 2, 3, 1, 2, 3)
    ]
    for first, again in zip(results[:3], results[3:], strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(results[0], results[1])


def color_of(color: ColorSettings, pixel: tuple[int, int, int], *, seed: int = 0) -> list[int]:
    image = np.full((SIZE, SIZE, 3), pixel, np.uint8)
    result, _ = augment(settings_of(color=color), FaceLabels.empty(), seed=seed, image=image)
    return [int(value) for value in result[0, 0]]


ONE = (1.0, 1.0)
STILL = {"probability": 1, "brightness": 0, "hue": 0, "contrast": ONE, "saturation": ONE, "gamma": ONE}


@pytest.mark.parametrize(
    ("change", "pixel", "expected"),
    [
        ({"contrast": (1.5, 1.5)}, (10, 100, 200), (15, 150, 255)),
        ({"gamma": (2.0, 2.0)}, (0, 51, 255), (0, 10, 255)),  # 255 * .2 ** 2 = 10.2
        ({"saturation": (0.5, 0.5)}, (200, 100, 50), (162, 112, 87)),  # halfway to the brightness of 124.2
        ({"hue": 90}, (90, 90, 90), (90, 90, 90)),  # grey has no hue
        ({}, (1, 2, 3), (1, 2, 3)),
    ],
)
def test_colours_change_as_the_settings_say(
    change: dict[str, object], pixel: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    result = color_of(ColorSettings.model_validate({**STILL, **change}), pixel)
    np.testing.assert_allclose(result, expected, atol=1)


def test_brightness_is_drawn_from_both_sides() -> None:
    color = ColorSettings.model_validate({**STILL, "brightness": 30})
    values = [color_of(color, (100, 100, 100), seed=seed)[0] for seed in range(20)]
    assert min(values) < 90 and max(values) > 110 and min(values) >= 70 and max(values) <= 130


def test_hue_turns_the_colour_and_keeps_the_brightness() -> None:
    color = ColorSettings.model_validate({**STILL, "hue": 120})
    luma = np.array([0.299, 0.587, 0.114])
    pixels = np.array([color_of(color, (140, 100, 80), seed=seed) for seed in range(6)])
    np.testing.assert_allclose(pixels @ luma, luma @ (140, 100, 80), atol=1.5)
    assert len(np.unique(pixels, axis=0)) == 6


def test_blur_noise_and_jpeg_change_the_image_but_not_the_faces() -> None:
    faces = face_labels(BOX)
    image = paint((SIZE, SIZE), faces)
    for name in ("blur", "noise", "jpeg"):
        quality = QualitySettings.model_validate({f"{name}_probability": 1})
        settings = settings_of().model_copy(update={"quality": quality})
        result, moved = augment(settings, faces, image=image)
        assert not np.array_equal(result, image), name
        assert np.abs(result.astype(int) - image).mean() < 12, name
        np.testing.assert_allclose(moved.boxes, faces.boxes, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("HorizontalFlop", {}, r"extra\.0: HorizontalFlop: .* did you mean HorizontalFlip\?"),
        ("CLAHE", {"clip": 3}, r"extra\.0: CLAHE: .*clip"),
        ("GaussianBlur", {"sigma_limit": "much"}, r"extra\.0: GaussianBlur: "),
        ("Normalize", {}, r"extra\.0: Normalize: the image must stay \(160, 160, 3\) uint8"),
        ("RandomCrop", {"height": 64, "width": 64}, r"extra\.0: RandomCrop: the image must stay"),
        ("os.system", {}, r"extra\.0: os\.system: albumentations has no such transform"),
    ],
)
def test_an_extra_transform_that_cannot_be_used_is_named_before_anything_starts(
    name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Augmentation(settings_of((name, arguments)), image_size=SIZE)


def test_only_transforms_can_be_named() -> None:
    known = known_transforms()
    assert {"CLAHE", "HorizontalFlip", "Affine"} <= set(known)
    assert not {"Compose", "BboxParams", "BasicTransform", "DualTransform", "ImageOnlyTransform"} & set(known)


def test_the_pipeline_can_be_sent_to_a_worker_process() -> None:
    augmentation = Augmentation(AUGMENTATIONS["classic"], image_size=SIZE)
    faces = face_labels(BOX)
    image = paint((SIZE, SIZE), faces)
    copy = pickle.loads(pickle.dumps(augmentation))
    first, _ = augmentation(image, faces, content=WHOLE, rng=np.random.default_rng(5))
    second, _ = copy(image, faces, content=WHOLE, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(first, second)
