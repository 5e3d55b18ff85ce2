"""Steps of a night by themselves, without Prefect."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from fashion_clip.errors import SourceError
from tasks import nightly
from tasks.catalog.commit import commit_shard
from tasks.catalog.engine import writing
from tasks.catalog.tables import runs
from tests.catalogue_fixtures import new_run, rows
from tests.tasks.catalog.made_results import begun, claim_of, end_leases, result, shows


def scan(engine: Engine, folder: Path, accept_vanished: bool) -> int:
    return nightly.scan_source.fn(new_run(engine), str(folder), accept_vanished, lambda listed: None)


def test_a_share_that_is_not_mounted_costs_no_work_that_was_left_over(
    tmp_path: Path, catalogue: Engine
) -> None:
    """Nor is it forgotten which photo a worker died over."""
    share = tmp_path / "photos"
    known, poison = (f"{share.as_uri()}/{name}.jpg" for name in ("known", "poison"))
    earlier = new_run(catalogue, share.as_uri() + "/")
    claim = claim_of(catalogue, earlier, [known])
    commit_shard(catalogue, earlier, claim, begun(catalogue), result([shows(known, "shoe")], ["shoe"]))
    end_leases(catalogue, claim_of(catalogue, earlier, [poison]))
    with writing(catalogue) as connection:
        connection.execute(update(runs).values(status="interrupted"))
    share.mkdir()
    with pytest.raises(SourceError, match="--accept-vanished"):
        scan(catalogue, share, accept_vanished=False)
    assert rows(catalogue, "SELECT uri, claims FROM work") == [(poison, 1)]
    scan(catalogue, share, accept_vanished=True)
    assert rows(catalogue, "SELECT uri FROM work") == []
