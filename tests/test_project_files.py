"""Files that other programs run: the workflow on GitHub and the Dockerfile."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.conftest import REPOSITORY


def test_the_workflow_runs_what_ci_runs_on_the_oldest_python() -> None:
    tomllib = pytest.importorskip("tomllib")
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "tests.yml").read_text())
    job = workflow["jobs"]["tests"]
    assert any(step.get("run", "").startswith(".ci/run") for step in job["steps"])
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f">={job['strategy']['matrix']['python'][0]}" == project["requires-python"]


def test_the_dockerfile_has_ten_lines_and_copies_all_that_the_package_is_built_from() -> None:
    tomllib = pytest.importorskip("tomllib")
    text = (REPOSITORY / "examples" / "Dockerfile").read_text()
    assert text.count("\n") <= 10
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml", "retinaface_cli"} <= copied
    assert all((REPOSITORY / name).exists() for name in copied)
    extras = re.findall(r"pip install .*'\.\[(\w+)\]'", text)
    assert extras
    assert set(extras) <= project["optional-dependencies"].keys()
