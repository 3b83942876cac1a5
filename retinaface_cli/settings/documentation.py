"""Settings as commented YAML: every value with what it means, in which unit, and what else it could be."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from retinaface_cli.settings.base import Settings

_WIDTH = 118


def render_settings(settings: Settings, *, heading: str = "", without: Collection[str] = ()) -> str:
    """The settings as YAML that `load_settings` reads back to the same object, each value under its description.

    Args:
        settings: any group of settings.
        heading: lines of comment at the top.
        without: settings of the top that are left out.
    """
    lines = [f"# {line}" for line in heading.splitlines()] + [""] * bool(heading)
    lines += _render_group(settings, indent=0, without=without)
    return "\n".join(lines) + "\n"


def _render_group(settings: Settings, *, indent: int, without: Collection[str] = ()) -> list[str]:
    """The lines of one group, keys in the order of the schema; a blank line before each group at the top."""
    lines: list[str] = []
    for name, field in type(settings).model_fields.items():
        if name in without:
            continue
        value = getattr(settings, name)
        if indent == 0 and isinstance(value, Settings):
            lines.append("")
        lines += _render_comment(field, indent=indent)
        lines += _render_value(name, value, settings, indent=indent)
    return lines


def _render_value(name: str, value: object, owner: Settings, *, indent: int) -> list[str]:
    """`name: value`, over several lines for a group or a list of groups."""
    margin = " " * indent
    if isinstance(value, Settings):
        inner = _render_group(value, indent=indent + 2)
        return [f"{margin}{name}:", *inner] if inner else [f"{margin}{name}: {{}}"]
    if isinstance(value, tuple) and value and all(isinstance(item, Settings) for item in value):
        lines = [f"{margin}{name}:"]
        for item in value:
            lines += _as_list_item(_render_group(item, indent=indent + 4), indent=indent + 2)
        return lines
    plain = owner.model_dump(mode="json", include={name})[name]
    return [f"{margin}{name}: {_inline_yaml(plain)}"]


def _as_list_item(lines: list[str], *, indent: int) -> list[str]:
    """Puts the dash of a list item before the first line that is no comment; comments above it move with the dash."""
    first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    margin = " " * indent
    comments = [f"{margin}{line.lstrip()}" for line in lines[:first]]
    return [*comments, f"{margin}- {lines[first].lstrip()}", *lines[first + 1 :]]


def _render_comment(field: FieldInfo, *, indent: int) -> list[str]:
    """What the field means, wrapped, with its choices where it has a fixed set of them."""
    text = " ".join((field.description or "").split())
    choices = [repr(choice) if choice == "" else str(choice) for choice in _choices(field.annotation)]
    if len(choices) > 1 and not all(choice in text for choice in choices):
        text = f"{text} One of: {', '.join(choices)}.".strip()
    margin = " " * indent + "# "
    return [margin + line for line in textwrap.wrap(text, _WIDTH - len(margin))]


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, also inside `Literal[...] | None`; empty where any value goes."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    alternatives = [inner for inner in get_args(annotation) if inner is not type(None)]
    if len(alternatives) == 1 and get_origin(alternatives[0]) is Literal:
        return get_args(alternatives[0])
    return ()


def _inline_yaml(value: object) -> str:
    """The value as YAML on one line; None is written out as null."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
