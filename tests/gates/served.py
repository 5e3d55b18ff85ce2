"""`fashion-clip serve` as a person meets it: started, asked over its API as the UI asks, ended by Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

START_S = 240
RUN_S = 300
BUSY_TRIES = 20
PROGRAM = [sys.executable, "-m", "cli.main"]
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Served:
    """A server with its worker. folder: the working folder, in which its log lies too."""

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What the API answers, from JSON. Raises httpx.HTTPStatusError if it refuses."""
        for _ in range(BUSY_TRIES):
            answer = httpx.request(method, f"http://127.0.0.1:{self.port}/api{path}", json=body, timeout=60)
            if (
                answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
            ):  # its SQLite file is locked for a moment
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, by the name that it has in common with its flow."""
        found: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}/{name}")
        return found

    def begin(self, name: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Starts a run of a deployment as the UI's form does; returns its id."""
        deployment = self.deployment(name)["id"]
        body = {"parameters": dict(parameters or {}), "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"/deployments/{deployment}/create_flow_run", body)["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        """The state of a run: type, name, message."""
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{run_id}")["state"]
        return found

    def wait(self, run_id: str, *names: str, seconds: float = RUN_S) -> str:
        """Until the run is in a state of one of these names; fails if it ends otherwise, or never does."""
        deadline = time.monotonic() + seconds
        while (state := self.state(run_id))["name"] not in names:
            ended = state["type"] in ENDED
            assert not ended, f"{state['name']}: {state['message']}; {self.log_of(run_id)}"
            assert time.monotonic() < deadline, f"it is {state['name']} after {seconds} s; {self.log()}"
            time.sleep(0.5)
        return str(state["name"])

    def run(self, name: str, parameters: Mapping[str, Any] | None = None) -> str:
        """A run of a deployment, completed; returns its id."""
        run_id = self.begin(name, parameters)
        self.wait(run_id, "Completed")
        return run_id

    def runs(self, name: str) -> list[dict[str, Any]]:
        """All runs of a flow that were not only planned by the schedule, oldest first."""
        body = {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
        found = self.ask("POST", "/flow_runs/filter", body)
        return [run for run in found if not run["auto_scheduled"]]

    def emit(self, event: dict[str, Any]) -> None:
        """Sends an event, as a client that repeats itself would."""
        self.ask("POST", "/events", [event])

    def wait_for_events(self, name: str, wanted: int) -> list[dict[str, Any]]:
        """The events of a name, newest first, when so many have been written, which the server does later."""
        body = {"filter": {"event": {"name": [name]}}, "limit": 50}
        deadline = time.monotonic() + 60
        while len(found := self.ask("POST", "/events/filter", body)["events"]) < wanted:
            assert time.monotonic() < deadline, f"{len(found)} events {name}"
            time.sleep(0.5)
        return list(found)

    def artifact(self, key: str) -> str:
        """The text of the newest artifact with a key."""
        return str(self.ask("GET", f"/artifacts/{key}/latest")["data"])

    def log_of(self, run_id: str) -> str:
        """The end of what a run logged."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200, "sort": "TIMESTAMP_DESC"}
        return " | ".join(str(line["message"]) for line in self.ask("POST", "/logs/filter", body)[:15])

    def log(self) -> str:
        """The end of what was printed in the terminal."""
        return (self.folder / "serve.log").read_text(errors="replace")[-3000:]

    def kill(self, *words: str) -> int:
        """Kills, as a machine that goes away, its processes with these words in their command lines."""
        mine = psutil.Process(self.process.pid).children(recursive=True)
        killed = 0
        for child in mine:
            try:
                if all(word in " ".join(child.cmdline()) for word in words):
                    child.kill()
                    killed += 1
            except psutil.NoSuchProcess:
                continue
        return killed


@contextmanager
def served(folder: Path, variables: Mapping[str, str], port: int | None = None) -> Iterator[Served]:
    """Starts it in a folder, with these variables; ends it by Ctrl-C, which must leave nothing running."""
    port = port or free_port()
    root = str(Path(__file__).parents[2])
    own = {"PREFECT_HOME": str(folder / "prefect"), "PYTHONUNBUFFERED": "1", "PYTHONPATH": root}
    environment = {**os.environ, **own, **variables}
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING"):
        environment.pop(name, None)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
    found = Served(process, port, folder)
    try:
        _wait_until_ready(found)
        yield found
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            _, left = psutil.wait_procs(children, timeout=10)
            for child in left:
                child.kill()
    assert not left, f"{len(left)} processes outlived Ctrl-C"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(found: Served) -> None:
    deadline = time.monotonic() + START_S
    while "Ctrl-C ends it" not in found.log():
        assert found.process.poll() is None, found.log()
        assert time.monotonic() < deadline, found.log()
        time.sleep(0.2)
