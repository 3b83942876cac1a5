from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.visualization import pages
from retinaface_cli.visualization.pages import PageImage, describe_faces, link_to, to_script
from tests.visualization.page_making import detected, grey_jpeg, write

EVIL = "</script><script>alert(1)</script>\u2028<!--<img src=x onerror=alert(1)>&amp;\udcff.jpg"


def read_data(path: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_no_name_breaks_out_of_the_script(tmp_path: Path) -> None:
    write(tmp_path / "plain.html", [detected("x.jpg", 0.9)])
    write(tmp_path / "evil.html", [detected(EVIL, 0.9)], title=EVIL, facts=[(EVIL, EVIL)], note=EVIL)
    plain, evil = ((tmp_path / name).read_text("utf-8") for name in ("plain.html", "evil.html"))
    for mark in ("<script", "</script", "<!--", "<img", "\u2028"):
        assert evil.count(mark) == plain.count(mark)
    content = read_data(tmp_path / "evil.html")
    assert content["facts"] == [[EVIL, EVIL]]
    assert content["images"][0]["name"] == EVIL.replace("\u2028", "\\u2028").replace("\udcff", "\\xff")


def test_values_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_script({"x": float("nan")})


def test_unknown_points_are_null() -> None:
    landmarks = np.full((1, 5, 2), np.nan, np.float32)
    landmarks[0, 2] = 3, 4
    faces = describe_faces(np.array([[1, 2, 3.25, 4]], np.float32), landmarks, np.array([0.5]), np.array([True]))
    assert faces == [[1, 2, 3.2, 4, 0.5, True, *[None] * 4, 3, 4, *[None] * 4]]


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("images/a.jpg", "../../images/a.jpg"),
        ("images/a b#1?%.jpg", "../../images/a%20b%231%3F%25.jpg"),
        ("javascript:alert(1)", "../../javascript%3Aalert%281%29"),
        ("runs/1/viz/é.jpg", "viz/%C3%A9.jpg"),
    ],
)
def test_links_are_relative_to_the_page(target: str, address: str, tmp_path: Path) -> None:
    assert link_to(tmp_path / target, page=tmp_path / "runs" / "1" / "gallery.html") == address


def test_images_without_room_are_shown_from_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = grey_jpeg()
    monkeypatch.setattr(pages, "MAX_EMBEDDED_BYTES", 2 * len(jpeg))
    images = [PageImage(f"{i}.jpg", (60, 80), f"{i}.jpg", jpeg, (), ()) for i in range(5)]
    writer = write(tmp_path / "page.html", images)
    assert (writer.num_images, writer.num_linked) == (5, 3)
    assert re.findall(r'id="image-(\d)"', (tmp_path / "page.html").read_text("utf-8")) == ["0", "1"]
    assert read_data(tmp_path / "page.html")["num_linked"] == 3


def test_the_page_names_no_place_in_the_network(tmp_path: Path) -> None:
    write(tmp_path / "page.html", [])
    addresses = set(re.findall(r"https?://[^\"' ]+", (tmp_path / "page.html").read_text("utf-8")))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which is not fetched
