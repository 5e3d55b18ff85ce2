"""`fashion-clip serve`: Prefect's server, a worker and the deployments, on this machine."""

from typing import Annotated

import typer


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of 127.0.0.1, for Prefect's UI.")] = 4200,
) -> None:
    """Run Prefect with its UI and a worker in this terminal, and tag FASHION_CLIP_SOURCE every night.

    Only this machine can reach it. Ctrl-C ends everything; the next start
    goes on with the schedules as they were changed in the UI.
    """
    from deployments.serve import serve as run_all

    raise SystemExit(run_all(port, lambda line: print(line, flush=True)))
