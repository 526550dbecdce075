"""The report in a real browser: what it shows, what it does, what it never does."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from segmetrics import ConfusionMatrix, ImageScores, report
from segmetrics.labels import LabelSpace
from segmetrics.statistics import ImageCounts

for module in ("jinja2", "plotly", "PIL", "playwright"):
    pytest.importorskip(module)

from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

SPACE = LabelSpace(
    ["road", "sidewalk", "car", "person", "sky", "train"],
    colors=["#804080", "#f423e8", "#00008e", "#dc143c", "#4682b4", "#005064"],
    ignore_index=255,
    groups={"flat": ["road", "sidewalk"], "mobile": ["car", "person", "train"], "sky": ["sky"]},
)
C, VOID = 6, 255
N = 120
HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 2'>",
    "\"quoted\" 'twice' & <b>bold</b>",
    "%{x} {{ 7 * 7 }} {% raw %} $x^2$",
    "https://example.com/pixel.png",
    "a_name_without_any_space_" * 8,
]


# --- What is shown --------------------------------------------------------------------------------


class Data:
    """Masks, their counts by scikit-learn and NumPy, and a page about them."""

    def __init__(self, images: int = N, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        blocks = draw.choice(5, (images, 3, 4), p=[0.4, 0.2, 0.15, 0.05, 0.2])  # 5 is never there
        self.target = blocks.repeat(8, 1).repeat(8, 2)
        skill = draw.beta(5, 2, (images, 1, 1))
        taken = np.array([1, 0, 3, 2, 0])[self.target]
        self.preds = np.where(draw.random(self.target.shape) < skill, self.target, taken)
        self.preds[draw.random(self.target.shape) < 0.01] = VOID  # abstained
        self.target[:, :2] = VOID
        self.names = [f"town/scene_{i:03}.png" for i in range(images)]
        self.counted = self.target != VOID
        self.y, self.p = self.target[self.counted], self.preds[self.counted]
        self.of_images = np.stack(
            [self.matrix(t, p) for t, p in zip(self.target, self.preds, strict=True)]
        )
        self.confusion = self.of_images.sum(0)

    @staticmethod
    def matrix(target: np.ndarray, preds: np.ndarray) -> np.ndarray:
        labels = [*range(C), VOID]
        return sk.confusion_matrix(target.ravel(), preds.ravel(), labels=labels)[:C]

    @property
    def counts(self) -> ImageCounts:
        tp = np.diagonal(self.of_images, 0, 1, 2)
        fp, fn = self.of_images[:, :, :C].sum(1) - tp, self.of_images.sum(2) - tp
        parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in (tp, fp, fn))
        return ImageCounts(*parts, ids=tuple(self.names), class_names=SPACE.names)

    def ious(self) -> np.ndarray:
        """The mIoU of every image over the classes in its target."""
        scores = []
        for matrix in self.of_images:
            there = matrix.sum(1) > 0
            union = matrix.sum(1) + matrix[:, :C].sum(0) - np.diagonal(matrix)
            scores.append((np.diagonal(matrix)[there] / union[there]).mean())
        return np.array(scores)

    def example(self, i: int, photo: bool = True) -> report.Example:
        patches = np.random.default_rng(i).integers(0, 256, (3, 4, 3), np.uint8)
        image = patches.repeat(8, 0).repeat(8, 1)
        return report.Example(
            self.names[i],
            self.ious()[i],
            target=np.where(self.target[i] == VOID, -1, self.target[i]),
            preds=np.where(self.preds[i] == VOID, -1, self.preds[i]),
            image=image if photo else None,
        )

    def write(self, path: Path, **arguments: Any) -> Path:
        settings = {
            "images": self.counts,
            "examples": [self.example(i) for i in np.argsort(self.ious())[:3]],
            "scores": {"boundary IoU": 0.4321},
            "how": {"Command": "segmetrics evaluate a b", "Labels": "voc.yaml"},
            "left_out": [("b/lost.png", "no prediction"), ("b/torn.png", "truncated")],
            "title": "Validation",
        }
        confusion = torch.from_numpy(self.confusion)
        return report.write(path, confusion, SPACE, **(settings | arguments))


@pytest.fixture(scope="module")
def data() -> Data:
    return Data()


@pytest.fixture(scope="module")
def written(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., Page]


@contextmanager
def opening(browser: Browser) -> Iterator[Open]:
    """Opens pages; at the end nothing may have been asked for, logged or raised by any."""
    noticed: list[str] = []
    contexts = []

    def open_page(path: Path, **settings: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1200, "height": 1200}} | settings))
        contexts.append(context)
        page = context.new_page()

        def on_request(request: Any) -> None:
            if request.url.split("#")[0] != path.as_uri() and not request.url.startswith("data:"):
                noticed.append(f"request {request.url}")

        page.on("request", on_request)
        page.on("websocket", lambda socket: noticed.append(f"socket {socket.url}"))
        page.on("console", lambda message: noticed.append(f"{message.type} {message.text}"))
        page.on("pageerror", lambda error: noticed.append(f"error {error}"))
        page.on("dialog", lambda dialog: noticed.append(f"dialog {dialog.message}"))
        page.goto(path.as_uri())
        page.wait_for_selector("#matrix .heatmaplayer image", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noticed == []


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    with opening(browser) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def shown(browser: Browser, written: Path) -> Iterator[Page]:
    """A page to look at, which a test leaves as it was: Plotly takes its time to load."""
    with opening(browser) as open_page:
        yield open_page(written)


@pytest.fixture(scope="module")
def page(browser: Browser, written: Path) -> Iterator[Page]:
    """A page whose tables may be left sorted, filtered and longer."""
    with opening(browser) as open_page:
        yield open_page(written)


def until(page: Page, holds: Callable[[], object]) -> None:
    """Wait until something holds; Playwright's own way is refused by the page's policy."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(25)
    assert holds()


def reads(page: Page, text: str) -> bool:
    """Whether this is said of the cell that is pointed at, or what that begins with."""
    return page.inner_text("#readout").startswith(text)


def rows(page: Page, table: str) -> list[list[str]]:
    """The text of every cell of the rows that are seen."""
    found: list[list[str]] = page.evaluate(
        """id => [...document.getElementById(id).tBodies[0].rows].filter(row => !row.hidden)
            .map(row => [...row.cells].map(cell => cell.innerText.trim()))""",
        table,
    )
    return found


def columns(page: Page, table: str) -> list[list[str]]:
    return [list(column) for column in zip(*rows(page, table), strict=True)]


def number(text: str) -> float:
    return float(re.sub(r"[\u202f\s%]", "", text)) if text != "–" else float("nan")


def numbers(texts: list[str]) -> list[float]:
    return [number(text) for text in texts]


def tiles(page: Page, section: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = page.evaluate(
        """id => Object.fromEntries([...document.querySelectorAll(`#${id} .tile`)].map(tile => [
            tile.querySelector("dt").innerText,
            [...tile.querySelectorAll(".value, .interval")].map(part => part.innerText)]))""",
        section,
    )
    return found


def header(page: Page, table: str, name: str) -> Any:
    return page.locator(f"#{table} thead th", has=page.get_by_text(name, exact=True))


def test_the_head_shows_the_scores_of_scikit_learn(shown: Page, data: Data) -> None:
    y, p, labels = data.y, data.p, list(range(5))  # the sixth class is nowhere
    iou = sk.jaccard_score(y, p, labels=labels, average=None)
    weights = np.bincount(y, minlength=5)
    merged = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 1, VOID: 3}
    groups = [np.vectorize(merged.get)(values) for values in (y, p)]
    expected = {
        "mIoU": iou.mean(),
        "mDice": sk.f1_score(y, p, labels=labels, average="macro"),
        "pixel accuracy": sk.accuracy_score(y, p),
        "mean accuracy": sk.recall_score(y, p, labels=labels, average="macro"),
        "frequency-weighted IoU": np.average(iou, weights=weights),
        "mIoU of categories": sk.jaccard_score(*groups, labels=[0, 1, 2], average="macro"),
        "boundary IoU": 0.4321,
    }
    found = tiles(shown, "scores")
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name][0] == f"{value:.3f}"
    assert shown.title() == shown.inner_text("h1") == "Validation"
    summary = shown.inner_text(".summary").replace("\u202f", "")
    assert "6 classes" in summary
    assert f"{N} images" in summary
    assert f"{len(y)} pixels counted" in summary
    assert f"{np.sum(p == VOID)} of them abstained from" in summary


def test_the_intervals_are_those_of_a_bootstrap_over_images(shown: Page, data: Data) -> None:
    draw = np.random.default_rng(7)
    ious, resampled = data.ious(), []
    for _ in range(2000):
        drawn = draw.integers(0, N, N)
        m = data.of_images[drawn].sum(0)
        hits = np.diagonal(m)
        iou = hits[:5] / (m.sum(1) + m[:, :C].sum(0) - hits)[:5]
        resampled.append((iou.mean(), hits.sum() / m.sum(), ious[drawn].mean()))
    expected = np.quantile(resampled, [0.025, 0.975], axis=0).T
    of_all, of_images = tiles(shown, "scores"), tiles(shown, "images")
    found = (of_all["mIoU"], of_all["pixel accuracy"], of_images["mIoU of an image, mean"])
    for bounds, (_, interval) in zip(expected, found, strict=True):
        assert numbers(interval.split(" to ")) == pytest.approx(bounds.tolist(), abs=0.004)


def test_the_classes_have_the_scores_of_scikit_learn(shown: Page, data: Data) -> None:
    found = {row[0]: row[1:] for row in rows(shown, "classes-table")}
    settings: dict[str, Any] = {"labels": range(C), "average": None}
    iou = sk.jaccard_score(data.y, data.p, zero_division=0, **settings)
    dice = sk.f1_score(data.y, data.p, zero_division=np.nan, **settings)
    precision = sk.precision_score(data.y, data.p, zero_division=np.nan, **settings)
    recall = sk.recall_score(data.y, data.p, zero_division=np.nan, **settings)
    for c, name in enumerate(SPACE.names[:5]):
        pixels = (data.y == c).mean()
        expected = [iou[c], dice[c], precision[c], recall[c]]
        assert found[name][:4] == [f"{value:.3f}" for value in expected]
        assert number(found[name][4]) == pytest.approx(100 * pixels, abs=0.051)
        others = np.bincount(data.p[data.y == c], minlength=256)
        others[c] = 0
        share, most = found[name][5].split("%")
        assert most.strip() == [*SPACE.names, *[""] * 249, "(abstained)"][others.argmax()]
        assert number(share) == pytest.approx(100 * others.max() / (data.y == c).sum(), abs=0.051)
    assert found["train"] == ["–", "–", "–", "–", "0.0\u202f%", "–"]
    assert list(found) == [
        *sorted(SPACE.names[:5], key=lambda name: -number(found[name][0])),
        "train",
    ]

    bars = shown.locator("#classes-table td.bar i")
    widths = bars.evaluate_all(
        "bars => bars.map(bar => parseFloat(getComputedStyle(bar).backgroundSize))"
    )
    assert widths == pytest.approx([100 * value for value in sorted(iou)[::-1]], abs=0.01)


def test_the_categories_pool_their_classes(shown: Page, data: Data) -> None:
    merged = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 1, VOID: 3}
    y, p = (np.vectorize(merged.get)(values) for values in (data.y, data.p))
    iou = sk.jaccard_score(y, p, labels=[0, 1, 2], average=None)
    dice = sk.f1_score(y, p, labels=[0, 1, 2], average=None)
    names, found, of_dice, pixels, members = columns(shown, "categories-table")
    assert names == ["flat", "mobile", "sky"]
    assert found == [f"{value:.3f}" for value in iou]
    assert of_dice == [f"{value:.3f}" for value in dice]
    assert numbers(pixels) == pytest.approx(100 * np.bincount(y) / len(y), abs=0.051)
    assert members == ["road, sidewalk", "car, person, train", "sky"]


def test_the_largest_confusions_are_listed(shown: Page, data: Data) -> None:
    wrong = data.confusion.copy()
    np.fill_diagonal(wrong, 0)
    names = [*SPACE.names, "(abstained)"]
    expected = sorted(
        ((int(n), names[t], names[p]) for (t, p), n in np.ndenumerate(wrong) if n), reverse=True
    )
    target, prediction, pixels, share, of_errors = columns(shown, "confusions-table")
    assert len(target) == len(expected)
    assert numbers(pixels) == [n for n, _, _ in expected]
    totals = dict(zip(SPACE.names, data.confusion.sum(1), strict=True))
    found = zip(pixels, target, prediction, share, of_errors, strict=True)
    for n, t, p, of_target, of_all in found:
        assert (number(n), t, p) in expected
        assert number(of_target) == pytest.approx(100 * number(n) / totals[t], abs=0.051)
        assert number(of_all) == pytest.approx(100 * number(n) / wrong.sum(), abs=0.051)


def test_the_images_are_listed_with_the_worst_first(shown: Page, data: Data) -> None:
    ious, order = data.ious(), np.argsort(data.ious())
    found = rows(shown, "images-table")
    assert len(found) == 15
    for i, (name, miou, accuracy, worst) in zip(order, found, strict=False):
        assert (name, miou) == (data.names[i], f"{ious[i]:.3f}")
        counted = data.counted[i]
        right = (data.preds[i] == data.target[i])[counted].mean()
        assert accuracy == f"{right:.3f}"
        y, p = data.target[i][counted], data.preds[i][counted]
        of_classes = sk.jaccard_score(y, p, labels=np.unique(y), average=None)
        assert worst.split()[0] == f"{of_classes.min():.3f}"
        assert of_classes[np.unique(y) == SPACE.names.index(worst.split()[1])] == of_classes.min()
    assert tiles(shown, "images")["median"] == [f"{np.median(ious):.3f}"]


def test_the_histogram_shows_how_many_images_have_which_score(shown: Page, data: Data) -> None:
    bins, edges = np.histogram(data.ious(), 20, (0, 1))
    bars = shown.locator("#histogram .bars path")
    heights = np.array([bar.bounding_box()["height"] for bar in bars.all()])  # type: ignore[index]
    np.testing.assert_allclose(heights / heights.max() * bins.max(), bins, atol=0.2)
    shown.locator("#histogram").scroll_into_view_if_needed()
    area = shown.locator("#histogram .nsewdrag").bounding_box()
    assert area is not None
    i = int(bins.argmax())
    middle = (edges[i] + edges[i + 1]) / 2
    shown.mouse.move(area["x"] + middle * area["width"], area["y"] + area["height"] - 4)
    hover = shown.locator("#histogram .hovertext").text_content() or ""
    assert hover.startswith(f"mIoU {edges[i]:g} to {edges[i + 1]:g}:{bins[i]} images")


def test_how_it_was_counted_and_what_was_left_out_is_said(shown: Page) -> None:
    how = shown.inner_text("#how")
    for text in ("segmetrics evaluate a b", "voc.yaml", torch.__version__, "0.1.0"):
        assert text in how
    assert ".".join(map(str, sys.version_info[:3])) in how
    assert rows(shown, "left-out-table") == [
        ["b/lost.png", "no prediction"],
        ["b/torn.png", "truncated"],
    ]
    shown.get_by_role("link", name="2 files were left out.").click()
    assert shown.url.endswith("#left-out")


# --- What it does ---------------------------------------------------------------------------------


def test_columns_are_sorted_by_a_click_and_by_keys(page: Page) -> None:
    def order(column: int) -> list[float]:
        return [number(row[column]) for row in rows(page, "classes-table")]

    iou, recall = (header(page, "classes-table", name) for name in ("IoU", "recall"))
    assert iou.get_attribute("aria-sort") == "descending"
    recall.get_by_role("button").click()
    assert recall.get_attribute("aria-sort") == "descending"
    assert iou.get_attribute("aria-sort") == "none"
    assert order(4)[:5] == sorted(order(4)[:5], reverse=True)
    assert np.isnan(order(4)[5])
    page.keyboard.press("Enter")  # the button has the focus
    assert recall.get_attribute("aria-sort") == "ascending"
    assert order(4)[:5] == sorted(order(4)[:5])
    assert np.isnan(order(4)[5])  # no score comes last either way
    header(page, "classes-table", "class").get_by_role("button").focus()
    page.keyboard.press("Space")
    assert [row[0] for row in rows(page, "classes-table")] == sorted(SPACE.names)
    header(page, "classes-table", "mostly taken for").get_by_role("button").click()
    shares = [float(row[6].split("\u202f")[0]) for row in rows(page, "classes-table")[:5]]
    assert shares == sorted(shares, reverse=True)


def test_classes_are_filtered_by_name_and_by_category(page: Page) -> None:
    box = page.get_by_label("Find a class").first
    box.fill("CAR")
    assert [row[0] for row in rows(page, "classes-table")] == ["car"]
    status = page.locator('[data-status="classes-table"]')
    assert status.inner_text() == "1 of 6 classes"
    box.fill("flat")
    assert {row[0] for row in rows(page, "classes-table")} == {"road", "sidewalk"}
    box.fill("nothing like it")
    assert rows(page, "classes-table") == []
    assert status.inner_text() == "0 of 6 classes"
    box.fill("")
    assert len(rows(page, "classes-table")) == 6


def test_images_are_found_among_those_not_listed_and_more_are_shown(page: Page, data: Data) -> None:
    best = data.names[int(data.ious().argmax())]
    assert best not in [row[0] for row in rows(page, "images-table")]
    page.get_by_label("Find an image").fill(best[5:])
    assert [row[0] for row in rows(page, "images-table")] == [best]
    page.get_by_label("Find an image").fill("")
    page.locator('[data-more="images-table"]').click()
    assert len(rows(page, "images-table")) == 115
    page.locator('[data-more="images-table"]').click()
    assert len(rows(page, "images-table")) == N
    assert page.locator('[data-more="images-table"]').is_hidden()


def cell(page: Page, row: int, column: int, shape: tuple[int, int]) -> tuple[float, float]:
    """The middle of a cell of the heat map on the screen."""
    page.locator("#matrix").scroll_into_view_if_needed()
    box = page.locator("#matrix .nsewdrag").first.bounding_box()
    assert box is not None
    x = box["x"] + (column + 0.5) * box["width"] / shape[1]
    y = box["y"] + (row + 0.5) * box["height"] / shape[0]
    return x, y


def spaced(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")


def test_pointing_at_a_cell_says_what_is_taken_for_what(shown: Page, data: Data) -> None:
    for row, column in [(0, 1), (1, 0), (4, 0), (2, 2), (0, 6)]:
        shown.mouse.move(*cell(shown, row, column, (C, C + 1)))
        count = data.confusion[row, column]
        share = f"{100 * count / data.confusion[row].sum():.1f}\u202f%"
        target, taken = SPACE.names[row], [*SPACE.names, ""][column]
        verb = f"taken for {taken}" if taken else "abstained from"
        sentence = f"target {target} {'found' if row == column else verb}:{{}}"
        sentence += f"{spaced(count)} px, {share}"
        until(shown, partial(reads, shown, sentence.format(" ")))
        assert shown.locator("#matrix .hovertext").text_content() == sentence.format("")


def written_in_cells(page: Page) -> list[str]:
    found: list[str] = page.locator("#matrix .heatmap-label").evaluate_all(
        "labels => labels.map(label => label.textContent.trim())"
    )
    return found


def test_cells_show_shares_of_the_target_or_pixels(shown: Page, data: Data) -> None:
    shares = data.confusion / data.confusion.sum(1, keepdims=True).clip(1)
    expected = [str(int(n)) for n in np.floor(100 * shares.ravel() + 0.5) if n]
    assert sorted(filter(None, written_in_cells(shown))) == sorted(expected)
    before = shown.locator("#matrix .heatmaplayer image").get_attribute("href")
    shown.get_by_label("pixels", exact=True).check()
    counts = [n for n in data.confusion.ravel() if n]
    found = [
        float(text[:-1]) * 1000 if text.endswith("k") else float(text)
        for text in filter(None, written_in_cells(shown))
    ]
    assert sorted(found) == pytest.approx(sorted(counts), rel=0.06)
    assert shown.locator("#matrix .heatmaplayer image").get_attribute("href") != before
    shown.get_by_label("share of the target").check()
    assert shown.locator("#matrix .heatmaplayer image").get_attribute("href") == before


def test_right_cells_are_blue_and_wrong_ones_orange(shown: Page, data: Data) -> None:
    picture = Image.open(io.BytesIO(shown.locator("#matrix").screenshot())).convert("RGB")
    box, area = (
        shown.locator(name).first.bounding_box() for name in ("#matrix", "#matrix .nsewdrag")
    )
    assert box is not None
    assert area is not None

    def color(row: int, column: int) -> tuple[int, ...]:
        x = area["x"] - box["x"] + (column + 0.12) * area["width"] / (C + 1)
        y = area["y"] - box["y"] + (row + 0.12) * area["height"] / C
        found: Any = picture.getpixel((int(x), int(y)))
        return tuple(found)

    red, _, blue = color(0, 0)
    assert blue > red + 60
    red, _, blue = color(1, 0)
    assert red > blue + 30
    assert max(color(5, 5)) - min(color(5, 5)) < 10  # nothing there


def test_the_heat_map_is_read_with_the_arrow_keys(shown: Page, data: Data) -> None:
    shown.locator("#matrix").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowLeft"):
        shown.keyboard.press(key)
    text = shown.inner_text("#readout")
    assert text.startswith(f"target road found: {spaced(data.confusion[0, 0])} px")
    for _ in range(9):
        shown.keyboard.press("ArrowRight")
    assert shown.inner_text("#readout").startswith("target road abstained from: ")
    assert shown.locator("#matrix .shapelayer path").count() == 1
    shown.keyboard.press("Tab")
    assert shown.locator("#matrix .shapelayer path").count() == 0


def test_every_control_is_reached_with_the_tab_key_and_shows_it(page: Page) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        what, outline = page.evaluate(
            """() => {
                const at = document.activeElement;
                return [at.dataset.table || at.id || at.ariaLabel || at.innerText || at.tagName,
                    getComputedStyle(at).outlineStyle];
            }"""
        )
        if page.evaluate("document.activeElement !== document.body"):
            reached.add(what.strip().removesuffix("↓").strip())
            assert outline != "none", what
    assert {"Skip to the scores", "classes-table", "IoU", "matrix", "confusions-table"} <= reached
    assert {"images-table", "Enlarge"} <= reached


def test_pictures_are_enlarged_and_changed_with_the_arrow_keys(shown: Page, data: Data) -> None:
    name = data.names[int(data.ious().argmin())]
    shown.locator("figure button").nth(1).focus()
    shown.keyboard.press("Enter")
    caption = shown.locator("#enlarged-caption")
    assert caption.inner_text() == f"Target of {name}"
    assert shown.locator("dialog img").evaluate("img => img.naturalWidth") == 32
    for key, found in [("ArrowRight", "Prediction"), ("ArrowRight", "Errors"),
                       ("ArrowRight", "Image"), ("ArrowLeft", "Errors")]:  # fmt: skip
        shown.keyboard.press(key)
        assert caption.inner_text() == f"{found} of {name}"
    shown.keyboard.press("Escape")
    assert shown.locator("dialog").is_hidden()
    assert shown.evaluate("document.activeElement.closest('figure') !== null")
    shown.locator("figure button").first.click()
    shown.get_by_label("Close").click()
    assert shown.locator("dialog").is_hidden()


# --- The pictures ---------------------------------------------------------------------------------


def pictures(page: Page, article: int) -> dict[str, np.ndarray]:
    """The pictures of an example by their captions, decoded."""
    found = {}
    for figure in page.locator("article").nth(article).locator("figure").all():
        source = figure.locator("img").get_attribute("src") or ""
        kind, encoded = source.split(",", 1)
        assert kind == "data:image/webp;base64"
        image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
        found[figure.locator("figcaption").inner_text()] = np.asarray(image)
    return found


def test_the_worst_images_are_shown_with_target_prediction_and_errors(
    shown: Page, data: Data
) -> None:
    order = np.argsort(data.ious())[:3]
    assert shown.locator("article h3").all_inner_texts() == [data.names[i] for i in order]
    for place, i in enumerate(order):
        found = pictures(shown, place)
        assert list(found) == ["Image", "Target", "Prediction", "Errors"]
        example = data.example(i)
        colors = np.array([*SPACE.colors, (200, 200, 200)])
        np.testing.assert_array_equal(found["Target"], colors[example.target])
        np.testing.assert_array_equal(found["Prediction"], colors[example.preds])
        counted, wrong = example.target >= 0, example.target != example.preds
        red = (
            found["Errors"][..., 0] > 134
        )  # half way from the brightest right to the darkest wrong
        assert np.mean(red[counted] == wrong[counted]) > 0.9  # a photograph is stored with a loss
        assert example.image is not None
        assert np.abs(found["Image"].astype(float) - example.image).mean() < 20

        y, p = data.target[i][data.counted[i]], data.preds[i][data.counted[i]]
        labels = [c for c in np.union1d(y, p) if c != VOID]
        iou = sk.jaccard_score(y, p, labels=labels, average=None)
        legend = shown.locator("article").nth(place).locator(".legend li").all_inner_texts()
        expected = {f"{SPACE.names[c]} {score:.3f}" for c, score in zip(labels, iou, strict=True)}
        assert set(legend) == expected | {"no class"}
        note = shown.locator("article .note").nth(place).inner_text()
        assert (
            note
            == f"mIoU {example.score:.3f}, {100 * np.mean(y != p):.1f}\u202f% of the pixels wrong"
        )


def test_large_pictures_are_reduced_without_mixing_labels(
    opened: Open, data: Data, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    target = draw.integers(0, 5, (64, 128)).repeat(16, 0).repeat(16, 1)
    preds = draw.integers(0, 5, (64, 128)).repeat(16, 0).repeat(16, 1)
    image = np.zeros((1024, 2048, 3), np.uint8)
    image[..., 1] = np.arange(2048) // 8
    examples = [
        report.Example("wide", 0.1, target, preds, image),
        report.Example("tall", 0.2, target.T, preds.T, None),
    ]
    page = opened(data.write(tmp_path / "report.html", examples=examples))
    wide, tall = pictures(page, 0), pictures(page, 1)
    assert {picture.shape for picture in wide.values()} == {(320, 640, 3)}
    assert {picture.shape for picture in tall.values()} == {(640, 320, 3)}
    assert list(tall) == ["Target", "Prediction", "Errors"]
    colors = np.array(SPACE.colors)
    for shown, labels in ((wide["Target"], target), (tall["Prediction"], preds.T)):
        assert {tuple(color) for color in shown.reshape(-1, 3)} <= set(SPACE.colors)
        blocks = labels[8::16, 8::16]  # each is 5 pixels wide now
        np.testing.assert_array_equal(shown[2::5, 2::5], colors[blocks])
    wrong = (target != preds).T[8::16, 8::16]
    np.testing.assert_array_equal(tall["Errors"][2::5, 2::5, 0] > 100, wrong)
    assert abs(int(wide["Image"][100, 320, 1]) - 128) < 8


def test_a_reduced_picture_shows_the_pixels_at_the_centres(data: Data, tmp_path: Path) -> None:
    labels = np.zeros((1920, 12), int)
    labels[1::3, 1::3] = 2  # the centre of every 3×3 pixels
    example = report.Example("tall", 0.1, labels, labels)
    text = data.write(tmp_path / "report.html", examples=[example]).read_text()
    for name in ("Target", "Prediction"):
        [encoded] = re.findall(
            f'<img src="data:image/webp;base64,([^"]*)"[^>]*alt="{name} of', text
        )
        picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
        assert picture.size == (4, 640)
        assert picture.getcolors() == [(4 * 640, SPACE.colors[2])]


# --- Where it is read -----------------------------------------------------------------------------


def luminance(color: str) -> float:
    """Relative luminance of a CSS colour, WCAG 2.2."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def style(page: Page, selector: str, name: str) -> str:
    found: str = page.evaluate(
        "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]",
        [selector, name],
    )
    return found


@contextmanager
def seen(page: Page, **media: Any) -> Iterator[Page]:
    """The page in another scheme or on paper, its charts drawn anew."""
    light, before = "rgb(28, 29, 32)", style(page, "#matrix .ytick text", "fill")
    page.emulate_media(**media)
    until(page, lambda: style(page, "#matrix .ytick text", "fill") != before)
    yield page
    page.emulate_media(media="screen", color_scheme="light")
    until(page, lambda: style(page, "#matrix .ytick text", "fill") == light)


def check_contrast(page: Page) -> None:
    ground = style(page, "body", "backgroundColor")
    for selector in ("body", ".summary", ".note", "nav a", "b.wrong", "b.right", "b.error"):
        assert contrast(style(page, selector, "color"), ground) >= 4.5, selector
    tile = style(page, ".tile", "backgroundColor")
    for selector in (".tile dt", ".tile .value", ".tile .interval"):
        assert contrast(style(page, selector, "color"), tile) >= 4.5, selector
    for selector in ("#matrix .ytick text", "#histogram .xtick text", "#matrix .xtitle"):
        assert contrast(style(page, selector, "fill"), ground) >= 4.5, selector


def test_text_and_charts_have_contrast_in_light_and_dark(shown: Page) -> None:
    assert luminance(style(shown, "body", "backgroundColor")) > 0.9
    check_contrast(shown)
    with seen(shown, color_scheme="dark"):
        assert luminance(style(shown, "body", "backgroundColor")) < 0.02
        assert luminance(style(shown, ".scroll", "color")) > 0.7
        check_contrast(shown)
    check_contrast(shown)


def test_on_paper_there_is_black_on_white_and_no_control(opened: Open, written: Path) -> None:
    page = opened(written, color_scheme="dark")
    with seen(page, media="print", color_scheme="dark"):
        for selector, name in [("body", "color"), ("#matrix .ytick text", "fill")]:
            assert style(page, selector, name) == "rgb(0, 0, 0)"
        assert style(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
        for selector in ("nav", ".controls", ".more", "#readout", ".skip"):
            assert all(element.is_hidden() for element in page.locator(selector).all())
        assert page.locator("#classes-table").is_visible()
        assert style(page, ".bar i", "printColorAdjust") == "exact"
    page.emulate_media(media="null", color_scheme="dark")
    until(page, lambda: luminance(style(page, "#matrix .ytick text", "fill")) > 0.5)
    printed = page.evaluate_handle(
        """() => {
            const printed = [], first = (selector) => document.querySelector(selector);
            matchMedia("print").addEventListener("change", ({ matches }) => {
                if (matches) printed.push([getComputedStyle(first("#matrix .ytick text")).fill,
                    first("#matrix .main-svg").clientWidth, first("#matrix").clientWidth]);
            });
            return printed;
        }"""
    )
    assert page.pdf(format="A4").startswith(b"%PDF")
    ((color, drawn, room),) = printed.json_value()
    assert color == "rgb(0, 0, 0)"
    assert drawn <= room < 800  # A4 at 96 pixels an inch


def test_the_page_is_as_wide_as_a_phone(opened: Open, data: Data, tmp_path: Path) -> None:
    space = replace(SPACE, names=tuple(HOSTILE), groups={HOSTILE[5]: tuple(HOSTILE[:3])})
    counts = replace(data.counts, class_names=None, ids=tuple(f"{i}{'x' * 300}" for i in range(N)))
    path = report.write(
        tmp_path / "report.html", torch.from_numpy(data.confusion), space, images=counts,
        title="t" * 300, examples=[replace(data.example(0), name="e" * 300)],
        how={"k" * 90: "v" * 900}, left_out=[("f" * 300, "r" * 300)],
    )  # fmt: skip
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    page = opened(path, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("innerWidth") == 360  # and it was not zoomed out to fit
    page.locator("#matrix .nsewdrag").first.tap()
    until(page, partial(reads, page, "target "))
    page.set_viewport_size({"width": 740, "height": 360})
    svg = page.locator("#matrix .main-svg").first
    until(page, lambda: svg.evaluate("svg => svg.clientWidth") > 400)
    assert page.evaluate("document.documentElement.scrollWidth") == 740


def test_without_scripts_the_numbers_stand_in_the_page(
    browser: Browser, written: Path, data: Data
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    assert page.locator("#classes-table tbody tr").count() == C
    assert page.locator("#images-table tbody tr:visible").count() == 15
    assert page.locator("article img").count() == 12
    context.close()


def test_headings_landmarks_and_pictures_have_names(shown: Page) -> None:
    levels = [int(tag[1]) for tag in shown.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map(heading => heading.tagName)"
    )]  # fmt: skip
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for role in ("banner", "navigation", "main"):
        assert shown.get_by_role(role).count() == 1
    assert shown.locator("article img:not([alt])").count() == 0
    assert shown.evaluate("document.documentElement.lang") == "en"
    unnamed = shown.evaluate(
        """[...document.querySelectorAll("input, select")].filter(control => !control.labels.length)
            .length"""
    )
    assert unnamed == 0
    ids = shown.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


# --- What it never does ---------------------------------------------------------------------------


def test_names_are_shown_as_they_are_and_never_run(
    opened: Open, data: Data, tmp_path: Path
) -> None:
    space = replace(SPACE, names=tuple(HOSTILE), groups={HOSTILE[0]: tuple(HOSTILE[:2])})
    ids = tuple(f"{i} {HOSTILE[i % 6]}" for i in range(N))
    counts = replace(data.counts, class_names=None, ids=ids)
    example = replace(data.example(0), name=HOSTILE[0])
    path = report.write(
        tmp_path / "report.html", torch.from_numpy(data.confusion), space, images=counts,
        title=HOSTILE[1], examples=[example], scores={HOSTILE[2]: 0.5},
        how={HOSTILE[0]: HOSTILE[1], "items": "x"}, left_out=[(HOSTILE[0], HOSTILE[2])],
    )  # fmt: skip
    page = opened(path)
    assert page.inner_text("h1") == page.title() == HOSTILE[1]
    assert {row[0] for row in rows(page, "classes-table")} == set(HOSTILE)
    assert rows(page, "left-out-table") == [[HOSTILE[0], HOSTILE[2]]]
    assert all(name in ids for name in columns(page, "images-table")[0])
    assert HOSTILE[2] in tiles(page, "scores")
    assert page.locator("article h3").inner_text() == HOSTILE[0]
    assert HOSTILE[1] in page.inner_text("#how")

    ticks = page.locator("#matrix .ytick text").all_text_contents()
    assert set(ticks) == {name if len(name) <= 18 else f"{name[:17]}…" for name in HOSTILE}
    for row in range(C):
        page.mouse.move(*cell(page, row, 1, (C, C + 1)))
        until(page, partial(reads, page, f"target {HOSTILE[row]} "))
        shown = page.locator("#matrix .hovertext").text_content() or ""
        assert shown.startswith(f"target {HOSTILE[row]} ")
    assert page.evaluate("window.broken") is None
    assert page.locator("img[src='x'], #matrix a, #matrix b").count() == 0


def test_names_that_are_no_unicode_are_written_too(data: Data, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    path = data.write(tmp_path / "report.html", left_out=[(name, "unreadable")])
    assert "caf?.png" in path.read_text("utf-8")


def test_scripts_that_are_not_its_own_may_not_run_and_nothing_may_be_fetched(
    browser: Browser, written: Path, tmp_path: Path
) -> None:
    html = written.read_text("utf-8")
    intruder = (
        "<script>window.broken = 1</script><img src='https://example.com/a.png'>"
        "<iframe src='https://example.com'></iframe><body>"
    )
    changed = tmp_path / "changed.html"
    changed.write_text(html.replace("<body>", intruder, 1), "utf-8")
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(changed.as_uri())
    page.wait_for_selector("#matrix .heatmaplayer image", state="attached")
    assert page.evaluate("window.broken") is None
    assert len([text for text in refused if "Content Security Policy" in text]) == 3
    page.close()


# --- Sizes and edges ------------------------------------------------------------------------------


def many(images: int, classes: int, names: int = 40) -> tuple[torch.Tensor, ImageCounts]:
    """Counts of images with about ten of many classes each, some of them taken for others."""
    draw = np.random.default_rng(0)
    matrices = np.zeros((classes, classes + 1), np.int64)
    tp, fp, fn = np.zeros((3, images, classes), np.int64)
    for i in range(images):
        there = draw.choice(classes, 10, replace=False)
        taken = draw.integers(0, classes + 1, 10)
        right, wrong = draw.integers(1000, 90_000, (2, 10))
        taken = np.where(taken == there, (there + 1) % classes, taken)
        matrices[there, there] += right
        np.add.at(matrices, (there, taken), wrong)
        tp[i, there], fn[i, there] = right, wrong
        np.add.at(fp[i], taken[taken < classes], wrong[taken < classes])
    ids = tuple(f"validation/{'n' * names}_{i:06}.png" for i in range(images))
    parts = (torch.from_numpy(part) for part in (tp, fp, fn))
    return torch.from_numpy(matrices), ImageCounts(*parts, ids=ids)


def test_5000_images_of_150_classes_stay_under_15_megabytes(opened: Open, tmp_path: Path) -> None:
    confusion, counts = many(5000, 150)
    draw = np.random.default_rng(0)
    examples = []
    for i in range(10):
        target = draw.integers(0, 150, (16, 24)).repeat(32, 0).repeat(32, 1)
        preds = np.where(draw.random(target.shape) < 0.97, target, 7)
        noise = draw.integers(0, 256, (64, 96, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        examples.append(report.Example(f"image {i}", i / 100, target, preds, noise))
    path = report.write(tmp_path / "report.html", confusion, 150, images=counts, examples=examples)
    assert path.stat().st_size < 15e6
    page = opened(path)
    page.get_by_label("Find an image").fill("_004321.png")
    ((name, *_),) = rows(page, "images-table")
    assert name.endswith("_004321.png")
    header(page, "images-table", "image").get_by_role("button").click()
    assert len(rows(page, "images-table")) == 1

    # 150 classes at once, or those most confused
    page.mouse.move(*cell(page, 149, 3, (150, 151)))
    until(page, partial(reads, page, "target 149 taken for 3:"))
    tops = page.locator("#matrix .ytick text").evaluate_all(
        "labels => labels.map(label => label.getBoundingClientRect().top)"
    )
    assert len(tops) > 30  # as many names as there is room for, 10 pixels high
    assert min(below - above for above, below in pairwise(sorted(tops))) > 8
    page.locator("#matrix-classes").select_option("20")
    matrix = confusion.numpy()
    hits = np.diagonal(matrix)
    wrong = matrix.sum(1) + matrix[:, :150].sum(0) - 2 * hits
    kept = sorted(np.argsort(-wrong, kind="stable")[:20])
    ticks = page.locator("#matrix .ytick text").all_text_contents()
    assert sorted(map(int, ticks)) == kept
    page.mouse.move(*cell(page, 2, 5, (20, 21)))
    count = matrix[kept[2], kept[5]]
    until(
        page,
        lambda: reads(page, f"target {kept[2]} taken for {kept[5]}: {spaced(count)} px"),
    )


def test_only_so_many_images_are_listed_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report.numbers, "LISTED_IMAGES", 50)
    confusion, counts = many(80, 12)
    html = report.write(tmp_path / "report.html", confusion, 12, images=counts).read_text("utf-8")
    assert "The 50 worst of 80 images are listed." in html
    assert len(set(re.findall(r"validation/n+_\d+\.png", html))) == 50


@pytest.mark.parametrize("with_images", [True, False])
def test_a_page_of_nothing_counted_opens(with_images: bool, opened: Open, tmp_path: Path) -> None:
    classes = 2 if with_images else 1
    none = torch.zeros(3, classes, dtype=torch.int64)
    images = ImageCounts(none, none, none) if with_images else None
    zeros = torch.zeros(classes, classes, dtype=torch.int32)
    page = opened(report.write(tmp_path / "report.html", zeros, classes, images=images))
    assert {texts[0] for texts in tiles(page, "scores").values()} == {"–"}
    assert page.get_by_text("3 images hold no scored class").count() == with_images
    assert page.locator("#images, #examples, #categories, #confusions-table").count() == with_images


def test_classes_that_are_ignored_have_no_score(opened: Open, data: Data, tmp_path: Path) -> None:
    target = torch.from_numpy(np.where(data.target == VOID, 4, data.target))
    preds = torch.from_numpy(np.where(data.preds == VOID, 4, data.preds))
    space = LabelSpace(SPACE.names, ignore_index=4, groups=SPACE.groups)
    matrix, images = ConfusionMatrix(space), ImageScores(space)
    matrix.update(preds, target)
    images.update(preds, target, image_ids=data.names)
    page = opened(report.write(tmp_path / "report.html", matrix.compute(), space, images=images))
    y, p = target.numpy().ravel(), preds.numpy().ravel()
    y, p = y[y != 4], p[y != 4]
    expected = sk.jaccard_score(y, p, labels=[0, 1, 2, 3], average=None)
    assert "sky" not in columns(page, "classes-table")[0]
    assert columns(page, "categories-table")[0] == ["flat", "mobile"]
    assert tiles(page, "scores")["mIoU"][0] == f"{expected.mean():.3f}"


# --- The file -------------------------------------------------------------------------------------


def test_the_path_is_returned_and_an_older_file_replaced(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert data.write(path, title="new") == path
    assert "<title>new</title>" in path.read_text("utf-8")
    assert data.write(str(path), title="newer") == path  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["report.html"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_who_reads_meanwhile_sees_a_whole_file(data: Data, tmp_path: Path) -> None:
    path = data.write(tmp_path / "report.html", examples=[], images=None)
    size, read_back, done = path.stat().st_size, set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            read_back.add((len(content), content[-8:]))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(6):
        data.write(path, examples=[], images=None)
    done.set()
    reader.join()
    assert read_back == {(size, b"</html>\n")}


def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path, eye = tmp_path / "report.html", torch.eye(2, dtype=torch.int64)
    report.write(path, eye, 2, title="old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            report.write(path, eye, 2, title="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["report.html"]
    assert "<title>old</title>" in path.read_text("utf-8")


def test_importing_it_loads_no_plotly_no_jinja_and_no_pillow() -> None:
    program = """
        import sys, segmetrics  # torchmetrics loads pillow where it finds it
        before = set(sys.modules)
        import segmetrics.report
        print({"plotly", "jinja2", "PIL"} & (set(sys.modules) - before), "plotly" in before)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program)]
    ran = subprocess.run(arguments, capture_output=True, text=True)
    assert ran.stdout == "set() False\n", ran.stderr


def test_what_does_not_fit_is_named(data: Data, tmp_path: Path) -> None:
    confusion, path = torch.from_numpy(data.confusion), tmp_path / "report.html"
    with pytest.raises(FileNotFoundError, match=r"`path`: the folder .*nowhere does not exist"):
        data.write(tmp_path / "nowhere" / "report.html")
    with pytest.raises(IsADirectoryError, match="`path` must be a file"):
        data.write(tmp_path)
    with pytest.raises(ValueError, match=r"`confusion` must be .* the 6 classes .* got \(5, 7\)"):
        report.write(path, confusion[:5], SPACE)
    with pytest.raises(
        TypeError, match="`confusion` must hold counts in an integer type, got torc"
    ):
        report.write(path, confusion.float(), SPACE)
    with pytest.raises(TypeError, match="`confusion` must be a tensor, got ndarray"):
        report.write(path, data.confusion, SPACE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`confusion` must hold counts, got -1"):
        report.write(path, torch.full((6, 6), -1), SPACE)
    with pytest.raises(TypeError, match="`labels` must be a LabelSpace or the number of classes"):
        report.write(path, confusion, "voc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`level` must be in \(0, 1\), got 95"):
        data.write(path, level=95)
    counts = data.counts
    parts = {name: getattr(counts, name)[:, 1:] for name in ("tp", "fp", "fn")}
    fewer = replace(counts, class_names=None, **parts)
    with pytest.raises(ValueError, match=r"`images` must count the 6 classes of `labels`, got 5"):
        data.write(path, images=fewer)
    with pytest.raises(ValueError, match="must count the same pixels, but of class 0"):
        data.write(path, images=replace(counts, tp=counts.tp * 2))
    for part, what in (("fp", "wrongly predicted"), ("fn", "missed")):
        others = replace(counts, **{part: getattr(counts, part) * 2})
        with pytest.raises(ValueError, match=f"must count the same pixels.* pixels are {what}"):
            data.write(path, images=others)
    with pytest.raises(TypeError, match="`scores` must be a number, got 'high'"):
        data.write(path, scores={"x": "high"})
    assert not path.exists()

    labels = np.zeros((4, 5), int)
    with pytest.raises(ValueError, match=r"of 'a' must have one size, got \(4, 5\), \(5, 4\)"):
        report.Example("a", 0.5, labels, labels.T)
    with pytest.raises(ValueError, match=r"`preds` of 'a' must be integers \(H, W\), got float64"):
        report.Example("a", 0.5, labels, labels * 1.0)
    with pytest.raises(ValueError, match=r"`image` of 'a' must be uint8 RGB .* got float64"):
        report.Example("a", 0.5, labels, labels, np.zeros((4, 5, 3)))
    with pytest.raises(TypeError, match="`score` must be a number"):
        report.Example("a", None, labels, labels)  # type: ignore[arg-type]
