"""Records in order however many they are, and nothing left behind."""

import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_clip.errors import SourceError
from tasks.sources import ordering
from tasks.sources.ordering import in_order

RECORDS = st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8), max_size=60)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "CHUNK_BYTES", 200)
    monkeypatch.setattr(ordering, "MOST_RUNS", 3)


def shuffled(number: int) -> Iterator[str]:
    numbers = list(range(number))
    random.Random(0).shuffle(numbers)
    return (f"s3://shop/{n:07d}.jpg {n}" for n in numbers)


def open_files() -> set[Path]:
    return {Path(entry.path).resolve() for entry in os.scandir("/proc/self/fd")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(RECORDS)
def test_the_order_is_that_of_bytes_however_many_there_are(small_chunks: None, records: list[str]) -> None:
    assert list(in_order(records)) == sorted(records, key=str.encode)


def test_records_of_a_uri_and_more_are_in_the_order_of_their_uris() -> None:
    uris = ["a", "a!", "a-b", "a.jpg", "a/b", "aa", "a~"]
    assert [record.partition(" ")[0] for record in in_order(f"{uri} ~" for uri in reversed(uris))] == uris


def test_an_ordinary_number_needs_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    assert len(list(in_order(shuffled(50_000)))) == 50_000


def test_memory_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "CHUNK_BYTES", 200_000)
    records = shuffled(50_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in in_order(records)) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_files_have_no_name_and_go_with_the_listing(
    small_chunks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files()
    ordered = in_order(shuffled(100))
    assert len(list(islice(ordered, 10))) == 10
    assert 1 <= len(open_files() - before) <= 3
    assert list(tmp_path.iterdir()) == []
    ordered.close()  # type: ignore[attr-defined]
    assert open_files() <= before


def test_files_go_when_the_records_break_off(small_chunks: None) -> None:
    def breaking() -> Iterator[str]:
        yield from shuffled(100)
        raise SourceError("the network is down")

    before = open_files()
    with pytest.raises(SourceError, match="the network is down"):
        next(in_order(breaking()))
    assert open_files() <= before


def test_a_folder_that_cannot_be_written_to_is_told(
    small_chunks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SourceError, match=r"gone'.*TMPDIR"):
        list(in_order(shuffled(100)))
