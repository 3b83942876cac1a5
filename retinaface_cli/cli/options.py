"""The options of a command, made from the fields of its settings: a value is named once, in its pydantic field."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import GenericAlias, NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from retinaface_cli.cli.help import HelpfulCommand, dashed
from retinaface_cli.errors import RetinaFaceError, shown
from retinaface_cli.settings.base import MessageSettings, Option, Settings, find_models, validate_settings

_METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}
_WORDS = re.compile(r"\b[a-z]+(_[a-z]+)+\b")


class Outcome(NamedTuple):
    """What came of a command.

    Attributes:
        facts: JSON values: folder, counts, figures; None in all processes of a run but the first.
        exit_code: of the process.
    """

    facts: Mapping[str, Any] | None
    exit_code: int = 0


class SettingOption(NamedTuple):
    """A setting that can be given on the command line: its dotted key, and how it is written."""

    key: str
    field: FieldInfo
    option: Option

    @property
    def parameter(self) -> str:
        """Name of the parameter in Typer."""
        return self.key.replace(".", "__")

    @property
    def long_name(self) -> str:
        """Name on the command line, with its dashes."""
        return self.option.name or "--" + self.key.rpartition(".")[2].replace("_", "-")


def list_options(schema: type[Settings], prefix: str = "") -> Iterator[SettingOption]:
    """All settings that are values, and those of nested groups that carry an Option; inherited ones last."""
    inherited = {name for base in schema.__bases__ for name in getattr(base, "model_fields", ())}
    for name, field in sorted(schema.model_fields.items(), key=lambda item: item[0] in inherited):
        option = next((mark for mark in field.metadata if isinstance(mark, Option)), None)
        groups = find_models(field.annotation)
        if option is not None or not (prefix or groups):
            yield SettingOption(prefix + name, field, option or Option())
        elif len(groups) == 1 and groups[0] is field.annotation and issubclass(groups[0], Settings):
            yield from list_options(groups[0], f"{prefix}{name}.")


def make_app(
    function: Callable[..., Outcome | None],
    schema: type[Settings],
    examples: tuple[str, ...],
    *,
    without: tuple[str, ...] = (),
    command_class: type[HelpfulCommand] = HelpfulCommand,
    **command_options: Any,
) -> typer.Typer:
    """Makes an application of one command; its options are the settings of a schema and the parameters of a function.

    Args:
        function: called with the context, the settings that were given (by dotted key), the console, and its own
            options: those of the settings `options`, and parameters of Typer; it returns what --json prints and the
            exit code, or None. Its docstring is the help.
        schema: settings of the command.
        examples: command lines that stand below the help.
        without: settings that are no options.
        command_class: of the command.
        command_options: of typer.Typer.command.
    """
    options = [option for option in list_options(schema) if option.key not in without]
    messages = list(list_options(MessageSettings))
    context, _, _, *own = inspect.signature(function, eval_str=True).parameters.values()
    group: type[Settings] = next((one.annotation for one in own if one.name == "options"), Settings)
    of_group, own = list(list_options(group)), [one for one in own if one.name != "options"]
    flags = {flag.strip("-"): (one.key, value) for one in options for flag, value in one.option.flags.items()}

    def command(**values: Any) -> None:
        """Calls the function; the docstring becomes that of the function, which is the help."""
        ctx = values[context.name]
        given = {one.key: values[one.parameter] for one in options if _is_given(ctx, one.parameter)}
        given |= dict(setting for flag, setting in flags.items() if values[flag.replace("-", "_")])
        chosen = {one.key: values[one.parameter] for one in of_group if _is_given(ctx, one.parameter)}
        said = {one.key: values[one.parameter] for one in messages}
        keywords = {one.name: values[one.name] for one in own}
        if of_group:
            keywords["options"] = validate_settings(group, chosen, source="options")
        bound = partial(function, ctx, given, **keywords)
        _call(bound, validate_settings(MessageSettings, said, source="options"))

    names = {option.key: option.long_name for option in [*options, *of_group, *messages]}
    settings = [_make_parameter(option, names) for option in [*options, *of_group, *messages]]
    parameters = [context, *settings, *own, *map(_make_flag, flags)]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    legacy = {"config-path": "config"}
    for one in options:
        for name in one.option.legacy:
            legacy[name.strip("-")] = (one.long_name if name.startswith("--") else one.option.short).strip("-")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(
        cls=type("Command", (command_class,), {"examples": examples}),
        context_settings={"token_normalize_func": lambda token: legacy.get(dashed(token), dashed(token))},
        **command_options,
    )(command)
    return app


def _make_flag(flag: str) -> inspect.Parameter:
    """The parameter of a hidden flag, which stands for a value of a setting."""
    annotation = Annotated[bool, typer.Option(f"--{flag}", hidden=True)]
    name = flag.replace("-", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _call(function: Callable[..., Outcome | None], messages: MessageSettings) -> None:
    """Runs a command with its console; prints the object of --json, and where an error came up with --verbose."""
    from retinaface_cli.commands.console import CommandConsole

    try:
        outcome = function(console=CommandConsole(messages))
    except (RetinaFaceError, OSError):
        if messages.verbose:
            traceback.print_exc()
        raise
    if outcome is None:
        return
    if messages.json_output and outcome.facts is not None:
        from retinaface_cli.files.atomic import json_bytes

        print(json_bytes(outcome.facts).decode(), end="", flush=True)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _is_given(ctx: typer.Context, parameter: str) -> bool:
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _make_parameter(one: SettingOption, names: Mapping[str, str]) -> inspect.Parameter:
    """The parameter of a Typer command that stands for a setting; values are text, which pydantic reads."""
    field, option = one.field, one.option
    is_switch = bool in (field.annotation, *get_args(field.annotation))
    kind: Any = bool if is_switch else _text_type(field.annotation)
    default = field.get_default(call_default_factory=True)
    if not is_switch:
        default = str(default) if isinstance(default, str | int | float | Path) and default != "" else None
    text, empty = (_escape(_WORDS.sub(lambda word: names.get(word[0], word[0]), part)) for part in _describe(field))
    shared: dict[str, Any] = {
        "help": text,
        "rich_help_panel": option.panel or None,
        "show_default": (empty or False) if default is None else default is not False,
        "callback": _make_check(field, default),
    }
    mark: Any
    if option.is_argument:
        mark = typer.Argument(metavar=option.metavar or one.key.upper(), **shared)
    elif option.is_flag:
        mark = typer.Option(*filter(None, [option.short]), one.long_name, **shared)
    elif is_switch:
        mark = typer.Option(*filter(None, [option.short]), f"{one.long_name}/--no-{one.long_name[2:]}", **shared)
    else:
        metavar = option.metavar or "|".join(dict.fromkeys(_list_words(field.annotation)))
        mark = typer.Option(*filter(None, [option.short]), one.long_name, metavar=metavar, **shared)
    annotation = Annotated[kind | None, mark]
    return inspect.Parameter(one.parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _text_type(annotation: Any) -> Any:
    """The type in which values come from the command line: a text, a list, or as many texts as a tuple has items."""
    parts = [annotation] if get_origin(annotation) is tuple else [p for p in get_args(annotation) if p is not NoneType]
    if len(parts) != 1 or get_origin(parts[0]) is not tuple:
        return str
    items = get_args(parts[0])
    return list[str] if Ellipsis in items else GenericAlias(tuple, (str,) * len(items))


def _make_check(field: FieldInfo, default: object) -> Callable[[Any], Any]:
    """A check of the value by the field itself: its type, limits and choices."""

    def check(value: Any) -> Any:
        """The value as it came; raises BadParameter unless the field takes it."""
        if value is None or value == default:
            return value
        try:
            TypeAdapter(field.rebuild_annotation()).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise typer.BadParameter(f"{message}, got {shown(value)}") from None
        return value

    return check


def _describe(field: FieldInfo) -> tuple[str, str]:
    """The first paragraph of the description, and what an empty value means: its end, behind `empty:`."""
    text = " ".join((field.description or "").split("\n\n")[0].split())
    text, _, empty = re.sub(r"[;.] [Ee]mpty: ", ".\0", text).partition("\0")
    return text, empty if empty.endswith("...") else empty.removesuffix(".")


def _list_words(annotation: Any) -> Iterator[str]:
    """What stands for a value in the help: the values of a Literal, N, NUMBER, PATH or TEXT."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif get_args(annotation):
        yield from (word for part in get_args(annotation) for word in _list_words(part))
    elif isinstance(annotation, type) and annotation is not NoneType:
        yield _METAVARS.get(annotation, "TEXT")


def _escape(text: str) -> str:
    """The text without markup of rich."""
    return text.replace("[", "\\[")
