"""What this machine has to offer."""

from pathlib import Path

import pytest

from fashion_clip.errors import UsageError
from fashion_clip.machine import local_path


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/x") == local_path(Path("~/x")) == tmp_path / "x"
    assert [local_path(text) for text in ("x/~", "./~", "/x")] == [Path("x/~"), Path("./~"), Path("/x")]


def test_the_home_of_nobody_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="'~nobody-of-that-name/x' begins with ~"):
        local_path("~nobody-of-that-name/x")
