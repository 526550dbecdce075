"""What ``segmetrics evaluate`` measures besides pixel counts: carried and shown as one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from segmetrics.evaluate import workers
from segmetrics.evaluate.extras import Array, Section
from segmetrics.evaluate.folders import evaluate
from segmetrics.evaluate.settings import Evaluation, Settings
from segmetrics.evaluate.summary import Summary
from segmetrics.files import LabelMap, MaskError, Match, Pair
from segmetrics.labels import LabelSpace


@dataclass(frozen=True)
class Ones:
    """Counts the ones of the prediction and of the target."""

    name: str
    summed: bool
    refused: str = ""

    @property
    def keys(self) -> list[str]:
        return [f"{self.name}_rows"]

    def describe(self) -> object:
        return self.refused

    def measure(self, preds: LabelMap, target: LabelMap, pair: Pair) -> Array:
        if pair.name == self.refused:
            raise MaskError("labels", pair.preds, "has none of ours")
        return np.array([[np.count_nonzero(mask.values == 1) for mask in (preds, target)]])

    def sections(
        self, values: Array, evaluation: Evaluation, level: float | None
    ) -> Iterator[Section]:
        of_pairs = [("all", values)] if self.summed else zip(evaluation.names, values, strict=True)
        rows = [
            {"name": name, "kind": "=1", "preds": int(v[:, 0].sum()), "share": v.sum() / 100}
            for name, v in of_pairs
        ]
        score = {f"{self.name} of all": float(values.sum())}
        yield Section(
            self.keys[0], "Ones", rows, printed=2, scores=score, notes=["Ones are ones."],
            figures=["<b>a figure</b>"],
        )  # fmt: skip


def masks(folder: Path, number: int) -> tuple[Path, Path, list[tuple[int, int]]]:
    """Pairs of masks, and how many ones each has."""
    rng, ones = np.random.default_rng(0), []
    for i in range(number):
        pair = rng.integers(0, 3, (2, 8, 9)).astype(np.uint8)
        for name, mask in zip("pt", pair, strict=True):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / name / f"{i:02}.png")
        ones.append((int((pair[0] == 1).sum()), int((pair[1] == 1).sum())))
    return folder / "p", folder / "t", ones


def settings(*extras: Ones) -> Settings:
    return Settings(LabelSpace(["a", "b", "c"]), extras=extras)


@pytest.mark.parametrize("forks", [True, False])
def test_arrays_of_pairs_are_summed_or_kept_in_the_order_of_names(
    forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FORKS", forks)
    *folders, ones = masks(tmp_path, 9)
    found = evaluate(*folders, settings(Ones("sum", True), Ones("each", False)), workers=2)
    assert found is not None
    assert found.names == [f"{i:02}" for i in range(9)]
    assert found.extras["each"].tolist() == [[list(pair)] for pair in ones]
    assert found.extras["sum"].tolist() == [np.sum(ones, 0).tolist()]


def test_a_checkpoint_brings_them_back(tmp_path: Path) -> None:
    *folders, ones = masks(tmp_path, 6)
    both = Ones("sum", True), Ones("each", False)
    checkpoint = tmp_path / "c"
    hidden = folders[0] / "05.png", folders[1] / "05.png"
    for path in hidden:
        path.rename(f"{path}.hidden.png")
    for path in hidden:
        Path(f"{path}.hidden.png").rename(tmp_path / f"{path.parent.name}.png")
    first = evaluate(*folders, settings(*both), workers=1, checkpoint=checkpoint)
    for path in hidden:
        (tmp_path / f"{path.parent.name}.png").rename(path)
    second = evaluate(*folders, settings(*both), workers=1, checkpoint=checkpoint)
    assert first is not None
    assert second is not None
    assert len(first.extras["each"]) == 5
    assert second.extras["each"].tolist() == [[list(pair)] for pair in ones]
    assert second.extras["sum"].tolist() == [np.sum(ones, 0).tolist()]
    with pytest.raises(ValueError, match="was made with"):
        evaluate(*folders, settings(Ones("sum", True, "x"), both[1]), checkpoint=checkpoint)


def test_a_pair_that_an_extra_refuses_is_a_problem(tmp_path: Path) -> None:
    *folders, ones = masks(tmp_path, 3)
    found = evaluate(*folders, settings(Ones("sum", True, "01")), keep_going=True)
    assert found is not None
    assert [problem.detail for problem in found.left_out] == ["has none of ours"]
    assert found.extras["sum"].tolist() == [np.sum([ones[0], ones[2]], 0).tolist()]


def test_masks_of_one_class_each_give_a_row_a_class(tmp_path: Path) -> None:
    ones = []
    for folder in "pt":
        for c in "ab":
            mask = np.random.default_rng(len(ones)).integers(0, 2, (8, 9)).astype(np.uint8)
            (tmp_path / folder / "x").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(tmp_path / folder / "x" / f"{c}.png")
            ones.append(int(mask.sum()))
    match = Match("{key}/{class}", "{key}/{class}", ("a", "b"))
    found = evaluate(
        tmp_path / "p", tmp_path / "t",
        Settings(LabelSpace(["a", "b"]), task="multilabel", extras=(Ones("each", False),)),
        match=match,
    )  # fmt: skip
    assert found is not None
    assert found.extras["each"].tolist() == [[[ones[0], ones[2]], [ones[1], ones[3]]]]


def test_a_class_that_a_pair_lacks_keeps_its_row(tmp_path: Path) -> None:
    for folder in "pt":
        for key, classes in (("x", "ac"), ("y", "b")):
            for c in classes:
                (tmp_path / folder / key).mkdir(parents=True, exist_ok=True)
                mask = np.full((8, 9), "abc".index(c) % 2, np.uint8)
                Image.fromarray(mask).save(tmp_path / folder / key / f"{c}.png")
    match = Match("{key}/{class}", "{key}/{class}", ("a", "b", "c"))
    chosen = Settings(LabelSpace(["a", "b", "c"]), "multilabel", extras=(Ones("each", False),))
    found = evaluate(tmp_path / "p", tmp_path / "t", chosen, match=match)
    assert found is not None
    assert found.extras["each"].tolist() == [[[0, 0]] * 3, [[0, 0], [72, 72], [0, 0]]]


def test_sections_stand_in_table_json_csv_and_report(tmp_path: Path) -> None:
    *folders, ones = masks(tmp_path, 4)
    chosen = Settings(LabelSpace(["a", "b", "c"]), images=True, extras=(Ones("each", False),))
    result = evaluate(*folders, chosen)
    assert result is not None
    summary = Summary.of(result, per_image=False, level=None)
    console = Console(file=io.StringIO(), width=200)
    summary.print(console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"Ones  kind  preds  share\n00      =1     {ones[0][0]}" in printed
    assert "\n02" not in printed  # two rows are printed
    assert "Ones are ones." in printed
    assert f"each of all {sum(map(sum, ones))}.000" in " ".join(printed.split())

    summary.write_json(tmp_path / "s.json", {})
    content: dict[str, Any] = json.loads((tmp_path / "s.json").read_text())
    assert [row["preds"] for row in content["each_rows"]] == [preds for preds, _ in ones]
    assert content["scores"]["each of all"] == sum(map(sum, ones))
    assert content["notes"] == ["Ones are ones."]

    summary.write_csv(tmp_path / "s.csv")
    with (tmp_path / "s.each_rows.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["name", "kind", "preds", "share"]
    assert rows[1] == ["00", "'=1", str(ones[0][0]), str(sum(ones[0]) / 100)]
    assert len(rows) == 5

    summary.write_html(tmp_path / "s.html", None, {}, 0.95)
    page = (tmp_path / "s.html").read_text()
    assert '<h2 id="section-1-heading">Ones</h2>' in page
    assert "Ones are ones." in page
    assert "<b>a figure</b>" in page
    assert f'data-value="{ones[1][0]}"' in page
