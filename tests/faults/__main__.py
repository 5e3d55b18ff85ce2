"""What faults do to a catalogue: python -m tests.faults [--tenth] [--only|--without NAME ..] [--shared DIR]

Each scenario prints what it did and what is wrong after it; the exit code is 1 if anything is. The negative
controls take a safeguard out and must find something wrong.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.catalog import schema
from tasks.catalog.engine import connect
from tests.faults import (
    audit,
    bad_images,
    bucket,
    commits,
    disks,
    kills,
    million,
    names,
    poison,
    promotions,
    sharing,
    zombies,
)
from tests.faults.audit import Expected
from tests.faults.databases import Databases, databases
from tests.faults.forks import ended, fork, load_once
from tests.faults.photos import make_photos
from tests.faults.worker import run_once
from tests.servers.s3 import S3Server, rados_gateway

KINDS = ("sqlite", "postgresql")


@dataclass
class Harness:
    """Where the scenarios work, how much they do, and what they found."""

    work: Path
    shared: Path
    tenth: bool
    failures: list[str] = field(default_factory=list)

    def much(self, whole: int, tenth: int) -> int:
        """How many of something."""
        return tenth if self.tenth else whole

    def told(self, name: str, text: str, problems: list[str]) -> None:
        """Prints a line for what was done, and one for each problem."""
        print(f"{'wrong' if problems else 'ok':6}{name:36}{text}", flush=True)
        for problem in problems:
            print(f"      ! {problem}", flush=True)
            self.failures.append(f"{name}: {problem}")

    def photos(self, name: str, count: int) -> Expected:
        """A folder of new photos, with the labels of an undisturbed run over it."""
        folder = self.work / name
        made = make_photos(folder / "photos", count, seed=len(name) + count)
        url = f"sqlite:///{folder}/undisturbed.db"
        _prepare(url)
        assert ended(fork(lambda: run_once(str(folder / "photos")), {"FASHION_CLIP_DATABASE_URL": url})) == 0
        engine = connect(url)
        expected = Expected(folder / "photos", made, audit.labels_of(engine))
        engine.dispose()
        problems = audit.problems(url, expected)
        assert not problems, problems
        return expected


def _prepare(url: str) -> str:
    engine = connect(url)
    schema.upgrade(engine)
    engine.dispose()
    return url


@contextmanager
def _each_database(harness: Harness, name: str) -> Iterator[list[Databases]]:
    with ExitStack() as stack:
        yield [stack.enter_context(databases(kind, harness.work / f"{name}-{kind}")) for kind in KINDS]


def killed(harness: Harness) -> None:
    """Workers killed with -9."""
    number = harness.much(200, 20)
    expected = harness.photos("killed", 25 * number)
    with _each_database(harness, "killed") as each:
        for made in each:
            found = kills.kill_workers(_prepare(made.new("killed")), expected, number)
            points = ", ".join(f"{count} {point}" for point, count in sorted(found.kills.items()))
            problems = found.problems
            if (total := sum(found.kills.values())) < number:
                problems.append(f"only {total} kills: the photos were done before")
            text = f"{total} kills ({points}); {expected.made.photos} photos, {found.given_up} given up and "
            harness.told(f"kills, {made.kind}", f"{text}cured; {found.seconds:.0f} s", problems)


def shared_work(harness: Harness) -> None:
    """Three runs at once over one source."""
    expected = harness.photos("shared", harness.much(5_000, 500))
    with _each_database(harness, "shared") as each:
        for made in each:
            claims = harness.work / f"claims-{made.kind}"
            found = sharing.share(_prepare(made.new("shared")), expected, 3, harness.much(64, 16), claims)
            problems = found.problems
            if found.claimed_twice:
                problems.append(f"{found.claimed_twice} photos were claimed twice")
            if found.deadlocks:
                problems.append(f"{found.deadlocks} deadlocks")
            if min(found.tagged) == 0:
                problems.append("a run had nothing to do")
            tagged = " + ".join(map(str, found.tagged))
            text = f"{expected.made.photos} photos: {tagged} tagged, {found.claimed_twice} claimed twice, "
            text += f"{found.deadlocks} deadlocks"
            harness.told(f"three runs, {made.kind}", f"{text}; {found.seconds:.0f} s", problems)


def sleepers(harness: Harness) -> None:
    """Workers that sleep past their lease; then the same without the fence, which must be seen."""
    number = harness.much(20, 4)
    with _each_database(harness, "zombies") as each:
        for made in each:
            for fenced in (True, False):
                expected = harness.photos(f"zombies-{made.kind}-{fenced}", 20 * number)
                url = _prepare(made.new("fenced" if fenced else "unfenced"))
                found = zombies.wake_the_dead(url, expected, number, fenced)
                text = f"{found.slept} asleep over {found.in_hand} photos, {found.written} written late"
                if fenced:
                    problems = found.problems + (["a late write came through"] if found.written else [])
                    harness.told(f"zombies, {made.kind}", text, problems)
                else:
                    seen = found.written > 0 and bool(found.problems)
                    missed = [] if seen else ["the missing fence was not noticed"]
                    harness.told(f"  without fence, {made.kind}", f"{text}; {found.problems}", missed)


def poisoned(harness: Harness) -> None:
    """A photo that kills its worker."""
    expected = harness.photos("poison", harness.much(1_000, 200))
    with _each_database(harness, "poison") as each:
        for made in each:
            found = poison.swallow(_prepare(made.new("poison")), expected, harness.much(256, 64))
            text = f"{found.died} runs died, {found.tagged} others tagged, then {found.reason!r}"
            harness.told(f"poison, {made.kind}", text, found.problems)


def broken_commits(harness: Harness) -> None:
    """Connections reset at COMMIT; then the same without the key by which a commit finds itself done."""
    number = harness.much(100, 20)
    expected = harness.photos("commits", 16 * number)
    with databases("postgresql", harness.work / "commits-postgresql") as made:
        assert made.server
        for keyed, resets in ((True, number), (False, 20)):
            name = "commits" if keyed else "unkeyed"
            _prepare(made.new(name))
            found = commits.break_commits(made.server, name, expected, resets, harness.work, keyed)
            problems = [f"only {found.struck} resets"] if found.struck < resets else []
            problems += [] if found.found_done else ["no shard's commit was done and asked for again"]
            text = f"{found.struck} resets, {found.found_done} shards found done, {found.runs} runs, "
            text += f"{expected.made.photos} photos; {found.seconds:.0f} s"
            if keyed:
                harness.told("reset at COMMIT", text, problems + found.problems)
            else:
                seen = any("photos committed" in problem for problem in found.problems)
                problems += [] if seen else ["the missing key was not noticed"]
                harness.told("  without key", f"{text}; {found.problems}", problems)


def bad_disks(harness: Harness) -> None:
    """Disks that are full, and disks whose writes fail."""
    expected = harness.photos("disks", harness.much(1_000, 300))
    for kind in KINDS:
        notes = harness.work / f"full-{kind}-acknowledged"
        found = disks.fill_the_disk(kind, harness.work / f"full-{kind}", expected, notes)
        text = f"failed with {found.acknowledged} photos acknowledged, then completed"
        harness.told(f"disk full, {kind}", text, found.problems)
    with databases("sqlite", harness.work / "eio") as made:
        trials = harness.much(5, 2)
        url = _prepare(made.new("eio"))
        found = disks.fail_writes(url, expected, trials, 500, harness.work / "eio")
        text = f"{found.failures} of {trials} runs failed, {found.acknowledged} photos acknowledged, "
        text += "then completed"
        harness.told("EIO, sqlite", text, found.problems)

    with databases("postgresql", harness.work / "eio-postgresql") as made:
        assert made.server
        _prepare(made.new("eio"))
        notes = harness.work / "eio-postgresql-acknowledged"
        trials, one_in = 4, harness.much(300, 100)
        found = disks.fail_server(made.server, "eio", expected, trials, one_in, notes)
        text = f"{found.failures} of {trials} runs failed, {found.acknowledged} photos acknowledged, "
        text += "then completed"
        harness.told("EIO, postgresql", text, found.problems)


def bad_network(harness: Harness) -> None:
    """A bucket behind faults, changing while it is read, and with a wrong key."""
    expected = harness.photos("bucket", harness.much(3_000, 300))
    with rados_gateway(harness.work / "ceph") as server, _each_database(harness, "bucket") as each:
        bucket.upload(server, expected.folder)
        for made in each:
            times = harness.much(100, 10)
            for name, mode in bucket.STRIKES.items():
                url = _prepare(made.new(name.replace(" ", "_")))
                _tell_network(harness, name, made, bucket.strike(server, url, expected, mode, times))
            if made.kind == KINDS[0] or not harness.tenth:  # minutes, most of them spent waiting
                _lasting_trouble(harness, made, server, expected)
            found = bucket.wrong_key(server, _prepare(made.new("wrong_key")))
            harness.told(f"S3 wrong key, {made.kind}", f"failed after {found.seconds:.1f} s", found.problems)
        for made in each:
            bucket.upload(server, expected.folder)  # as it was before the last change
            changing = shutil.copytree(expected.folder, harness.work / f"changing-{made.kind}")
            found = bucket.change_while_read(server, _prepare(made.new("changing")), changing)
            text = f"{found.struck} objects overwritten or deleted under way; {found.seconds:.0f} s"
            harness.told(f"S3 changed under way, {made.kind}", text, found.problems)


def _lasting_trouble(harness: Harness, made: Databases, server: S3Server, expected: Expected) -> None:
    for name, (mode, least) in bucket.LASTING.items():
        url = _prepare(made.new(name))
        _tell_network(harness, name, made, bucket.last(server, url, expected, mode, least))
    url = _prepare(made.new("storm"))
    _tell_network(harness, "storm of 503", made, bucket.storm(server, url, expected))
    url = _prepare(made.new("away"))
    _tell_network(harness, f"away {bucket.AWAY_S:.0f} s", made, bucket.away(server, url, expected))


def _tell_network(harness: Harness, name: str, made: Databases, found: bucket.Outcome) -> None:
    text = f"{found.struck} faults, {found.runs} runs; {found.seconds:.0f} s"
    harness.told(f"S3 {name}, {made.kind}", text, found.problems)


def bad_files(harness: Harness) -> None:
    """Broken and hostile pictures."""
    with _each_database(harness, "files") as each:
        for made in each:
            folder = harness.work / f"bad_images-{made.kind}"
            bad = harness.shared / "data" / "bad_images"
            found = bad_images.tag_bad_images(_prepare(made.new("bad_images")), bad, folder)
            run = found.run
            text = f"{run['listed']} files: {run['tagged']} tagged, {run['quarantined']} quarantined "
            text += "(" + ", ".join(f"{count} {reason}" for reason, count in found.reasons.items()) + ")"
            text += f"; slowest {found.slowest:.1f} s, peak {found.peak_mb:.0f} MB"
            harness.told(f"bad images, {made.kind}", text, found.problems)


def very_many(harness: Harness) -> None:
    """A night with nothing new."""
    count = harness.much(1_000_000, 100_000)
    folder = harness.work / "many-files"
    million.make_many(folder, count)
    with _each_database(harness, "many") as each:
        for made in each:
            url = _prepare(made.new("many"))
            million.know_many(url, folder, count)
            found = million.quiet_night(url, folder, count)
            text = f"{count} known files: {found.seconds:.1f} s, the run {found.run_seconds:.1f} s; "
            text += f"peak {found.peak_mb:.0f} MB; {found.rows_changed} rows written"
            problems = found.problems + (["rows written"] if found.rows_changed else [])
            harness.told(f"nothing new, {made.kind}", text, problems)
    shutil.rmtree(folder)


def hostile_names(harness: Harness) -> None:
    """Names and labels that would like to be something else."""
    taxonomy, folder = harness.work / "hostile.toml", harness.work / "hostile"
    names.make_taxonomy(taxonomy)
    with rados_gateway(harness.work / "ceph-names") as server, _each_database(harness, "names") as each:
        in_folder, in_bucket = names.make_folder(folder), names.fill_bucket(server, "hostile")
        for made in each:
            for kind, spec, count in (("folder", str(folder), in_folder), ("S3", "s3://hostile", in_bucket)):
                url = _prepare(made.new(f"hostile_{kind.lower()}"))
                file = harness.work / f"hostile-{made.kind}-{kind}.csv"
                found = names.tag_hostile(url, spec, count, taxonomy, file, server.environment())
                _tell_names(harness, f"hostile names, {kind}, {made.kind}", found)


def _tell_names(harness: Harness, name: str, found: names.Outcome) -> None:
    text = f"{found.names} names, {len(found.rows)} rows, {found.quarantined} in quarantine"
    harness.told(name, text, found.problems)
    product = found.cells[0].index("product_id")
    label = found.cells[0].index("label")
    for row, cells in zip(found.rows, found.cells[1:], strict=False):
        sql = f"SQL {row[0][-60:]} {row[1][-40:]!r} {row[2]!r}"
        print(f"        {sql}; CSV {cells[product][-40:]!r} {cells[label]!r}")


def promoted(harness: Harness) -> None:
    """Models killed while they are made and put in place."""
    number = harness.much(50, 5)
    with _each_database(harness, "promotions") as each:
        for made in each:
            url = _prepare(made.new("promotions"))
            found = promotions.kill_promotions(url, harness.work / f"promotions-{made.kind}", number)
            problems = found.problems
            problems += [
                f"only {count} kills of {name}" for name, count in found.kills.items() if count < number
            ]
            struck = ", ".join(f"{count} {name}" for name, count in found.kills.items())
            harness.told(f"promotions, {made.kind}", f"kills: {struck}; {found.seconds:.0f} s", problems)


SCENARIOS: dict[str, Callable[[Harness], None]] = {
    "kills": killed,
    "sharing": shared_work,
    "zombies": sleepers,
    "promotions": promoted,
    "poison": poisoned,
    "commits": broken_commits,
    "disks": bad_disks,
    "network": bad_network,
    "files": bad_files,
    "many": very_many,
    "names": hostile_names,
}


def main() -> None:
    """Runs the scenarios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenth", action="store_true", help="a tenth of each")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    chosen.add_argument("--without", nargs="+", choices=SCENARIOS, default=[])
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="where data/bad_images lies")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.only if name not in arguments.without]
    if not wanted:
        parser.error("nothing is left to run")
    if "files" in wanted and not (arguments.shared / "data" / "bad_images").is_dir():
        parser.error(
            f"no {arguments.shared}/data/bad_images: name its folder with --shared, or leave out files"
        )
    load_once()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        harness = Harness(Path(folder), arguments.shared.resolve(), arguments.tenth)
        for name in wanted:
            began = time.monotonic()
            SCENARIOS[name](harness)
            print(f"      {name}: {time.monotonic() - began:.0f} s", flush=True)
    if harness.failures:
        sys.exit("\n".join(["", "wrong:", *harness.failures]))
    print("faults: all as it should be")


if __name__ == "__main__":
    main()
