"""`fashion-clip truth import`: what it says, and how it ends."""

import getpass
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.catalogue_fixtures import Tagged, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]


@pytest.fixture
def truth(tagged: Tagged, clean_environment: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Imports a CSV of this text into the tagged catalogue."""
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", str(tagged.engine.url))

    def truth(content: str, *options: str) -> Finished:
        Path("truth.csv").write_text(content)
        return run("truth", "import", "truth.csv", *options)

    return truth


GOOD = "id,attribute,label\nfmnist-00066,category,Clothing\nfmnist-00068,category,Footwear\n"


def told(out: str) -> dict[str, int]:
    """The table that the output begins with."""
    table = [line.rsplit(None, 1) for line in out.splitlines()[1:]]
    return {row[0].strip(): int(row[1]) for row in table if len(row) == 2 and row[1].isdigit()}


def test_a_table_tells_what_became_of_the_rows_and_then_what_to_do(truth: Run, tagged: Tagged) -> None:
    ended = truth(GOOD)
    assert (ended.code, ended.err) == (0, "")
    nothing = {"unchanged": 0, "skipped": 0, "conflicts": 0, "unknown photos": 0, "unknown labels": 0}
    assert told(ended.out) == {"rows": 2, "imported": 2, **nothing}
    assert "fashion-clip evaluate" in ended.out.splitlines()[-1]
    assert rows(tagged.engine, "SELECT DISTINCT given_by FROM truths") == [(getpass.getuser(),)]
    again = truth(GOOD)
    assert (again.code, again.err) == (0, "")
    assert told(again.out)["unchanged"] == 2
    assert "evaluate" not in again.out


def test_refused_rows_are_1_and_told_by_line_and_the_others_are_in(truth: Run, tagged: Tagged) -> None:
    ended = truth(GOOD + "nobody,category,Clothing\nfmnist-00066,category,Cloting\nfmnist-00066,kind,x\n")
    assert (ended.code, ended.err) == (1, "")
    assert told(ended.out)["unknown photos"] == told(ended.out)["unknown attributes"] == 1
    assert "line 4: the catalogue has no product 'nobody'\n" in ended.out
    assert "line 5: category has no label 'Cloting'; did you mean 'Clothing'?\n" in ended.out
    assert rows(tagged.engine, "SELECT COUNT(*) FROM truths") == [(2,)]


def test_of_many_problems_the_first_are_shown_and_the_rest_counted(truth: Run) -> None:
    ended = truth("id,attribute,label\n" + "".join(f"none{n},category,x\n" for n in range(30)))
    assert ended.out.count("\nline ") == 10
    assert "\nand 20 more\n" in ended.out


def test_a_dry_run_says_so_and_writes_nothing(truth: Run, tagged: Tagged) -> None:
    ended = truth(GOOD, "--dry-run")
    assert ended.code == 0
    assert told(ended.out)["imported"] == 2
    assert ended.out.splitlines()[-1] == "nothing was written; without --dry-run it is"
    assert rows(tagged.engine, "SELECT * FROM truths") == []


def test_programs_are_told_in_json(truth: Run, tagged: Tagged) -> None:
    ended = truth(GOOD + "nobody,category,Clothing\n", "--json", "--by", " ann ")
    done = json.loads(ended.out)
    assert ended.code == 1
    assert (done["file"], done["dry_run"], done["rows"]) == ("truth.csv", False, 3)
    assert (done["imported"], done["unknown_photos"], done["refused"]) == (2, 1, 1)
    assert done["problems"] == [{"line": 4, "told": "the catalogue has no product 'nobody'"}]
    assert rows(tagged.engine, "SELECT DISTINCT given_by FROM truths") == [("ann",)]


def test_new_labels_are_kept_where_that_is_asked_for(truth: Run) -> None:
    content = "id,attribute,label\nfmnist-00066,category,Homeware\n"
    assert told(truth(content).out)["unknown labels"] == 1
    ended = truth(content, "--new-labels")
    assert (ended.code, told(ended.out)["imported"]) == (0, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,attribute,label\nCaf\xe9,category,x\n", "not UTF-8"),
        ("id,attribute,label\n".encode("utf-16"), "UTF-16"),
        (b"name,attribute,label\n", "one that names the photo is needed"),
    ],
)
def test_a_file_that_cannot_be_used_is_2_and_one_line(
    truth: Run, run: Run, content: bytes, said: str
) -> None:
    Path("bad.csv").write_bytes(content)
    ended = run("truth", "import", "bad.csv")
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_wrong_use_is_2(truth: Run, run: Run, tagged: Tagged) -> None:
    assert run("truth", "import").code == 2
    assert run("truth", "import", "nowhere.csv").code == 2
    ended = truth(GOOD, "--by", " ")
    assert (ended.code, ended.out) == (2, "")
    assert rows(tagged.engine, "SELECT * FROM truths") == []


def test_an_empty_catalogue_takes_none(catalogue: Engine, run: Run) -> None:
    Path("truth.csv").write_text(GOOD)
    ended = run("truth", "import", "truth.csv")
    assert (ended.code, ended.out) == (2, "")
    assert "the catalogue is empty" in ended.err


def test_a_name_cannot_forge_a_line(truth: Run) -> None:
    ended = truth('id,attribute,label\n"x\nfashion-clip: y\u202e",category,z\n')
    assert "\nfashion-clip" not in ended.out
    assert "\u202e" not in ended.out
