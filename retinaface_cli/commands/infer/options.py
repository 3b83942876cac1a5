"""From the command line and a config file to the settings of `infer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from retinaface_cli.commands.console import say
from retinaface_cli.data.sources import Shard, Source, find_sources
from retinaface_cli.errors import SettingsError, count_of
from retinaface_cli.settings.base import load_settings, read_yaml, validate_settings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.legacy import is_legacy_config, translate_legacy_config
from retinaface_cli.settings.network import PREPROCESSINGS, NetworkSettings


def resolve_settings(given: Mapping[str, Any], *, config: str, console: Console) -> InferSettings:
    """Settings from what the user wrote, laid over the config file, laid over the defaults.

    Args:
        given: settings that stand on the command line.
        config: path of a YAML file of these settings or of an old one; empty for none.
        console: for what is said about an old config.

    Raises:
        SettingsError: a wrong key or value.
    """
    if config and is_legacy_config(values := read_yaml(Path(config))):
        taken = _from_old_config(values, source=config)
        say(console, f"{config}: config of ternaus/retinaface; taken from it: {taken}")
        return validate_settings(InferSettings, {**taken, **given}, source=config)
    return load_settings(InferSettings, Path(config) if config else None, overrides=given)


def _from_old_config(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Anchors and preprocessing of a config of ternaus/retinaface; the network itself is told by the checkpoint."""
    translated, _ = translate_legacy_config(values, source=source)
    network = validate_settings(NetworkSettings, translated.get("network", {}), source=source)
    names = [name for name, preprocessing in PREPROCESSINGS.items() if preprocessing == network.preprocessing]
    if not names:
        raise SettingsError(f"{source}: its normalisation is none of {', '.join(PREPROCESSINGS)}")
    return {"preprocessing": names[0], "anchors": network.anchors.model_dump()}


def describe_run(settings: InferSettings) -> str:
    """The settings in force as commented YAML, and how many images and videos they name."""
    sources = find_sources(settings.inputs, output=settings.output).sources
    return f"{render_settings(settings)}# {count_sources(sources)}"


def count_sources(sources: Sequence[Source]) -> str:
    """`12 images, 1 video, 3 shards`, as far as there are any."""
    num_videos = sum(source.is_video for source in sources)
    num_shards = sum(isinstance(source, Shard) for source in sources)
    numbers = {"image": len(sources) - num_videos - num_shards, "video": num_videos, "shard": num_shards}
    return ", ".join(count_of(number, noun) for noun, number in numbers.items() if number)
