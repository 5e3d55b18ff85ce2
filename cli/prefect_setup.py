"""Settings for flows that are run from a terminal. To be called before anything imports Prefect."""

import os
import sys


def prepare_prefect(debug: bool) -> None:
    """Keeps Prefect's log off the terminal, where the command speaks; the run's log in the UI stays whole.

    Without PREFECT_API_URL Prefect starts a temporary server, which takes longer than it waits by default
    on a busy machine; whoever looks on is told.
    """
    if "prefect" not in sys.modules and "PREFECT_API_URL" not in os.environ and sys.stderr.isatty():
        print("starting a temporary Prefect server; this takes some 15 s", file=sys.stderr)
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    if not debug:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
