"""What the processes of `serve` find in their environment: no relative paths, and one server."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from sqlalchemy.engine import make_url

from fashion_clip.machine import local_path
from fashion_clip.taxonomy import shipped_taxonomies
from tasks.deployed import resolved, sqlite_file
from tasks.serving import checkpoint_name
from tasks.settings import ENV_FILE, PREFIX, Settings

HOST = "127.0.0.1"  # a server that answers other machines runs whatever they ask for
HEARTBEAT_S = 30


def of_server(port: int) -> dict[str, str]:
    """For Prefect's server: none of the settings, since it opens neither catalogue nor photos."""
    return _others() | _of_prefect(port)


def of_worker(chosen: Settings, port: int) -> dict[str, str]:
    """For what runs flows: the settings, those in a file .env too, with every path in full.

    A worker runs each flow in a folder of its own, where neither relative paths nor .env lead anywhere.
    """
    own = _own(dotenv_values(ENV_FILE)) | _own(os.environ)
    return _others() | own | _absolute(chosen) | _of_prefect(port)


def api_url(port: int) -> str:
    """The address of the server's API."""
    return f"http://{HOST}:{port}/api"


def _own(variables: Mapping[str, str | None]) -> dict[str, str]:
    """The settings among them, as they are read: in any case, and an empty one is none."""
    return {name.upper(): value for name, value in variables.items() if value and _is_own(name)}


def _others() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _is_own(name)}


def _is_own(name: str) -> bool:
    return name.upper().startswith(PREFIX)


def _of_prefect(port: int) -> dict[str, str]:
    origin = f"http://{HOST}:{port}"
    found = {
        "PREFECT_API_URL": api_url(port),
        "PREFECT_UI_URL": origin,
        "PREFECT_SERVER_UI_API_URL": api_url(port),
        # Else any page that is open in a browser on this machine could start runs.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{origin},http://localhost:{port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_CLI_PROMPT": "false",
    }
    secret = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    return found | ({"PREFECT_API_AUTH_STRING": secret} if secret else {})


def _absolute(chosen: Settings) -> dict[str, str]:
    found = {"DATABASE_URL": database_url(chosen), "MODELS_DIR": _absolute_path(chosen.models_dir)}
    if chosen.source:
        found["SOURCE"] = _absolute_path(chosen.source)
    if chosen.sources:
        found["SOURCES"] = json.dumps([_absolute_path(source) for source in chosen.sources])
    if chosen.model:
        found["MODEL"] = checkpoint_name(chosen.model)
    if chosen.taxonomy and chosen.taxonomy not in shipped_taxonomies():
        found["TAXONOMY"] = _absolute_path(chosen.taxonomy)
    return {PREFIX + name: value for name, value in found.items()}


def _absolute_path(place: str) -> str:
    return place if "://" in place or Path(place).is_absolute() else str(resolved(place))


def database_url(chosen: Settings) -> str:
    """The catalogue's, with the path of a SQLite file in full, and with its password."""
    url = chosen.database_url.get_secret_value()
    file = sqlite_file(chosen)
    if not file:
        return url
    absolute = make_url(url).set(database=str(local_path(file).resolve()))
    return absolute.render_as_string(hide_password=False)
