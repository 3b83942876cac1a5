"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores
for _package in ("geometry", "model"):
    install_import_hook(f"retinaface_cli.{_package}", "beartype.beartype")

REPOSITORY = Path(__file__).resolve().parent.parent


def find_shared() -> Path:
    """The folder of real data, which may not exist."""
    return Path(os.environ.get("RETINAFACE_SHARED", REPOSITORY.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `shared` where the data is absent."""
    if (find_shared() / "reference").is_dir():
        return
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs the shared data set (RETINAFACE_SHARED)"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; for tests marked `shared` only."""
    return find_shared()
