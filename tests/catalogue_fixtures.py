"""Catalogues, photos and the one Prefect server that the tests of tasks, flows and cli share.

Fixtures defined here are imported by the conftest.py of each folder that uses them.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, insert, make_url, text

from fashion_clip.demo import MODEL_DIR, PHOTOS_DIR, truth
from tasks.catalog import accuracy_tables, close_watch_tables, plan, retraining_tables, schema, tables
from tasks.catalog.engine import connect, reading, writing
from tasks.catalog.models import LabelSet
from tasks.catalog.runs import record_listing, recorded
from tasks.settings import settings
from tasks.sources import open_source
from tests.servers.postgres import PostgresServer, postgres

DEMO_MODEL = str(MODEL_DIR)
_METADATA = tables.metadata
assert {
    accuracy_tables,
    close_watch_tables,
    retraining_tables,
}  # importing them is what tells the metadata of their tables
DEMO_PHOTOS = sorted(PHOTOS_DIR.glob("*.png"))


def rows(engine: Engine, query: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows that a query gives, as plain tuples."""
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(text(query), values)]


def contents_of(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, to compare a catalogue with what it was."""
    return {name: sorted(rows(engine, f"SELECT * FROM {name}"), key=repr) for name in _METADATA.tables}


def new_run(engine: Engine, source: str = "file:///photos/") -> int:
    """A run that is under way."""
    now = datetime.now(UTC)
    row = {
        "flow": "nightly-tagging",
        "source": source,
        "started_at": now,
        "status": "running",
        "alive_until": now + timedelta(minutes=1),
    }
    with writing(engine) as connection:
        return int(connection.execute(insert(tables.runs).returning(tables.runs.c.run_id), row).scalar_one())


def put_photos(folder: Path, first: int, last: int) -> list[Path]:
    """Copies the demo photos first..last-1 into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(file, folder / file.name)) for file in DEMO_PHOTOS[first:last]]


def put_classes(folder: Path, photos: list[Path]) -> Path:
    """Class folders of the article types of demo photos, with a file among them that is no picture."""
    known = truth()
    for photo in photos:
        of_class = folder / known[photo.name]["articleType"]
        of_class.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, of_class)
    (folder / "Bags" / "broken.png").write_text("no picture")
    return folder


def change_weights(model: Path) -> None:
    """Makes another model of a copy of the demo's."""
    from safetensors.numpy import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["visual_projection.weight"] = np.roll(weights["visual_projection.weight"], 1, axis=0)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def misleading_taxonomy(folder: Path) -> str:
    """A taxonomy of article types whose prompts take bags for shirts and the other way round."""
    names = {label["articleType"] for label in truth().values()}
    texts = {name: name for name in sorted(names)} | {"Bags": "Shirts", "Shirts": "Bags"}
    labels = ", ".join(f'{{name = "{name}", text = "{text}"}}' for name, text in texts.items())
    file = folder / "misleading.toml"
    file.write_text(
        'name = "misleading"\n[attributes.articleType]\ntemplates = ["a photo of {text}"]\n'
        f"labels = [{labels}]\n"
    )
    return str(file)


def write_truth(file: Path, photos: list[Path]) -> Path:
    """The article types of demo photos, as of a random sample of which every photo is."""
    known = truth()
    lines = [f'{photo.name},"{known[photo.name]["articleType"]}",random,1\n' for photo in photos]
    file.write_text("file,articleType,chosen,inclusion_probability\n" + "".join(lines))
    return file


@contextmanager
def without_root() -> Iterator[None]:
    """Runs a block as a user for whom file permissions count."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="session")
def empty_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest revision, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "catalogue.db"
    engine = connect(f"sqlite:///{file}")
    schema.upgrade(engine)
    engine.dispose()
    return file


EMPTY_DATABASE = "empty_catalogue"  # on the PostgreSQL server: at the newest revision, to be copied

_ROOM = 2**30  # bytes; a server with the databases of a moment takes some 200 MB

_postgres: list[PostgresServer] = []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with EMPTY_DATABASE, one in a session however many folders import this."""
    with ExitStack() as stack:
        if not _postgres:
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="fashion-clip-postgres-", dir=_memory())
                )
            )
            server = stack.enter_context(postgres(folder, fsync=False))
            engine = connect(server.create_database(EMPTY_DATABASE))
            schema.upgrade(engine)
            engine.dispose()  # nobody may be connected to what is copied
            _postgres.append(server)
            stack.callback(_postgres.clear)
        yield _postgres[0]


def _memory() -> Path | None:
    """The system's folder in memory, if it has room: a database is made there in 0.02 s, on a disk in 0.1."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > _ROOM else None


def new_database(server: PostgresServer, template: str = "template1") -> str:
    """The URL of a database of a test's own, a copy of the template. It goes with the server."""
    return server.create_database(f"test_{secrets.token_hex(8)}", template)


@contextmanager
def postgres_catalogue(server: PostgresServer) -> Iterator[Engine]:
    """An empty catalogue in a database of a test's own, which goes at the end."""
    url = new_database(server, EMPTY_DATABASE)
    try:
        with connected(url) as engine:
            yield engine
    finally:
        server.drop_database(str(make_url(url).database))


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    """An engine whose connections are closed at the end."""
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()


def unsynced(engine: Engine) -> Engine:
    """Lets SQLite leave the writing to the system: for what need not outlive the machine."""
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    return engine


def _emptying() -> Iterator[str]:
    """Statements that empty a PostgreSQL catalogue: in 1 ms, where TRUNCATE takes 15."""
    for table in reversed(_METADATA.sorted_tables):
        key = next(iter(table.primary_key.columns)).name
        yield f"DELETE FROM {table.name}"
        yield f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key}'), 1, false)"


@contextmanager
def passing_catalogue(empty: Path | Engine) -> Iterator[Engine]:
    """An empty catalogue for one of many examples. It need not outlive the machine: nothing is synced.

    empty: the file of an empty SQLite catalogue, which is copied, or a PostgreSQL one, which is emptied.
    """
    if isinstance(empty, Engine):
        with writing(empty) as connection:
            connection.exec_driver_sql("; ".join(_emptying()))
        yield empty
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(f"sqlite:///{shutil.copy(empty, folder)}") as engine,
    ):
        yield unsynced(engine)


@pytest.fixture
def engine(tmp_path: Path, empty_catalogue: Path) -> Iterator[Engine]:
    """An empty catalogue of the test's own."""
    file = shutil.copy(empty_catalogue, tmp_path / "catalogue.db")
    engine = connect(f"sqlite:///{file}")
    yield engine
    engine.dispose()


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No FASHION_CLIP_ variable is set, and no .env lies in the working folder, which is empty."""
    for name in [name for name in os.environ if name.startswith("FASHION_CLIP_")]:
        monkeypatch.delenv(name)
    workplace = tmp_path / "workplace"
    workplace.mkdir()
    monkeypatch.chdir(workplace)


@pytest.fixture
def catalogue(engine: Engine, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty catalogue, which FASHION_CLIP_DATABASE_URL names."""
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", str(engine.url))
    return engine


@dataclass(frozen=True)
class Tagged:
    """A catalogue after one run over demo photos, a copy of one of them, and a text file called .jpg."""

    engine: Engine
    folder: Path
    run_id: int
    label_set: LabelSet


@pytest.fixture(scope="session")
def _tagged_files(
    tmp_path_factory: pytest.TempPathFactory, empty_catalogue: Path
) -> tuple[Path, Path, int, LabelSet]:
    folder = tmp_path_factory.mktemp("tagged")
    photos = put_photos(folder / "photos", 0, 60)
    shutil.copy(photos[0], folder / "photos" / "zz-copy.png")
    (folder / "photos" / "broken.jpg").write_text("no picture")
    file = folder / "catalogue.db"
    engine = connect(f"sqlite:///{shutil.copy(empty_catalogue, file)}")
    run_id, label_set = _tag_without_prefect(engine, folder / "photos", "demo")
    engine.dispose()
    return file, folder / "photos", run_id, label_set


def _tag_without_prefect(engine: Engine, folder: Path, taxonomy: str) -> tuple[int, LabelSet]:
    from fashion_clip.decode import Limits
    from fashion_clip.decoders import Decoders
    from tasks.serving import begin_catalogue, load_model
    from tasks.tagging import Tagger, tag_next

    source = open_source(str(folder), settings().suffixes)
    with recorded(engine, "nightly-tagging", source.uri, None) as run_id:
        found = plan.scan(engine, run_id, source.uri, source.listing(), lambda listed: None)
        record_listing(engine, run_id, source.uri, found.listed, source.ignored)
        model = load_model(begin_catalogue(engine, DEMO_MODEL, taxonomy))
        with Decoders(model.encoder.preprocessing, Limits(), settings().decode_seconds) as decoders:
            tagger = Tagger(engine, source, model, decoders, settings().product_id)
            while tag_next(tagger, run_id, 40):
                pass
    return run_id, model.label_set


@pytest.fixture(scope="session")
def _misled_files(tmp_path_factory: pytest.TempPathFactory, empty_catalogue: Path) -> tuple[Path, Path]:
    from tasks.truth import import_truth

    folder = tmp_path_factory.mktemp("misled")
    put_photos(folder / "photos", 0, len(DEMO_PHOTOS))
    file = folder / "catalogue.db"
    engine = connect(f"sqlite:///{shutil.copy(empty_catalogue, file)}")
    _tag_without_prefect(engine, folder / "photos", misleading_taxonomy(folder))
    told = write_truth(folder / "truth.csv", DEMO_PHOTOS)
    import_truth(engine, told, "ann", new_labels=False, dry_run=False)
    engine.dispose()
    return file, folder / "photos"


@dataclass(frozen=True)
class Misled:
    """All demo photos labelled by misleading prompts, with their truth as of a random sample.

    models: MODELS_DIR, in which there is nothing yet.
    """

    engine: Engine
    folder: Path
    models: Path


@pytest.fixture
def misled(
    tmp_path: Path,
    _misled_files: tuple[Path, Path],
    clean_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Misled]:
    """See `Misled`. The test's own copies of database and photos, which the environment names."""
    file, folder = _misled_files
    url = f"sqlite:///{shutil.copy(file, tmp_path / 'misled.db')}"
    monkeypatch.setenv("FASHION_CLIP_DATABASE_URL", url)
    monkeypatch.setenv("FASHION_CLIP_MODELS_DIR", str(tmp_path / "models"))
    engine = connect(url)
    yield Misled(engine, folder, tmp_path / "models")
    engine.dispose()


@pytest.fixture
def tagged(tmp_path: Path, _tagged_files: tuple[Path, Path, int, LabelSet]) -> Iterator[Tagged]:
    """See `Tagged`. The database is the test's own copy; the photos are shared: leave them as they are."""
    file, folder, run_id, label_set = _tagged_files
    engine = connect(f"sqlite:///{shutil.copy(file, tmp_path / 'tagged.db')}")
    yield Tagged(engine, folder, run_id, label_set)
    engine.dispose()


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """The demo model under another path."""
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "moved"))


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    """A model whose answers are other than the demo model's."""
    model = Path(shutil.copytree(DEMO_MODEL, tmp_path / "other"))
    change_weights(model)
    return model


_harness: list[str] = []


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The address of a temporary Prefect server, one in a session however many folders import this."""
    with ExitStack() as stack:
        if not _harness:
            from prefect.settings import (
                PREFECT_API_URL,
                PREFECT_CLIENT_MAX_RETRIES,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
                PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED,
                temporary_settings,
            )
            from prefect.testing.utilities import prefect_test_harness

            quick = {
                # At its end every run waits for the thread of its heart, which sleeps for a second.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
                # It writes while the next run begins, which then finds SQLite busy and waits for two.
                PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED: False,
                PREFECT_CLIENT_MAX_RETRIES: 8,
            }
            stack.enter_context(temporary_settings(quick))
            # Events are written all the same: it is busy at times, but not for two seconds. 51 s in all.
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("prefect.client.base.clamped_poisson_interval", lambda average, _: average / 10)
            stack.enter_context(prefect_test_harness(server_startup_timeout=120))
            _harness.append(PREFECT_API_URL.value())
            stack.callback(_harness.clear)
        yield _harness[0]
