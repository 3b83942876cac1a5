from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from retinaface_cli.engine.fine_level_training import FineLevelTrainingModule
from retinaface_cli.errors import SettingsError
from retinaface_cli.model.class_prior import set_class_prior
from retinaface_cli.model.retinaface import build_network
from tests.engine.training_making import (
    loader_of,
    make_settings,
    make_trainer,
    training_batch,
    validation_batch,
)

ANCHORS = {"sizes": [[8, 16], [16, 32], [64, 128], [256, 512]], "strides": [4, 8, 16, 32]}
TAUGHT = {
    "teach_fine_level": True,
    "network": {"anchors": ANCHORS},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "scheduler": {"name": "constant"},
}
BATCHES = [training_batch([0, 1]), training_batch([2, 3]), training_batch([4, 5])]
VALIDATION = loader_of([validation_batch([0])])

pytestmark = pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training")


def make_module(**overrides: Any) -> FineLevelTrainingModule:
    """A module whose level of stride 8 is sure of faces at some places of any picture, so that there is a lesson."""
    torch.manual_seed(0)
    settings = make_settings(**{**TAUGHT, **overrides})
    network = build_network(settings.network)
    set_class_prior(network)
    with torch.no_grad():
        network.class_heads[0].bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0]))  # type: ignore[operator]
        network.box_heads[0].weight.mul_(5)  # type: ignore[operator]
    return FineLevelTrainingModule(settings, network)


def test_only_the_fine_level_learns() -> None:
    module = make_module(trainer__max_epochs=20, ema={"decay": 0.5})
    start = {name: value.clone() for name, value in module.network.state_dict().items()}
    make_trainer(module.settings).fit(module, loader_of(BATCHES), VALIDATION)
    changed = {name for name, value in module.network.state_dict().items() if not torch.equal(value, start[name])}
    assert {name for name in changed if not name.startswith("fine.")} == set()
    assert changed >= {"fine.merge.0.weight", "fine.merge.1.running_mean", "fine.box_head.bias", "fine.class_head.bias"}
    assert not torch.equal(module.detection_state()["fine.class_head.bias"], start["fine.class_head.bias"])
    assert torch.equal(module.detection_state()["class_heads.0.weight"], start["class_heads.0.weight"])


def test_the_teacher_is_the_network_on_the_picture_at_twice_the_size() -> None:
    module = make_module()
    module.network.eval()
    module.on_train_start()
    images = torch.randn(1, 3, 64, 96)
    assert module._teacher is not None
    with torch.no_grad():
        answer = module._teacher.answer(images)
        larger = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear")
        whole = module.network(larger)
    num_finer = 32 * 48 * 2
    num_cells = 16 * 24  # of stride 8 in the larger picture, and of stride 4 in the smaller one
    for found, expected in zip(answer, whole, strict=True):
        torch.testing.assert_close(found, expected[:, num_finer : num_finer + 2 * num_cells], atol=1e-4, rtol=1e-4)


def test_the_lesson_is_learned() -> None:
    module = make_module(trainer__max_epochs=1, loss__weights={"localization": 1, "landmarks": 0.1})
    module.on_train_start()
    with torch.no_grad():
        before = module.losses(BATCHES[0])
    make_trainer(module.settings).fit(module, loader_of(BATCHES[:1] * 40), VALIDATION)
    with torch.no_grad():
        after = module.losses(BATCHES[0])
    assert 0 < float(after.box) < float(before.box) / 2
    assert 0 < float(after.landmarks) < float(before.landmarks) / 2
    assert float(after.classification) < float(before.classification)


def test_a_training_that_goes_on_ends_as_the_whole_one(tmp_path: Path) -> None:
    whole = make_module(trainer__max_epochs=2)
    make_trainer(whole.settings).fit(whole, loader_of(BATCHES), VALIDATION)
    first = make_module(trainer__max_epochs=2)
    half_way = make_trainer(make_settings(trainer__max_epochs=1))
    half_way.fit(first, loader_of(BATCHES), VALIDATION)
    half_way.save_checkpoint(tmp_path / "half.ckpt")
    resumed = make_module(trainer__max_epochs=2)
    with torch.no_grad():
        for parameter in resumed.network.parameters():
            parameter.zero_()  # all comes from the checkpoint, what the teacher knows, too
    make_trainer(resumed.settings).fit(
        resumed, loader_of(BATCHES), VALIDATION, ckpt_path=tmp_path / "half.ckpt", weights_only=False
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize(
    "anchors",
    [
        {},
        {"sizes": [[8], [24], [64], [256]], "strides": [4, 8, 16, 32]},
    ],
    ids=["no level of stride 4", "not half the next sizes"],
)
def test_anchors_that_cannot_be_taught_are_refused(anchors: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"teach_fine_level needs network\.anchors with strides"):
        make_settings(**{**TAUGHT, "network": {"anchors": anchors}})
