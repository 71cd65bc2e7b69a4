"""Every requirement code in the code (L12, LO3, R7, RO20) has a line in docs/papers/."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = ROOT / "docs" / "papers"
CODE = re.compile(r"\b(LO|RO|L|R)(\d+)\b(?! penalty| norm)")
RANGE = re.compile(r"\b(LO|RO|L|R)(\d+) to (LO|RO|L|R)(\d+)\b")


def codes_in(text):
    """All codes of a text; a range "L6 to L12" names all between its ends."""
    codes = {prefix + number for prefix, number in CODE.findall(text)}
    for prefix, first, last_prefix, last in RANGE.findall(text):
        if prefix == last_prefix:
            codes |= {f"{prefix}{number}" for number in range(int(first), int(last) + 1)}
    return codes


def documented():
    """Code -> its line, of all pages of papers."""
    lines = {}
    for page in PAPERS.glob("*.md"):
        for line in page.read_text().splitlines():
            match = re.match(r"\| ((?:LO|RO|L|R)\d+) \|", line)
            if match:
                assert match[1] not in lines, f"{match[1]} has two lines"
                lines[match[1]] = line
    return lines


def test_ranges_of_codes_and_penalties_are_distinguished():
    assert codes_in("pairs (L6 to L8, LO1), an L2 penalty") == {"L6", "L7", "L8", "LO1"}


def test_every_code_has_a_line():
    lines, missing = documented(), {}
    for path in sorted((ROOT / "raypipe").rglob("*.py")):
        unknown = codes_in(path.read_text()) - set(lines)
        if unknown:
            missing[str(path.relative_to(ROOT))] = sorted(unknown)
    assert not missing, f"codes without a line in docs/papers/: {missing}"


@pytest.mark.parametrize("page", sorted(PAPERS.glob("*.md")), ids=lambda path: path.stem)
def test_the_named_files_exist(page):
    for name in re.findall(r"`([\w/]+(?:\.py|\.csv|/))`", page.read_text()):
        assert (ROOT / "raypipe" / name).exists() or (ROOT / name).exists(), name
