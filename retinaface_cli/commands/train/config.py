"""Configs of `train` for people: a commented starter, and all settings in force."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from retinaface_cli.commands.train.options import TrainRequest
from retinaface_cli.errors import SettingsError
from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.presets import PRESETS, starter_config


def write_starter_config(name: str, path: str | None) -> None:
    """Writes a commented config that trains after its paths are put in.

    Args:
        name: one of PRESETS.
        path: of the file; None: NAME.yaml here.

    Raises:
        SettingsError: no such starter, or the file is there already.
    """
    if name not in PRESETS:
        raise SettingsError(f"--init-config {name}: known: {', '.join(PRESETS)}")
    target = Path(path or f"{name}.yaml")
    if target.exists():
        raise SettingsError(
            f"{target}: is there already; name another file: retinaface train NEW.yaml --init-config {name}"
        )
    write_text_atomic(target, starter_config(name))
    Console().print(f"{target} written; put your paths in, then: retinaface train {target}", soft_wrap=True)


def describe_config(request: TrainRequest) -> str:
    """All settings in force as commented YAML, with what became of the keys of an old config at the top."""
    notes = [f"{note.kind:8}{note.key}: {note.text}" for note in request.notes]
    return render_settings(request.settings, heading="\n".join([f"All settings of {request.source}", *notes]))
