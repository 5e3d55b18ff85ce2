"""`fashion-clip demo`: three nights, and a fourth that finds nothing."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Finished
from tests.gates.label_digest import label_digest

pytestmark = pytest.mark.usefixtures("clean_environment", "prefect_api")


def test_the_demo_shows_three_nights_and_changes_nothing_when_run_again(
    tmp_path: Path, run: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, prefect_api: str
) -> None:
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", "set here so that it is put back after the test")
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    folder = tmp_path / "the demo"
    first = run("demo", "--folder", folder)
    assert first.code == 0
    for night in (1, 2, 3):
        assert f"night {night}: 100 new photos\n" in first.out
    told = re.findall(r"(\d+) listed = (\d+) known \+ (\d+) tagged", first.out)
    assert told == [("100", "0", "100"), ("200", "100", "100"), ("300", "200", "100")]
    accuracies = re.findall(r"(category|articleType) +300 +([\d.]+)%", first.out)
    assert {name for name, _ in accuracies} == {"category", "articleType"}
    assert all(50 < float(share) <= 100 for _, share in accuracies)
    assert str(folder / "demo.db") in first.out

    before = label_digest(folder / "demo.db")
    second = run("demo", "--folder", folder)
    assert second.code == 0
    assert "another night: no new photos\n" in second.out
    assert "300 listed = 300 known + 0 tagged + 0 quarantined + 0 remaining; 0 embedded" in second.out
    assert label_digest(folder / "demo.db") == before

    (folder / "photos" / "fmnist-00066.png").unlink()
    third = run("demo", "--folder", folder)  # a night whose photos are not all there is done again
    assert "night 3: 100 new photos" in third.out
    assert "300 listed = 300 known + 0 tagged" in third.out
    assert label_digest(folder / "demo.db") != before  # other times of change
