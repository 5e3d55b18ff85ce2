"""What a worker has started ends with it, in whatever session that runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deployments import serve
from deployments.processes import groups_below

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

# Starts, as Prefect's worker does, a process in a session of its own, which ends only when it is killed.
WORKER = """
import pathlib, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(99)"
run = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
run.stdout.readline()
pathlib.Path("part").write_text(str(run.pid))
pathlib.Path("part").rename("run.pid")
time.sleep(300)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_run_does_not_outlive_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "a_worker.py").write_text(WORKER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # where no server is
    children = serve._Children([signal.SIGINT] * signals)
    children.start("worker", ("a_worker",), {"PYTHONPATH": str(tmp_path)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "run.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run = psutil.Process(int((tmp_path / "run.pid").read_text()))
    children.end(port)
    _, left = psutil.wait_procs([run], timeout=10)
    for process in left:
        process.kill()
    assert not left


def test_its_own_group_is_not_below_a_process() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    try:
        found = groups_below(os.getpid())
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert children[1].pid in found
    assert os.getpgrp() not in found
    assert groups_below(children[0].pid) == set()
