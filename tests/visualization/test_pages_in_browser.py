"""The pages in Chromium, opened from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retinaface_cli.commands.infer import run as inference
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.visualization.pages import PageImage
from tests.commands.evaluate_making import evaluate, write_detections, write_images, write_labels
from tests.commands.test_evaluate import DETECTIONS, LABELS
from tests.conftest import REPOSITORY
from tests.visualization.page_making import detected, grey_jpeg, open_browser, write

pytestmark = pytest.mark.slow
EVIL = "<img src=x onerror=document.title=1></script><script>document.title=1</script>"
LEFT, RIGHT, ESCAPE = "\ue012", "\ue014", "\ue00c"


def settle(browser: Any) -> None:
    """Waits until what was asked for is drawn."""
    browser.execute_async_script(
        "const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => setTimeout(done, 60)), 60)"
    )


def find(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def click(browser: Any, selector: str) -> None:
    find(browser, selector)[0].click()
    settle(browser)


def slide(browser: Any, score: float) -> None:
    """Moves the slider with the keyboard, as a person does."""
    slider = find(browser, "#threshold")[0]
    while abs(now := float(slider.get_property("value")) - score) > 0.005:
        slider.send_keys(LEFT if now > 0 else RIGHT)
    settle(browser)


def counts(browser: Any) -> dict[str, str]:
    return {one.get_attribute("data-count"): one.text for one in find(browser, "#counts b")}


def boxes(browser: Any, kind: str) -> int:
    return len(find(browser, f"#grid .box.{kind}"))


@pytest.fixture
def report(tmp_path: Path) -> str:
    """The address of a report: faces found at .9, .6 and .05, a false detection of .8."""
    evaluate(
        predictions=[write_detections(tmp_path / "predictions.json", DETECTIONS)],
        labels=write_labels(tmp_path / "labels.json", LABELS),
        images=write_images(tmp_path / "images", LABELS),
        output=tmp_path / "report",
    )
    return (tmp_path / "report" / "report.html").as_uri()


def test_the_slider_moves_counts_and_boxes_of_a_report(report: str, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.get(report)
        settle(browser)
        seen = {}
        for score in (0.05, 0.5, 0.85, 0.95):
            slide(browser, score)
            seen[score] = [counts(browser)[kind] for kind in ("right", "missed", "false")]
            assert [boxes(browser, kind) for kind in ("right", "missed", "false")] == list(map(int, seen[score]))
        assert seen == {0.05: ["3", "0", "1"], 0.5: ["2", "1", "1"], 0.85: ["1", "2", "0"], 0.95: ["0", "3", "0"]}
        assert [counts(browser)[kind] for kind in ("precision", "recall", "f1")] == ["-", "0.000", "-"]


def test_layers_of_a_report_are_switched(report: str, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.get(report)
        slide(browser, 0.5)
        for kind, before, after in (("missed", 1, 0), ("false", 1, 0), ("right", 2, 0), ("found", 0, 2)):
            assert boxes(browser, kind) == before
            click(browser, f"[data-layer={kind}]")
            assert boxes(browser, kind) == after
        assert counts(browser)["missed"] == "1"  # a layer that is hidden still counts


def test_images_of_a_report_are_sorted_by_their_mistakes_at_the_score(report: str, tmp_path: Path) -> None:
    def shown(browser: Any) -> list[str]:
        return [
            f"{name.text[-5:]} {numbers.text}"
            for name, numbers in zip(find(browser, "#grid .name"), find(browser, "#grid .numbers"), strict=True)
        ]

    with open_browser(tmp_path) as browser:
        browser.get(report)
        slide(browser, 0.7)
        assert shown(browser) == ["a.jpg 1 missed, 1 false", "b.jpg 1 missed, 0 false"]
        slide(browser, 0.9)
        find(browser, "#order option")[3].click()  # name
        find(browser, "#order option")[1].click()  # most missed
        settle(browser)
        assert shown(browser) == ["a.jpg 1 missed, 0 false", "b.jpg 1 missed, 0 false"]
        find(browser, "#filter")[0].send_keys("B.JPG")
        settle(browser)
        assert shown(browser) == ["b.jpg 1 missed, 0 false"]


def test_tables_and_curves_of_a_report_are_those_that_are_printed(report: str, tmp_path: Path) -> None:
    with open_browser(tmp_path, width=400) as browser:
        browser.get(report)
        titles = [one.text for one in find(browser, "h2")]
        assert titles[:2] == ["Precision over recall", "WIDER FACE, AP"]
        assert {"AP50 by height", "AP50 by event"} <= set(titles)
        assert len(find(browser, "#plot path")) == 2  # all, AP50
        assert browser.execute_script("return document.documentElement.scrollWidth") == 400


def test_one_image_is_shown_large_and_the_next_by_its_arrow(report: str, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.get(report)
        slide(browser, 0.5)
        click(browser, ".place")
        assert find(browser, "#large-name")[0].text == "0--Parade/a.jpg"
        widths = [one.get_property("naturalWidth") for one in find(browser, "#stage img")]
        assert widths == [128, 128]  # what the page holds, and the file itself
        assert len(find(browser, "#stage .box")) == 3
        click(browser, "#after")
        assert find(browser, "#large-name")[0].text == "1--Handshaking/b.jpg"
        find(browser, "#large")[0].send_keys(ESCAPE)
        settle(browser)
        assert find(browser, "#stage img") == []


def test_no_name_is_taken_for_html(tmp_path: Path) -> None:
    write(
        tmp_path / "page.html", [PageImage(EVIL, (60, 80), "", grey_jpeg(), (), ())], title=EVIL, facts=[(EVIL, EVIL)]
    )
    with open_browser(tmp_path) as browser:
        browser.get((tmp_path / "page.html").as_uri())
        settle(browser)
        assert browser.title == find(browser, "h1")[0].text == EVIL
        assert find(browser, "#facts dd")[0].text == find(browser, "#grid .name")[0].get_attribute("title") == EVIL
        click(browser, ".place")
        assert find(browser, "#large-name")[0].text == EVIL


def test_a_gallery_of_a_thousand_images_comes_in_pages_and_reads_only_what_is_in_view(tmp_path: Path) -> None:
    images = [detected(f"{i:04}.jpg", *[0.95, 0.75, 0.55][: i % 4]) for i in range(1000)]
    write(tmp_path / "gallery.html", images)
    with open_browser(tmp_path) as browser:
        browser.get((tmp_path / "gallery.html").as_uri())
        settle(browser)
        assert counts(browser) == {"right": "1,500", "with": "750", "": ""}
        assert len(find(browser, ".card")) == 60
        assert 0 < len(find(browser, ".card img")) < 60
        slide(browser, 0.8)
        assert counts(browser)["right"] == "750"
        find(browser, "#order option")[2].click()  # fewest faces
        click(browser, "#next")
        assert find(browser, "#page")[0].text == "page 2 of 17"
        assert find(browser, ".card .name")[0].text == "0240.jpg"


def test_infer_shows_the_faces_of_the_example_images(tmp_path: Path) -> None:
    settings = InferSettings(inputs=(str(REPOSITORY / "examples" / "images"),), output=tmp_path / "out", html=True)
    report = inference.run(settings)
    with open_browser(tmp_path) as browser:
        browser.get((tmp_path / "out" / "gallery.html").as_uri())
        settle(browser)
        assert counts(browser)["right"] == str(report.num_faces) == "82"
        assert boxes(browser, "right") == 82
        assert all(one.get_property("naturalWidth") for one in find(browser, ".card img"))
        assert not any(one.is_displayed() for one in find(browser, ".card .no-image"))
        browser.execute_script("document.querySelector('.card img').remove()")  # as where it fails to load
        assert [one.is_displayed() for one in find(browser, ".card .no-image")] == [True, *[False] * 4]
        click(browser, "[data-layer=point]")
        assert len(find(browser, ".point")) == 5 * 82
