"""The notebooks run from a clean state, and their committed outputs are what a run gives."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from scripts.run_notebooks import METADATA, NOTEBOOKS, executed

ROOT = Path(__file__).parents[2]
MOST_BYTES = 600_000  # of all together
# Vectors differ in their last bits between processors: a figure may round to the next 0.001.
TOLERANCE = 0.0011
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?%?")
TAG = re.compile(r"<style.*?</style>|<[^>]*>", re.DOTALL)
ABSOLUTE = re.compile(r"(?<![\w.~/-])/\w[\w.-]*/|file:|\b[A-Z]:\\")  # paths, in URLs too


def outputs(notebook: Any) -> list[dict[str, Any]]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def texts(notebook: Any) -> list[str]:
    """What is printed and shown, tables both as text and as HTML without tags, pictures by their kind."""
    found = []
    for output in outputs(notebook):
        data = output.get("data", {})
        found += [output.get("text", ""), data.get("text/plain", ""), TAG.sub(" ", data.get("text/html", ""))]
        found += [kind for kind in data if kind.startswith("image/")]
    return [text for text in found if text]


def assert_alike(found: str, told: str) -> None:
    """Equal word by word, numbers within the tolerance."""
    words_found, words_told = found.split(), told.split()
    assert len(words_found) == len(words_told), found
    for one, other in zip(words_found, words_told, strict=True):
        if NUMBER.fullmatch(one) and NUMBER.fullmatch(other):
            assert float(one.rstrip("%")) == pytest.approx(float(other.rstrip("%")), abs=TOLERANCE), found
        else:
            assert one == other, found


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: str(file.name))
def test_it_runs_and_shows_what_is_committed(file: Path) -> None:
    fresh = executed(file)
    found, told = texts(fresh), texts(nbformat.read(file, as_version=4))
    assert sum("accuracy.estimate" in text for text in told) >= 2  # a table, and its HTML
    assert sum(text.startswith("image/") for text in told) >= 8
    assert not any(output.get("name") == "stderr" for output in outputs(fresh))
    assert len(found) == len(told)
    for one, other in zip(found, told, strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: str(file.name))
def test_what_is_committed_is_whole_and_tells_nothing_of_a_machine(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    assert all(cell.metadata == {} for cell in notebook.cells)  # no times
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.get("name") == "stderr" for output in outputs(notebook))
    for text in texts(notebook):
        assert not ABSOLUTE.search(text), text
    assert str(ROOT) not in file.read_text(encoding="utf-8")


def test_there_is_one_and_all_are_small() -> None:
    assert NOTEBOOKS
    assert sum(path.stat().st_size for path in (ROOT / "notebooks").iterdir()) < MOST_BYTES


@pytest.mark.parametrize(
    "text", ["/home/me/x.png", "in '/tmp/a/b'", "file:///x", "(/srv/a/b)", "C:\\Users\\me"]
)
def test_absolute_paths_are_seen(text: str) -> None:
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize("text", ["0.5/0.6", "notebooks/x.ipynb", "a / b", "https://x.org/a"])
def test_what_is_no_path_is_let_through(text: str) -> None:
    assert not ABSOLUTE.search(text)


def test_figures_are_compared_as_numbers() -> None:
    assert_alike("Shirts  0.907\nCoats -0.10", "Shirts 0.908 Coats -0.1")
    with pytest.raises(AssertionError):
        assert_alike("Shirts 0.907", "Shirts 0.911")
    with pytest.raises(AssertionError):
        assert_alike("Shirts 0.907", "Coats 0.907")
