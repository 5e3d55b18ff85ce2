"""`fashion-clip db`: the catalogue's schema."""

import typer

app = typer.Typer(no_args_is_help=True, help="The catalogue's database.")


@app.callback()
def _group() -> None:
    """Keeps `upgrade` a command of its own although the group has no other."""


@app.command()
def upgrade() -> None:
    """Create the catalogue's tables and views, or bring them to this program's revision."""
    from tasks.catalog import engine, schema
    from tasks.settings import settings

    catalogue = engine.connect(settings().database_url.get_secret_value())
    before, after = schema.upgrade(catalogue)
    where = engine.shown(catalogue)
    if before == after:
        print(f"{where}: at revision {after} already")
    else:
        print(f"{where}: from revision {before or 'none'} to {after}")
