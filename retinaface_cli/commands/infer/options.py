"""From the command line and a config file to the settings of `infer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from retinaface_cli.data.sources import find_sources
from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.base import load_settings, parse_assignments, read_yaml, validate_settings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.legacy import is_legacy_config, translate_legacy_config
from retinaface_cli.settings.network import PREPROCESSINGS, NetworkSettings

_RENAMED = {"output_format": "format"}
_NOT_SETTINGS = ("config", "dry_run", "list_weights", "fp16", "input_path", "world_size", "local_rank", "anchors")


def resolve_settings(given: Mapping[str, Any], *, config: str, console: Console) -> InferSettings:
    """Settings from what the user wrote, laid over the config file, laid over the defaults.

    Args:
        given: options that stand on the command line, by parameter name.
        config: path of a YAML file of these settings or of an old one; empty for none.
        console: for what is said about old options and configs.

    Raises:
        SettingsError: a wrong key or value.
    """
    overrides = {_RENAMED.get(name, name): value for name, value in given.items() if name not in _NOT_SETTINGS}
    overrides |= _from_special_options(given)
    if given.get("world_size") is not None or given.get("local_rank") is not None:
        console.print(
            "--world_size and --local_rank are not needed any more: --devices N and --num-nodes M, torchrun or SLURM "
            "stand in their place",
            highlight=False,
        )
    if config and is_legacy_config(values := read_yaml(Path(config))):
        taken = _from_old_config(values, source=config)
        console.print(f"{config}: config of ternaus/retinaface; taken from it: {taken}", highlight=False, markup=False)
        return validate_settings(InferSettings, {**taken, **overrides}, source=config)
    return load_settings(InferSettings, Path(config) if config else None, overrides=overrides)


def _from_old_config(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Anchors and preprocessing of a config of ternaus/retinaface; the network itself is told by the checkpoint."""
    translated, _ = translate_legacy_config(values, source=source)
    network = validate_settings(NetworkSettings, translated.get("network", {}), source=source)
    names = [name for name, preprocessing in PREPROCESSINGS.items() if preprocessing == network.preprocessing]
    if not names:
        raise SettingsError(f"{source}: its normalisation is none of {', '.join(PREPROCESSINGS)}")
    return {"preprocessing": names[0], "anchors": network.anchors.model_dump()}


def _from_special_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings behind options of another shape or another name."""
    special: dict[str, Any] = {}
    if given.get("fp16"):
        special["precision"] = "fp16"
    if given.get("input_path"):
        special["inputs"] = (*(given.get("inputs") or ()), *given["input_path"])
    if given.get("anchors"):
        special["anchors"] = {"sizes": parse_assignments([f"anchors={given['anchors']}"])["anchors"]}
    return special


def describe_run(settings: InferSettings) -> str:
    """The settings in force as YAML, and how many images and videos they name."""
    sources = find_sources(settings.inputs)
    num_videos = sum(source.is_video for source in sources)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"{text}# {len(sources) - num_videos} images and {num_videos} videos"
