"""What all sub-commands share on the command line."""

from __future__ import annotations

from typing import Any

import typer


def given_options(ctx: typer.Context) -> dict[str, Any]:
    """The parameters that the user wrote on the command line, by name; defaults are left to the settings."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {
        name: value
        for name, value in ctx.params.items()
        if (source := sources[name]) is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")
    }


def normalize_option(token: str) -> str:
    """Lets every option be written with underscores too (--max_size), as the older tools spelled them."""
    return token.replace("_", "-")
