"""Configs with wrong bytes or wrong values: read, or refused with one message."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retinaface_cli.settings.base import Settings, find_models, load_settings, read_yaml, validate_settings
from retinaface_cli.settings.conversion import ConversionSettings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.settings.legacy import is_legacy_config, translate_legacy_config
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.settings.visualization import VisualizeSettings
from tests.conftest import REPOSITORY
from tests.fuzz.mutation import NUM_LONG, is_refused, mutated_files, numbers_of_cases

TRAINING = sorted((REPOSITORY / "examples/configs").glob("*.yaml"))
LEGACY = sorted((REPOSITORY / "tests/fixtures/old_configs").glob("*.yaml"))
SCHEMAS: Mapping[str, type[Settings]] = {
    "convert-labels": ConversionSettings,
    "infer": InferSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "visualize": VisualizeSettings,
}


def read_config(path: Path, schema: type[Settings]) -> None:
    """Reads a config as the commands do, and renders what comes."""
    values = read_yaml(path)
    if is_legacy_config(values):
        values, _ = translate_legacy_config(values, source=path.name)
    rendered = render_settings(validate_settings(schema, values, source=path.name))
    assert isinstance(yaml.safe_load(rendered), dict)


@numbers_of_cases(60)
@pytest.mark.parametrize(
    ("files", "schema"), [(TRAINING, TrainSettings), (LEGACY, TrainSettings)], ids=["new", "legacy"]
)
def test_configs_with_wrong_bytes_are_read_or_refused(
    files: list[Path], schema: type[Settings], tmp_path: Path, count: int
) -> None:
    copies = [Path(shutil.copy(path, tmp_path)) for path in files]
    for path in mutated_files(copies, f"{files[0].name} {count}", count):
        is_refused(partial(read_config, path, schema))


def keys_of(schema: type[Settings]) -> list[str]:
    """Names of all settings, those of groups too."""
    found = list(schema.model_fields)
    for field in schema.model_fields.values():
        for group in find_models(field.annotation):
            if issubclass(group, Settings):
                found += keys_of(group)
    return sorted(set(found))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(
        ["auto", "none", "0", "1e999", "../x", "/dev/null", "https://a/b", "{", "\ud800", "\x1b[31m", "9" * 5000]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def make_property(schema: type[Settings], count: int) -> Callable[[], None]:
    names = st.sampled_from(keys_of(schema)) | st.text(max_size=8)
    keys = st.lists(names | st.integers(0, 3).map(str), min_size=1, max_size=4).map(".".join)

    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.dictionaries(keys, VALUES, max_size=4), st.dictionaries(names, VALUES, max_size=4))
    def check(overrides: dict[str, Any], values: dict[str, Any]) -> None:
        is_refused(lambda: render_settings(load_settings(schema, overrides=overrides)))
        is_refused(lambda: render_settings(validate_settings(schema, values, source="config")))
        is_refused(lambda: translate_legacy_config({**values, **overrides}, source="config"))

    return check


@pytest.mark.parametrize("count", [40, pytest.param(NUM_LONG, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", SCHEMAS)
def test_wrong_settings_are_taken_or_refused(command: str, count: int) -> None:
    make_property(SCHEMAS[command], count)()
