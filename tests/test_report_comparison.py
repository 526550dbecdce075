"""The page of several models, in a browser: what it shows, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

for module in ("jinja2", "PIL", "playwright"):
    pytest.importorskip(module)

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from segmetrics import report  # noqa: E402
from segmetrics.labels import LabelSpace  # noqa: E402
from segmetrics.statistics import (  # noqa: E402
    ImageCounts,
    class_differences,
    conventions,
    ranking,
    slices,
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
IMAGES = 40
HOSTILE = "<img src=x onerror=alert(1)>"
CLASSES = ("road", HOSTILE, "c" * 60)


def models() -> dict[str, ImageCounts]:
    rng = np.random.default_rng(0)
    size = rng.integers(50, 400, (IMAGES, 3))
    found = {}
    for name, rate in (("u-net", 0.8), (f"{HOSTILE} net", 0.8), ("m" * 70, 0.5)):
        tp = rng.binomial(size, rate)
        parts = map(torch.from_numpy, (tp, rng.binomial(size, 0.1), size - tp))
        ids = tuple(f"image {i}" for i in range(IMAGES))
        found[name] = ImageCounts(*parts, ids=ids, class_names=CLASSES)
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = models()
    ranked = ranking(counts)
    order = [model.name for model in ranked.models]
    by = {f"image {i}": HOSTILE if i % 3 else None for i in range(IMAGES)}
    rng = np.random.default_rng(1)
    examples = [
        {
            name: report.Example(image, 0.5, np.eye(3, dtype=int)[rng.integers(0, 3, 20)],
                                 rng.integers(-1, 3, (20, 3)))
            for name in order
        }
        for image in (HOSTILE, "e" * 200)
    ]  # fmt: skip
    return report.write_comparison(
        tmp_path_factory.mktemp("page") / "models.html",
        ranked,
        class_differences(counts, order[0]),
        images={
            f"image {i}": {name: counts[name].values("mIoU_I")[i].item() for name in order}
            for i in range(IMAGES)
        },
        groups={name: slices(counts[name], by) for name in order},
        conventions=conventions(counts),
        examples=examples,
        labels=LabelSpace(CLASSES),
        how={"a" * 90: "b" * 900},
        left_out=[(HOSTILE, HOSTILE)],
        warnings=[HOSTILE],
    )


@pytest.fixture(scope="module")
def opened(path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end nothing may have been asked for, logged, raised or run."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    noticed: list[str] = []
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )

        def open_page(**settings: Any) -> Page:
            page = browser.new_context(**settings).new_page()
            page.on("request", lambda request: noticed.append(request.url))
            page.on("console", lambda message: noticed.append(message.text))
            page.on("pageerror", lambda error: noticed.append(str(error)))
            page.on("dialog", lambda dialog: noticed.append(dialog.message))
            page.goto(path.as_uri())
            return page

        yield open_page
        browser.close()
    assert [n for n in noticed if not n.startswith((path.as_uri(), "data:image/"))] == []


def first(page: Page, table: str) -> list[str]:
    """The text of the first column of a table, as it is shown."""
    found: list[str] = page.evaluate(
        """id => [...document.getElementById(id).tBodies[0].rows].filter(row => !row.hidden)
            .map(row => row.cells[0].innerText.trim())""",
        table,
    )
    return found


def test_tables_are_sorted_filtered_and_continued(opened: Callable[..., Page]) -> None:
    page = opened()
    images = first(page, "images-table")
    assert len(images) == 15
    page.get_by_role("button", name="Show more").click()
    assert len(first(page, "images-table")) == IMAGES
    page.locator("#images-table thead button").first.click()
    assert first(page, "images-table")[:3] == ["image 0", "image 1", "image 2"]
    page.get_by_label("Find an image").fill("39")
    assert first(page, "images-table") == ["image 39"]
    best = first(page, "ranking-table")[0]
    page.locator("#ranking-table thead button", has_text="rank").click()
    assert first(page, "ranking-table")[-1] == best
    page.get_by_label("Find a class").fill("ROAD")
    assert first(page, "classes-table") == ["road"]


def test_pictures_of_a_row_are_enlarged_and_changed_with_the_arrow_keys(
    opened: Callable[..., Page],
) -> None:
    page = opened()
    rows = page.locator("article").first.locator(".panels")
    assert [rows.nth(i).locator("figure").count() for i in range(3)] == [1, 3, 3]
    rows.nth(2).locator("button").first.click()
    caption = page.locator("#enlarged-caption")
    shown = [caption.inner_text()]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        shown.append(caption.inner_text())
    assert shown[0] == shown[3]
    assert len(set(shown)) == 3
    assert all("% wrong of" in text for text in shown)
    page.keyboard.press("Escape")
    assert not page.locator("#enlarged").is_visible()


def test_the_page_is_as_wide_as_a_phone(opened: Callable[..., Page]) -> None:
    page = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("innerWidth") == 360


def luminance(color: str) -> float:
    """Relative luminance of a CSS colour, WCAG 2.2."""
    channels = [
        float(part) for part in color.removesuffix(")").split("(")[1].replace(",", " ").split()[:3]
    ]
    linear = [
        c / 255 / 12.92 if c <= 10.3 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


#: The colours of a cell on its page, mixed as the browser mixes them, as a canvas paints them.
PAINTED = """selector => {
    const cell = document.querySelector(selector), canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const paint = (...colors) => {
        for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
        return `rgb(${[...context.getImageData(0, 0, 1, 1).data].slice(0, 3).join(" ")})`;
    };
    const page = getComputedStyle(document.body).backgroundColor;
    const { color, backgroundColor } = getComputedStyle(cell);
    return [paint(color), paint(page, backgroundColor)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marked_cells_have_contrast(opened: Callable[..., Page], scheme: str) -> None:
    page = opened(color_scheme=scheme)
    for selector in (
        "#map-table td.better", "#map-table td.worse", "#classes-table td.worse",
        "#ranks-table td.cell[data-value='1']", "#ranking-table td.bar span",
    ):  # fmt: skip
        colors = sorted(map(luminance, page.evaluate(PAINTED, selector)))
        assert (colors[1] + 0.05) / (colors[0] + 0.05) >= 4.5, selector


def test_names_are_shown_as_they_are(opened: Callable[..., Page]) -> None:
    page = opened()
    assert f"{HOSTILE} net" in first(page, "ranking-table")
    assert HOSTILE in first(page, "classes-table")
    assert first(page, "groups-table") == [HOSTILE, "(none)"]
    assert page.locator("p.warning").first.inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0


def test_headings_tables_and_pictures_have_names(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.locator("h1").count() == 1
    for section in page.locator("main section").all():
        label = section.get_attribute("aria-labelledby")
        assert page.locator(f"#{label}").inner_text()
    assert all(image.get_attribute("alt") for image in page.locator("article img").all())
    for link in page.locator("nav a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1


def test_the_page_stays_small(path: Path) -> None:
    assert path.stat().st_size < 200_000
