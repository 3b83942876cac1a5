"""Pages for tests, and a real browser to look at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.visualization.image_files import encode_image
from retinaface_cli.visualization.pages import Page, PageImage, PageWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def grey_jpeg(height: int = 60, width: int = 80) -> bytes:
    return encode_image(Path("x.jpg"), np.full((height, width, 3), 128, np.uint8))


def detected(name: str, *scores: float) -> PageImage:
    """An image with a detection a score, best first."""
    faces = [[10.0 * i, 5.0, 10.0 * i + 8, 15.0, score, 1] for i, score in enumerate(scores)]
    return PageImage(name, (60, 80), "", grey_jpeg(), (), faces)


def write(path: Path, images: Sequence[PageImage], **others: Any) -> PageWriter:
    with PageWriter(path) as writer:
        for image in images:
            writer.add(image)
        writer.finish(Page(**{"title": "test", "facts": (), "threshold": 0.5, **others}))
    return writer


@contextmanager
def open_browser(folder: Path, *, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Chromium without a screen; the test is skipped where it or selenium is not installed."""
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip("needs Chromium and ChromeDriver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra dev")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={folder / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield browser
        assert browser.get_log("browser") == []
    finally:
        browser.quit()
