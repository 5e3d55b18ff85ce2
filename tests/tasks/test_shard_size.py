"""Shards grow with the speed of a run, within bounds, unless somebody has chosen their size."""

import pytest

from tasks.shard_size import FEWEST, MOST, SHARD_S, photos_a_shard

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.mark.parametrize(
    ("photos", "seconds", "expected"),
    [
        (0, 0.0, FEWEST),
        (0, 5.0, FEWEST),
        (256, 4.0, FEWEST),
        (10_000, 20.0, int(500 * SHARD_S)),
        (100_000, 20.0, MOST),
    ],
)
def test_a_shard_has_what_is_done_in_two_seconds(photos: int, seconds: float, expected: int) -> None:
    assert photos_a_shard(photos, seconds) == expected


@pytest.mark.parametrize("chosen", [1, 4096])
def test_a_size_that_is_set_stays(chosen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_CLIP_SHARD_SIZE", str(chosen))
    assert photos_a_shard() == photos_a_shard(100_000, 20.0) == chosen
