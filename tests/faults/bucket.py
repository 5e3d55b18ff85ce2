"""A bucket behind a network that fails, and a bucket that changes while it is read."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from tasks.catalog.engine import connect, reading
from tests.faults import audit
from tests.faults.audit import Expected
from tests.faults.commits import break_each
from tests.faults.forks import ended, ended_within, fork
from tests.faults.photos import changed
from tests.faults.worker import run_once
from tests.servers.proxy import FaultProxy, fault_proxy
from tests.servers.s3 import S3Server

BUCKET = "shop"
SHARD = 32
MOST_RUNS = 4  # that it may take until all is tagged

# N bytes are well within a photo's answer, and past its headers. One strike each, on photos in the order in
# which they are read: a photo that is struck at every try is not read at all, which is another matter.
STRIKES = {
    "cut": "cut:850:1 on {request}",
    "reset": "rst:850:1 on {request}",
    "flipped bit": "corrupt:850:1 on {request}",
    "503": "busy:{request}:1",
}
# These last, on a few connections or on all: the mode, and how often it must strike.
LASTING = {"hang": ("hang::2", 2), "slow": (f"rate:2000:4 on GET /{BUCKET}/0", 4), "delay": ("delay:0.05", 1)}
AWAY_S = 20.0
# Over listings and photos alike, drawn anew so often: a connection that is spared is used again and again.
STORM, STORM_S, DRAWN_EVERY_S, MANY = f"busy:GET /{BUCKET}@0.4", 60.0, 0.2, 50
# That it may take, for a start and a photo; undisturbed a photo takes 0.02 s.
MOST_S, MOST_S_A_PHOTO = 90.0, 0.15


@dataclass(frozen=True)
class Outcome:
    """Faults that struck, runs that it took, seconds, problems."""

    struck: int
    runs: int
    seconds: float
    problems: list[str]


def upload(server: S3Server, folder: Path, bucket: str = BUCKET) -> None:
    """Puts the folder's files into a bucket, made if there is none."""
    client = server.client()
    client.create_bucket(Bucket=bucket)
    for file in sorted(folder.iterdir()):
        client.put_object(Bucket=bucket, Key=file.name, Body=file.read_bytes())


def strike(server: S3Server, url: str, expected: Expected, mode: str, times: int) -> Outcome:
    """Runs over the bucket while the network fails over `times` photos."""
    names = sorted(file.name for file in expected.folder.iterdir())
    step = len(names) // times
    requests = [f"GET /{BUCKET}/{name}" for name in names[step // 2 :: step][:times]]
    modes = [mode.format(request=request) for request in requests]
    return _disturbed(
        server, url, expected, lambda proxy, over: break_each(proxy, modes, times, over, lambda: True), times
    )


def last(server: S3Server, url: str, expected: Expected, mode: str, least: int) -> Outcome:
    """Runs over the bucket on a network that is bad throughout."""
    return _disturbed(server, url, expected, lambda proxy, over: setattr(proxy, "mode", mode), least)


def storm(server: S3Server, url: str, expected: Expected) -> Outcome:
    """Runs over the bucket while two of five requests are answered 503, for the first STORM_S."""

    def rage(proxy: FaultProxy, over: threading.Event) -> None:
        end = time.monotonic() + STORM_S
        while time.monotonic() < end and not over.wait(DRAWN_EVERY_S):
            proxy.mode = STORM
        proxy.mode = "ok"

    return _disturbed(server, url, expected, rage, least=MANY)


def away(server: S3Server, url: str, expected: Expected) -> Outcome:
    """Runs over the bucket while it cannot be reached for AWAY_S, from the first shard on."""

    def leave(proxy: FaultProxy, over: threading.Event) -> None:
        _wait_for_a_shard(url)
        proxy.mode = "refuse"
        over.wait(AWAY_S)
        proxy.mode = "ok"

    return _disturbed(server, url, expected, leave, least=1)


def _disturbed(
    server: S3Server,
    url: str,
    expected: Expected,
    trouble: Callable[[FaultProxy, threading.Event], None],
    least: int,
) -> Outcome:
    """Runs, again until one comes to its end, with the trouble in a thread beside them.

    It must strike `least` times, and all must be done in time.
    """
    began = time.monotonic()
    most_s = MOST_S + MOST_S_A_PHOTO * expected.made.photos
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        over = threading.Event()
        beside = threading.Thread(target=trouble, args=(proxy, over))
        code, runs = 1, 0
        while code and runs < MOST_RUNS and time.monotonic() - began < most_s:
            pid = fork(lambda: run_once(f"s3://{BUCKET}"), _variables(server, url, proxy.port))
            if not runs:
                beside.start()
            code = ended_within(pid, most_s - (time.monotonic() - began))
            runs += 1
        over.set()
        beside.join()
        struck = proxy.struck
    problems = audit.problems(url, expected)
    seconds = time.monotonic() - began
    if code:
        problems.append(f"no run came to its end within {seconds:.0f} s")
    if struck < least:
        problems.append(f"{struck} faults struck, expected {least}")
    return Outcome(struck, runs, seconds, problems)


def _variables(server: S3Server, url: str, port: int) -> Mapping[str, str]:
    return server.behind(port).environment() | {
        "FASHION_CLIP_DATABASE_URL": url,
        "FASHION_CLIP_SHARD_SIZE": str(SHARD),
    }


def change_while_read(server: S3Server, url: str, folder: Path) -> Outcome:
    """Objects are overwritten and deleted during a run: every row is that of some bytes that were there, and
    after the next run that of the bytes that are, for all that are pictures."""
    began = time.monotonic()
    client = server.client()
    names = sorted(file.name for file in folder.iterdir())
    overwritten, deleted = names[::7], names[3::41]
    changed(folder, overwritten, seed=2)
    variables = _variables(server, url, server.port)
    pid = fork(lambda: run_once(f"s3://{BUCKET}"), variables)
    _wait_for_a_shard(url)
    for name in overwritten:
        client.put_object(Bucket=BUCKET, Key=name, Body=(folder / name).read_bytes())
    for name in deleted:
        client.delete_object(Bucket=BUCKET, Key=name)
        (folder / name).unlink()
    codes = [ended(pid), ended(fork(lambda: run_once(f"s3://{BUCKET}"), variables))]
    engine = connect(url)
    with reading(engine) as connection:
        uris = connection.execute(text("SELECT DISTINCT uri FROM catalog_labels")).scalars()
        shown = {uri.rpartition("/")[2] for uri in uris}
    problems = audit.doubled(engine) + audit.runs_that_do_not_add_up(engine)
    problems += (
        audit.other_bytes(engine, folder) if shown.isdisjoint(deleted) else ["a deleted photo is shown"]
    )
    engine.dispose()
    pictures = {file.name for file in folder.iterdir() if file.read_bytes().startswith(b"\x89PNG")}
    if missing := pictures - shown:
        problems.append(f"{len(missing)} of {len(pictures)} photos have no label")
    if any(codes):
        problems.append(f"the runs ended with {codes}")
    return Outcome(len(overwritten) + len(deleted), 2, time.monotonic() - began, problems)


def _wait_for_a_shard(url: str) -> None:
    deadline = time.monotonic() + MOST_S
    while time.monotonic() < deadline:
        engine = connect(url)
        try:
            if audit._number(engine, "SELECT COUNT(*) FROM shards"):
                return
        finally:
            engine.dispose()
        time.sleep(0.05)
    raise TimeoutError(f"no shard was committed within {MOST_S:.0f} s")


def wrong_key(server: S3Server, url: str) -> Outcome:
    """A key that is not known: the run fails at once and leaves no photo behind."""
    began = time.monotonic()
    wrong = server.environment() | {
        "AWS_SECRET_ACCESS_KEY": "no such secret",
        "FASHION_CLIP_DATABASE_URL": url,
    }
    code = ended(fork(lambda: run_once(f"s3://{BUCKET}"), wrong))
    seconds = time.monotonic() - began
    engine = connect(url)
    rows = audit._number(engine, "SELECT COUNT(*) FROM photos") + audit._number(
        engine, "SELECT COUNT(*) FROM work"
    )
    engine.dispose()
    problems = [f"{rows} rows"] if rows else []
    if code == 0:
        problems.append("it did not fail")
    if seconds > 30:
        problems.append(f"it took {seconds:.0f} s to fail")
    return Outcome(0, 1, seconds, problems)
