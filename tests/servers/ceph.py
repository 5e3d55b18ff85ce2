"""A Ceph cluster of one monitor and one object store in memory, on loopback."""

import secrets
import shutil
import struct
import subprocess
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import processes

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
# One of everything, and no waiting for other monitors.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
keyring = {folder}/keyring
mon allow insecure global id reclaim = false
paxos propose interval = 0.05
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
run dir = {folder}
crash dir = {folder}
admin socket =
log file =
log to stderr = true
mon cluster log file = {folder}/cluster.log
"""


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Yields the configuration file of a running cluster. Raises RuntimeError if it does not come up."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        packages = "ceph-mon ceph-osd radosgw ceph-common"
        raise RuntimeError(f"no {', '.join(missing)}: run .ci/install_services (apt-get install {packages})")
    for part in ("mon", "osd", "rgw"):
        (folder / part).mkdir(parents=True)
    configuration, fsid = folder / "ceph.conf", str(uuid.uuid4())
    with processes.reserved_port() as port:
        configuration.write_text(_CONFIGURATION.format(fsid=fsid, port=port, folder=folder))
        _make_keyring(folder / "keyring")
        with _monitor(configuration, fsid, port), _store(configuration, fsid):
            yield configuration


def run(program: str, configuration: Path, *arguments: str) -> str:
    """What a program of Ceph's prints. Raises RuntimeError with its errors if it fails; it has a minute."""
    command = [program, "--conf", str(configuration), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
    return done.stdout


def _make_keyring(file: Path) -> None:
    """One key for all, as ceph-authtool writes it: type 1 (AES), the time in s and ns, and 16 bytes."""
    key = b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()
    caps = "".join(f'    caps {service} = "allow *"\n' for service in ("mon", "osd", "mgr"))
    names = ("mon.", "client.admin", "osd.0", "client.rgw")
    file.write_text("".join(f"[{name}]\n    key = {key}\n{caps}" for name in names))


@contextmanager
def _monitor(configuration: Path, fsid: str, port: int) -> Iterator[None]:
    folder = configuration.parent
    monitors = str(folder / "monmap")
    run(
        "monmaptool",
        configuration,
        "--create",
        "--fsid",
        fsid,
        "--addv",
        "a",
        f"[v2:127.0.0.1:{port}]",
        monitors,
    )
    run(
        "ceph-mon",
        configuration,
        "--mkfs",
        "-i",
        "a",
        "--monmap",
        monitors,
        "--keyring",
        str(folder / "keyring"),
    )
    with daemon("ceph-mon", configuration, "-i", "a") as process:
        processes.wait_until(lambda: processes.answers(port), process, folder / "ceph-mon.log", 20)
        yield


@contextmanager
def _store(configuration: Path, fsid: str) -> Iterator[None]:
    run("ceph", configuration, "osd", "new", fsid)
    run("ceph-osd", configuration, "-i", "0", "--mkfs", "--osd-uuid", fsid)
    run("ceph", configuration, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
    with daemon("ceph-osd", configuration, "-i", "0") as process:
        log = configuration.with_name("ceph-osd.log")
        processes.wait_until(lambda: "1 up" in run("ceph", configuration, "osd", "stat"), process, log, 30)
        yield


@contextmanager
def daemon(program: str, configuration: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs one of Ceph's servers; its log is PROGRAM.log beside the configuration."""
    command = [program, "--conf", str(configuration), "-f", *arguments]
    process = processes.start(command, configuration.with_name(f"{program}.log"))
    try:
        yield process
    finally:
        processes.end(process, seconds=2)
