"""A promotion that truth speaks against is taken back by itself, on a real catalogue; a good one is held."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect import flow
from sqlalchemy import Engine, update

from fashion_clip.close_watch import Compared
from fashion_clip.demo import truth
from fashion_clip.verdict import Verdict
from flows.close_watch import watch_promotion
from flows.nightly_tagging import nightly_tagging
from flows.promotion import promote
from flows.retrain_model import Approval, Rungs, retrain_model
from tasks import close_watch, environment
from tasks.catalog import close_watches, retraining_tables, retrainings, verdicts
from tasks.catalog.close_watch_tables import close_watches as table
from tasks.catalog.close_watches import Watch
from tasks.catalog.engine import connect, writing
from tasks.catalog.retrainings import Asked, Retraining
from tasks.promotion import version_for
from tasks.retraining import Retrained
from tasks.truth import import_truth
from tests.catalogue_fixtures import DEMO_MODEL, DEMO_PHOTOS, Misled, new_run, put_photos, rows

pytestmark = pytest.mark.usefixtures("prefect_api")

KNOWN = truth()
BAGS = [photo for photo in DEMO_PHOTOS if KNOWN[photo.name]["articleType"] == "Bags"]
HISTORY = "SELECT n, losses, gains, outcome FROM close_watch_history"


@flow(name="a-night")
def a_night() -> Watch | None:
    """What a night does at its end."""
    return watch_promotion()


def look() -> Watch:
    found = a_night()
    assert found is not None
    return found


def retrain() -> Retrained:
    found: Retrained = retrain_model(Rungs.HEAD, "a test", Approval.AUTOMATIC, ignore_cooldown=True)
    return found


@dataclass(frozen=True)
class Promoted:
    """A catalogue whose misleading prompts, `old`, were replaced by a head that was proved, `new`."""

    engine: Engine
    old: str
    new: str


@pytest.fixture(scope="module")
def _promoted_files(
    tmp_path_factory: pytest.TempPathFactory, _misled_files: tuple[Path, Path], prefect_api: str
) -> Path:
    folder = tmp_path_factory.mktemp("promoted")
    file = shutil.copy(_misled_files[0], folder / "catalogue.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASHION_CLIP_DATABASE_URL", f"sqlite:///{file}")
        patch.setenv("FASHION_CLIP_MODELS_DIR", str(folder / "models"))
        assert retrain().outcome == "promoted"
        assert look().outcome == "watching"
        environment.catalogue().dispose()
    return folder


@pytest.fixture
def promoted(
    _promoted_files: Path, tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Promoted]:
    """See `Promoted`. The test's own copies, which the environment names."""
    folder = shutil.copytree(_promoted_files, tmp_path / "promoted")
    url = f"sqlite:///{folder / 'catalogue.db'}"
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", url)
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", str(folder / "models"))
    engine = connect(url)
    [(old, new)] = rows(engine, "SELECT replaced, champion FROM close_watch_history")
    yield Promoted(engine, old, new)
    engine.dispose()


def arrive(folder: Path, count: int) -> Path:
    """Tags new pictures of bags, in other bytes than the catalogue has."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"new-{number}.png").write_bytes(BAGS[number % len(BAGS)].read_bytes() + bytes([number]))
    nightly_tagging(str(folder), DEMO_MODEL)
    return folder


def tell(engine: Engine, file: Path, names: Sequence[str], label: str) -> None:
    lines = [f"{name},{label},random,0.5\n" for name in names]
    file.write_text("file,articleType,chosen,inclusion_probability\n" + "".join(lines))
    found = import_truth(engine, file, "ann", new_labels=False, dry_run=False)
    assert found.imported == len(names)


def served(engine: Engine) -> str:
    [(version,)] = rows(engine, "SELECT version FROM model_history WHERE role = 'champion'")
    return str(version)


def show_worse(promoted: Promoted) -> None:
    """As if enough truth had come and spoken against the new model."""
    watch = close_watches.current(promoted.engine)
    assert watch is not None
    close_watches.count(promoted.engine, watch, watch.truth_id, Compared(20, 12, 0))


def test_what_is_worse_is_taken_back_by_itself(promoted: Promoted, tmp_path: Path) -> None:
    """What is sold as bags turns out to be called shirts, as the prompts that were replaced say."""
    engine = promoted.engine
    labels = "SELECT uri, label FROM catalog_labels WHERE label IN ('Bags', 'Shirts') ORDER BY uri"
    arrive(tmp_path / "more", 14)
    with_new = rows(engine, labels)
    names = [f"new-{number}.png" for number in range(14)]
    tell(engine, tmp_path / "some.csv", names[:4], "Shirts")
    watch = look()
    assert (watch.outcome, watch.compared) == ("watching", Compared(4, 4, 0))
    assert served(engine) == promoted.new
    tell(engine, tmp_path / "rest.csv", names[4:], "Shirts")
    watch = look()
    assert (watch.outcome, watch.compared) == ("rolled_back", Compared(14, 14, 0))
    assert served(engine) == promoted.old
    assert rows(engine, HISTORY) == [(14, 14, 0, "rolled_back")]
    [(reason,)] = rows(engine, "SELECT reason FROM served_log WHERE served_to IS NULL")
    assert reason == f"taken back: {watch.told}"
    assert f"{promoted.old} alone was right of 14 in articleType and {promoted.new} alone of 0" in reason
    assert rows(engine, labels) != with_new
    assert a_night() is None  # there is nothing more to watch, or to take back
    assert served(engine) == promoted.old


def test_what_was_taken_back_is_not_promoted_again_by_itself(promoted: Promoted) -> None:
    """Neither by the retraining that promoted it and died before it said so, nor by the next one.

    The same truth makes the same head, which passes the same gate: only its name is known.
    """
    engine = promoted.engine
    with writing(engine) as connection:
        died = {"is_open": 1, "outcome": "running", "finished_at": None}
        connection.execute(update(retraining_tables.retrainings).values(died))
    show_worse(promoted)
    assert look().outcome == "rolled_back"
    assert served(engine) == promoted.old
    assert rows(engine, "SELECT outcome, is_open FROM retrainings") == [("promoted", None)]
    again = retrain()
    assert (again.outcome, again.challenger) == ("rejected", promoted.new)
    assert again.told.startswith("rejected, because the close watch rejected this very model")
    assert served(engine) == promoted.old
    promote(promoted.new)  # a person may
    assert a_night() is None
    assert served(engine) == promoted.new


def test_a_way_back_that_died_is_gone_on_with(promoted: Promoted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the former model is served, and after that."""
    import flows.close_watch as module

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    engine = promoted.engine
    show_worse(promoted)
    for where, name, still in (
        (module, "promote_and_tell", promoted.new),
        (close_watches, "close", promoted.old),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, dies)
            with pytest.raises(BaseException):  # noqa: B017 - Prefect turns it into one of its own
                a_night()
        assert served(engine) == still
        assert rows(engine, "SELECT outcome FROM close_watches") == [("watching",)]
    assert look().outcome == "rolled_back"
    assert served(engine) == promoted.old


def test_a_good_one_is_held(promoted: Promoted, tmp_path: Path) -> None:
    """Truth of products that had some before the promotion does not count, also if it says otherwise."""
    engine = promoted.engine
    tell(engine, tmp_path / "before.csv", [photo.name for photo in BAGS[:9]], "Shirts")
    assert look().compared == Compared()
    arrive(tmp_path / "more", 8)
    tell(engine, tmp_path / "told.csv", [f"new-{number}.png" for number in range(8)], "Bags")
    watch = look()
    assert watch.outcome == "watching"
    assert watch.compared.gains > watch.compared.losses
    with writing(engine) as connection:
        connection.execute(update(table).values(ends_at=datetime.now(UTC)))
    assert look().outcome == "held"
    assert served(engine) == promoted.new
    assert a_night() is None


def test_two_looks_at_once_count_truth_once(
    promoted: Promoted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first one compares, and has more truth to look at."""
    arrive(tmp_path / "more", 7)
    names = [f"new-{number}.png" for number in range(7)]
    tell(promoted.engine, tmp_path / "some.csv", names[:5], "Bags")
    compared = close_watch._compared

    def meanwhile(*told: object) -> Compared:
        monkeypatch.setattr(close_watch, "_compared", compared)
        tell(promoted.engine, tmp_path / "rest.csv", names[5:], "Bags")
        second = close_watch.look(promoted.engine)
        assert second is not None
        assert second.compared.n == 7
        return compared(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(close_watch, "_compared", meanwhile)
    first = close_watch.look(promoted.engine)
    assert first is not None
    assert first.compared.n == 7


def test_without_a_promotion_there_is_nothing_to_watch(misled: Misled) -> None:
    assert a_night() is None


def test_photos_are_read_where_towers_changed(
    catalogue: Engine, tmp_path: Path, other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few a look; one that shows something else by now and one that is gone are left out."""
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(close_watch, "MOST_READ", 5)
    put_photos(tmp_path / "photos", 0, 4)
    nightly_tagging(str(tmp_path / "photos"), DEMO_MODEL, "demo")
    promote_towers(catalogue, other_model)
    assert look().outcome == "watching"
    folder = arrive(tmp_path / "more", 8)
    tell(catalogue, tmp_path / "told.csv", [f"new-{number}.png" for number in range(8)], "Bags")
    said = (
        "SELECT COUNT(*) FROM catalog_labels WHERE attribute = 'articleType' AND label = 'Bags' AND uri LIKE"
    )
    [(right,)] = rows(catalogue, f"{said} '%/new-%' AND uri NOT LIKE '%/new-0%' AND uri NOT LIKE '%/new-1%'")
    (folder / "new-0.png").write_bytes(BAGS[0].read_bytes() + b"other bytes")
    (folder / "new-1.png").unlink()
    looks = [look().compared for _ in range(3)]
    assert [compared.n for compared in looks] == [3, 6, 6]
    assert looks[-1].losses - looks[-1].gains == 6 - right  # the demo model knows bags
    assert looks[-1].losses > 2
    assert rows(catalogue, "SELECT COUNT(DISTINCT encoder_id) FROM embeddings") == [(2,)]


def promote_towers(engine: Engine, model: Path) -> None:
    """As a retraining would that tuned the towers and was right to."""
    old, new = served(engine), version_for(engine, str(model))
    asked = Asked("full", "articleType", 0.0, "a test")
    attempt = retrainings.begin(engine, new_run(engine), old, asked, None, None)
    assert isinstance(attempt, Retraining)
    verdicts.record_gate(engine, attempt.retraining_id, "full", new, Verdict(True, "better", 0.01, ()))
    promote(new)
    retrainings.close(engine, attempt.retraining_id, "promoted", "better")
