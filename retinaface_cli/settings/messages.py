"""Settings of every command: how much it says, and to whom."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from retinaface_cli.settings.base import Option, Settings

MESSAGE_PANEL = "Messages"


class MessageSettings(Settings):
    """What a command prints beside its results."""

    quiet: Annotated[bool, Option(short="-q", panel=MESSAGE_PANEL, is_flag=True)] = False
    """Print errors alone."""

    verbose: Annotated[bool, Option(panel=MESSAGE_PANEL, is_flag=True)] = False
    """Print all notes and failures, not the first few of them, and where in the code an error came up."""

    json_output: Annotated[bool, Option(name="--json", panel=MESSAGE_PANEL, is_flag=True)] = False
    """Print one JSON object with folder, counts and figures on standard output, and nothing else there."""

    @model_validator(mode="after")
    def _check_together(self) -> MessageSettings:
        if self.quiet and self.verbose:
            raise ValueError("quiet and verbose exclude each other")
        return self
