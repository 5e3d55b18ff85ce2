"""What the README claims is so: its queries, commands, variables, views, taxonomy and file map."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fashion_clip.taxonomy import parse_taxonomy
from scripts.readme_queries import BLOCK, README, answer
from tasks.catalog.engine import connect
from tasks.catalog.views import VIEWS
from tasks.settings import Settings
from tests.cli.conftest import Finished

TEXT = README.read_text(encoding="utf-8")
# Vectors differ in their last bits between processors: a score may round to the next 0.0001.
TOLERANCE = 0.0011


def test_the_queries_give_the_answers_that_stand_there(
    tmp_path: Path,
    run: Callable[..., Finished],
    monkeypatch: pytest.MonkeyPatch,
    clean_environment: None,
    prefect_api: str,
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "set here so that it is put back after the test")
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    assert run("demo", "--folder", tmp_path).code == 0
    engine = connect(f"sqlite:///{tmp_path / 'demo.db'}")
    blocks = list(BLOCK.finditer(TEXT))
    assert len(blocks) == 5
    for block in blocks:
        _assert_alike(answer(engine, block["query"]), block["answer"])


def _assert_alike(found: str, told: str) -> None:
    """Equal line by line, numbers within the tolerance."""
    cells_found, cells_told = ([line.split() for line in text.splitlines()] for text in (found, told))
    assert [len(line) for line in cells_found] == [len(line) for line in cells_told]
    for line_found, line_told in zip(cells_found, cells_told, strict=True):
        for one, other in zip(line_found, line_told, strict=True):
            if re.fullmatch(r"-?\d+\.\d+", other):
                assert float(one) == pytest.approx(float(other), abs=TOLERANCE)
            else:
                assert one == other


def test_the_commands_and_options_exist(run: Callable[..., Finished]) -> None:
    shell = "\n".join(re.findall(r"```(?:sh|cron)\n(.*?)```", TEXT, re.DOTALL))
    commands = re.findall(r"fashion-clip (\w+)(.*)", shell)
    assert {name for name, _ in commands} == {
        "tag", "runs", "relabel", "classify", "quarantine", "export", "evaluate", "truth", "calibrate",
        "retrain", "models", "train", "check", "serve",
    }  # fmt: skip
    for name, rest in commands:
        group = [name, rest.split()[0]] if name in ("quarantine", "truth", "models") else [name]
        help_text = run(*group, "--help").out
        for option in re.findall(r"--[\w-]+", rest):
            assert option in help_text


def test_the_make_targets_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`?make (\w+)`?", TEXT))
    assert targets == {"demo", "test", "env", "check", "bench", "faults"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_variables_are_those_of_the_settings() -> None:
    told = {name.lower() for name in re.findall(r"^\| `FASHION_CLIP_(\w+)`", TEXT, re.MULTILINE)}
    assert told == set(Settings.model_fields)


def test_the_views_are_those_of_the_catalogue() -> None:
    section = TEXT.partition("## Ask the catalogue")[2].partition("```")[0]
    assert set(re.findall(r"`(\w+_\w+)`", section)) == set(VIEWS)


def test_the_taxonomy_can_be_read() -> None:
    [document] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert [attribute.name for attribute in parse_taxonomy(tomllib.loads(document)).attributes] == ["kind"]


def test_the_file_map_names_what_is_there() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 9
    for package, description in rows:
        folder = README.parent / package
        assert folder.is_dir()
        for name in re.findall(r"`(\w+)/?`", description):
            is_there = (folder / name).is_dir() or (folder / f"{name}.py").is_file() or name == "bench"
            assert is_there or f"make {name}" in description, f"{package}/{name}"
