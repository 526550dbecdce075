"""What ``mutation.py`` draws."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mutants import Mutant, drawn, equivalent_mutants, mutants_of

SOURCE = """
def first(x):
    return x + 1 if x > 0 else x + 1

def second(x):
    return (x - 2) * 3 == 4 and x in (5, 6)
"""


def draw(source: str, seed: int = 0) -> list[Mutant]:
    return drawn(mutants_of(Path("some.py"), source), seed)


def test_a_draw_holds_every_mutant_once() -> None:
    assert Counter(draw(SOURCE)) == Counter(mutants_of(Path("some.py"), SOURCE))


def test_edits_of_other_lines_leave_the_order_of_the_draw() -> None:
    edited = SOURCE.replace("\ndef second", "\ndef between(y):\n    return y < 7\n\ndef second")
    kept = [m for m in draw(edited) if "y < 7" not in m.text]
    assert [(m.text, m.change) for m in kept] == [(m.text, m.change) for m in draw(SOURCE)]
    assert len(draw(edited)) > len(kept)


def test_seeds_draw_in_other_orders() -> None:
    assert draw(SOURCE, 1) != draw(SOURCE)
    assert draw(SOURCE, 1) == draw(SOURCE, 1)


def test_of_equal_changes_only_the_listed_one_is_equivalent(tmp_path: Path) -> None:
    line, change = "return x + 1 if x > 0 else x + 1", "1 -> (2)"
    listed = tmp_path / "equivalent.txt"
    mutants = [m for m in draw(SOURCE) if (m.text, m.change) == (line, change)]
    assert sorted(m.number for m in mutants) == [1, 2]
    for entry, numbers in ((change, [1]), (f"{change} #2", [2]), ("*", [1, 2])):
        listed.write_text(f"# a comment\nsome.py ¦ {line} ¦ {entry} ¦ a reason\n")
        known = equivalent_mutants(listed)
        assert sorted(m.number for m in mutants if known(m)) == numbers
        assert not any(known(m) for m in draw(SOURCE) if m.text != line)
    assert [str(m).splitlines()[0] for m in sorted(mutants, key=lambda m: m.number)] == [
        "some.py:3: 1 -> (2)", "some.py:3: 1 -> (2) #2"
    ]  # fmt: skip
