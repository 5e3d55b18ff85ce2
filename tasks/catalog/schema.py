"""Creates and upgrades the catalogue: tables by Alembic migrations, views anew each time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from fashion_clip.errors import CatalogError
from tasks.catalog.engine import one_at_a_time, reading, shown, writing
from tasks.catalog.views import VIEWS

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Brings the schema to the newest revision; returns the revision before and after.

    The views hold no data: they are dropped before and created after, so that their text stands in one place.

    Raises:
        CatalogError: the database holds something else, or a revision that this code does not know.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with writing(engine) as connection:
        one_at_a_time(connection)
        before = _revision(connection)
        _refuse_what_is_not_ours(connection, before)
        for name in reversed(VIEWS):
            connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for name, select in VIEWS.items():
            connection.execute(text(f"CREATE VIEW {name} AS {select}"))
    engine.dispose()  # see require_current
    return before, head()


def head() -> str:
    """The newest revision that this code knows."""
    revision = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert revision is not None
    return revision


def require_current(engine: Engine) -> None:
    """Creates the schema in an empty database; otherwise it must be at the newest revision.

    Raises:
        CatalogError: older or newer than this code, or a database that holds something else.
    """
    with reading(engine) as connection:
        revision = _revision(connection)
        _refuse_what_is_not_ours(connection, revision)
    # Connections made before there were tables do not know how this database holds vectors; another program
    # may have made them since.
    engine.dispose()
    if revision is None:
        upgrade(engine)
    elif revision != head():
        raise CatalogError(
            f"database {shown(engine)} is at revision {revision}, this program needs {head()}; "
            "run: fashion-clip db upgrade"
        )


def _refuse_what_is_not_ours(connection: Connection, revision: str | None) -> None:
    where = shown(connection.engine)
    if revision is None and inspect(connection).get_table_names():
        raise CatalogError(f"database {where} holds tables of something else; give another database")
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise CatalogError(
            f"database {where} is at revision {revision}, which this program does not know; "
            "it was made by a newer one: install that"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
