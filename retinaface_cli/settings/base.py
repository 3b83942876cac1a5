"""The base of all settings, and the one way in which YAML files and `key=value` overrides become settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from retinaface_cli.errors import SettingsError, shown
from retinaface_cli.files.reading import parse_yaml, read_yaml_file

_MAX_NUMBER = (1 << 32) - 1


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True, defer_build=True
    )

    changed_defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults of inherited settings that are others in this class."""

    @field_validator("*")
    @classmethod
    def _check_size(cls, value: object) -> object:
        """No setting is a number of more than 32 bits, which libraries do not take."""
        if isinstance(value, int) and abs(value) > _MAX_NUMBER:
            raise ValueError(f"expected at most {_MAX_NUMBER:,}")
        return value

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, value in cls.__dict__.get("changed_defaults", {}).items():
            cls.model_fields[name].default = value


@dataclass(frozen=True)
class Option:
    """How a setting stands on the command line, where its name and type do not say it; written into Annotated.

    Attributes:
        short: a spelling of one letter, e.g. "-w".
        name: "--name", where it is not that of the setting.
        legacy: spellings of older tools; they work, and the help does not show them.
        panel: heading in the help; empty: among the most used options.
        metavar: what stands for the value in the help; empty: it follows from the type.
        is_argument: whether it is given by its place, without a name.
        is_flag: whether a switch can only be turned on, and has no --no-... form.
        flags: spellings of older tools that stand for a value, without one of their own; not shown in the help.
    """

    short: str = ""
    name: str = ""
    legacy: tuple[str, ...] = ()
    panel: str = ""
    metavar: str = ""
    is_argument: bool = False
    is_flag: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)


def by_name(default: str) -> BeforeValidator:
    """For a union of settings with the discriminator `name`: a mapping without a name means the default kind."""
    return BeforeValidator(lambda value: {"name": default, **value} if isinstance(value, Mapping) else value)


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


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(
    schema: type[AnySettings], path: Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> AnySettings:
    """Reads settings from a YAML file and lays overrides on top.

    Args:
        schema: what the result must be.
        path: a YAML file holding one mapping; None for defaults.
        overrides: dotted key -> value, e.g. {"optimizer.lr": 0.01}; a string is read as YAML would read it.

    Raises:
        SettingsError: where (file and key), what was found, what is wanted; for an unknown key the nearest known one.
    """
    values = {} if path is None else read_yaml(path)
    for key, value in (overrides or {}).items():
        assign(values, key, value)
    return validate_settings(schema, values, source="settings" if path is None else str(path))


def validate_settings(schema: type[AnySettings], values: Mapping[str, Any], *, source: str) -> AnySettings:
    """Validates a mapping; `source` names where it came from in the error.

    Raises:
        SettingsError: one line a wrong key.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        lines = [_describe(schema, detail, source) for detail in _causes(error.errors())]
        raise SettingsError("\n".join(lines)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one YAML mapping with the safe loader.

    Raises:
        SettingsError: the file is missing, unreadable, no YAML, or no mapping.
    """
    content = read_yaml_file(path, error=SettingsError)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(content).__name__}")
    return content


def parse_assignments(items: Sequence[str]) -> dict[str, Any]:
    """Turns `key=value` strings of the command line into overrides; values are read as YAML.

    Raises:
        SettingsError: an item without `=`, or a value that is no YAML.
    """
    overrides: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set {shown(item)}: expected key=value, e.g. optimizer.lr=0.01")
        overrides[key.strip()] = parse_yaml(value, place=f"--set {shown(item)}", error=SettingsError)
    return overrides


def assign(values: dict[str, Any], dotted_key: str, value: object) -> None:
    """Sets a value in nested mappings and lists in place, making mappings that are missing; list items count from 0.

    Raises:
        SettingsError: a part of the key is no group, or no item of its list.
    """
    *parents, last = dotted_key.split(".")
    group: Any = values
    for parent in parents:
        group = group[_item(group, parent, dotted_key)] if isinstance(group, list) else group.setdefault(parent, {})
        if not isinstance(group, dict | list):
            raise SettingsError(f"{dotted_key}: {parent} is a value, not a group of settings")
    group[_item(group, last, dotted_key) if isinstance(group, list) else last] = value


def _item(items: list[Any], part: str, dotted_key: str) -> int:
    """The index that a part of a key stands for."""
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(items):
        raise SettingsError(f"{dotted_key}: got {part}, expected the number of an item, 0 to {len(items) - 1}")
    return int(part)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs of dotted key and value; lists come whole."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _causes(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that only follow from others: a list is too short because an item of it is wrong."""
    inner = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    return [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in inner]


def _describe(schema: type[BaseModel], detail: ErrorDetails, source: str) -> str:
    """One line for one wrong key: where, what, got, wanted."""
    location, group = _locate(schema, [str(part) for part in detail["loc"]])
    key = shown(".".join(location))
    if detail["type"] == "extra_forbidden":
        return f"{source}: {key}: unknown setting; {_hint(location[-1], list(group.model_fields) if group else [])}"
    if detail["type"] == "union_tag_invalid":
        tag, kinds = detail["ctx"]["tag"], [kind.strip(" '") for kind in detail["ctx"]["expected_tags"].split(",")]
        return f"{source}: {key}.name: unknown kind {_quoted(tag)}; {_hint(str(tag), kinds)}"
    if detail["type"] == "missing":
        return f"{source}: {key}: missing, and it has no default"
    message = detail["msg"].removeprefix("Value error, ")
    where = f"{source}: {key}" if key else source
    if isinstance(detail["input"], Mapping):
        return f"{where}: {message}"
    if detail["type"].startswith("model_"):
        message = "expected a group of settings"
    return f"{where}: {message}, got {_quoted(detail['input'])}"


def _quoted(value: object) -> str:
    """A value as it stands in a message: a text in quotes."""
    return f"'{shown(value)}'" if isinstance(value, str) else shown(value)


def _hint(wrong: str, known: Sequence[str]) -> str:
    """The nearest known name, or all of them."""
    nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"


def _locate(schema: type[BaseModel], parts: Sequence[str]) -> tuple[list[str], type[BaseModel] | None]:
    """The location as a user writes it, and the group of settings in which its last part is looked for.

    Where a setting comes in kinds, pydantic puts the kind's tag into the location; it is taken out.
    """
    group: type[BaseModel] | None = schema
    location: list[str] = []
    kinds: list[type[BaseModel]] = []
    for i, part in enumerate(parts):
        tagged = [kind for kind in kinds if part in _names(kind)]
        if len(kinds) > 1 and tagged:
            group, kinds = tagged[0], []
            continue
        location.append(part)
        if group is not None and part in group.model_fields:
            kinds = find_models(group.model_fields[part].annotation)
            group = kinds[0] if kinds and i + 1 < len(parts) else group
    return location, group


def _names(kind: type[BaseModel]) -> tuple[str, ...]:
    """The tags of a kind: the values that its field `name` may have."""
    field = kind.model_fields.get("name")
    return tuple(getattr(field.annotation, "__args__", ())) if field is not None else ()


def find_models(annotation: object) -> list[type[BaseModel]]:
    """The pydantic models inside an annotation such as `Model | None` or `tuple[Model, ...]`."""
    if arguments := get_args(annotation):  # first: Python 3.10 takes tuple[Model, ...] itself for a class
        return [model for argument in arguments for model in find_models(argument)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
