"""Options that are made from settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import typer
from pydantic import BeforeValidator, Field
from typer.testing import CliRunner

from retinaface_cli.cli.options import list_options, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.settings.training import TrainSettings


class InnerSettings(Settings):
    """A group."""

    rate: Annotated[float, Option(panel="Inner")] = Field(default=0.5, ge=0, le=1)
    """How fast."""

    hidden: int = 1
    """Only in files."""


class BaseSettings(Settings):
    """What is shared."""

    top_k: Annotated[int, Option(legacy=("--top",))] = Field(default=5, gt=0)
    """How many."""


class SampleSettings(BaseSettings):
    """One setting of each kind."""

    changed_defaults: ClassVar[dict[str, Any]] = {"top_k": 7}

    inputs: Annotated[tuple[str, ...], Option(is_argument=True)] = ()
    """What to read."""

    output: Annotated[Path | None, Option(short="-o")] = None
    """Folder for the results, see top_k [a]. Empty: runs/1, 2, ..."""

    kind: Literal["a", "b"] = "a"
    """Which kind."""

    tags: tuple[Literal["x", "y"], ...] = ()
    """Which tags."""

    size: Annotated[
        int | None,
        BeforeValidator(lambda value: None if value == "all" else value),
        Option(flags={"--whole": "all"}),
    ] = 3
    """How large."""

    draw: Annotated[bool, Option(short="-d")] = False
    """Whether to draw."""

    vote: bool | None = None
    """Whether to vote; empty: as the kind says."""

    inner: InnerSettings = InnerSettings()
    """A group."""


@pytest.fixture
def called() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def app(called: list[dict[str, Any]]) -> typer.Typer:
    def sample(_ctx: typer.Context, given: dict[str, Any], console: CommandConsole, *, config: str = "") -> None:
        """Do something."""
        called.append({**given, "config": config})
        assert not console.is_verbose

    return make_app(sample, SampleSettings, ("sample a -o out",))


def run(app: typer.Typer, *arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_only_what_was_written_is_given(app: typer.Typer, called: list[dict[str, Any]]) -> None:
    run(app)
    run(app, "a", "--kind", "a", "b", "-d", "--no-vote", "--tags", "x", "--tags", "y", "--rate", "1", "--size", "all")
    assert called == [
        {"config": ""},
        {
            "inputs": ["a", "b"],
            "kind": "a",
            "draw": True,
            "vote": False,
            "tags": ["x", "y"],
            "inner.rate": "1",
            "size": "all",
            "config": "",
        },
    ]


def test_a_flag_of_older_tools_stands_for_a_value(app: typer.Typer, called: list[dict[str, Any]]) -> None:
    run(app, "--whole")
    assert called == [{"size": "all", "config": ""}]
    assert "whole" not in run(app, "--help")


def test_options_of_a_command_alone_come_as_settings() -> None:
    found = []

    def alone(_ctx: typer.Context, given: dict[str, Any], console: CommandConsole, *, options: InnerSettings) -> None:
        """Do something."""
        assert not (given or console.is_verbose)
        found.append(options)

    made = make_app(alone, BaseSettings, ("alone",))
    assert CliRunner().invoke(made, ["--rate", "0.25"]).exit_code == 0
    assert found == [InnerSettings(rate=0.25)]


@pytest.mark.parametrize("option", ["--top", "--top-k", "--top_k"])
def test_older_spellings_and_underscores_work(app: typer.Typer, called: list[dict[str, Any]], option: str) -> None:
    run(app, option, "9")
    assert called == [{"top_k": "9", "config": ""}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "c"], "'a' or 'b', got c"),
        (["--top-k", "0"], "greater than 0, got 0"),
        (["--top-k", "many"], "valid integer"),
        (["--rate", "1.5"], "less than or equal to 1, got 1.5"),
        (["--tags", "z"], "'x' or 'y'"),
        (["--hidden", "1"], "No such option"),
    ],
)
def test_what_a_setting_refuses_is_bad_usage(app: typer.Typer, arguments: list[str], message: str) -> None:
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, [*arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_the_help_says_type_default_and_what_empty_means(app: typer.Typer) -> None:
    lines = [" ".join(line.strip(" │").split()) for line in run(app, "--help").splitlines()]
    text = " ".join(lines)
    assert "-o, --output PATH Folder for the results, see --top-k [a]. [default: (runs/1, 2, ...)]" in text
    assert "--kind a|b Which kind. [default: a]" in text
    assert "--top-k N How many. [default: 7]" in text
    assert "[default: (as the kind says)]" in text
    assert "--top " not in text and "hidden" not in text
    assert "Examples sample a -o out" in text


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_help_fits_its_terminal_and_cuts_no_name_off(app: typer.Typer, columns: int) -> None:
    result = CliRunner(env={"COLUMNS": str(columns), "TERM": "dumb"}).invoke(app, ["--help"])
    assert max(map(len, result.output.splitlines())) <= columns
    assert "…" not in result.output
    for name in ("--output PATH", "--[no-]vote", "--kind a|b", "--json", "--help"):
        assert name in result.output


def test_a_default_is_changed_in_one_class_only() -> None:
    assert (BaseSettings().top_k, SampleSettings().top_k) == (5, 7)
    assert SampleSettings.model_validate({"top_k": 2}).top_k == 2


def test_own_settings_come_before_inherited_ones() -> None:
    assert [one.key for one in list_options(SampleSettings)][-2:] == ["inner.rate", "top_k"]


@pytest.mark.parametrize("schema", [InferSettings, EvaluateSettings, TrainSettings])
def test_every_option_has_a_name_and_letter_of_its_own(schema: type[Settings]) -> None:
    options = list(list_options(schema))
    for names in ([one.long_name for one in options], [one.option.short for one in options if one.option.short]):
        assert len(set(names)) == len(names)
    assert all(one.field.description for one in options)
