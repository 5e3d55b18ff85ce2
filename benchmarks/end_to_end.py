"""Photos to labels in SQL through the flow, as a user runs it, beside other ways to classify them.

    python -m benchmarks.end_to_end [--quick] [--device cuda]

Ours is `fashion-clip tag` into a new SQLite catalogue, in a process of its own: listing, decoding, hashing,
embedding, scoring ten labels and writing rows, under Prefect. Its rate is what more photos take: that of a
long run less a short one, so that loading the model and starting Prefect do not count, which the rates of the
peers leave out as well; they are told beside it. The peers only classify. All take turns, round by round, on
photos of the same making, with all cores; each peer has classified one before. Peers run in the type of the
checkpoint, float32. On a GPU the rates of decoding alone and of our image tower alone are told as well.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gemm import gemm_limit
from benchmarks.material import (
    LARGE,
    SMALL,
    flops_of,
    make_vit_b_32,
    parquet_photos,
    write_photos,
    write_taxonomy,
)
from benchmarks.peers import WAYS
from benchmarks.report import Goal, arguments, console, machine, spread, tell, with_device
from benchmarks.stages import decoding_rate, forward_rate
from fashion_clip.encoder import load_encoder
from fashion_clip.machine import usable_cores

# Ratios to be reached at 800 x 1066.
GOALS = {"README-style loop": 8.0, "pipeline, one by one": 6.5, "pipeline, batches of 32": 3.1}
LEAST_SHARE = 0.85  # of the limit in bfloat16


@dataclass(frozen=True)
class Amounts:
    """Rounds, photos of the short and the long run, and of each peer in a round."""

    rounds: int
    short: int
    long: int
    peer: int


QUICK = Amounts(1, 64, 320, 8)
WHOLE = {"cpu": Amounts(3, 512, 2_560, 64), "cuda": Amounts(3, 2_560, 23_040, 128)}


@dataclass
class Found:
    """Of each round: rates in photos/s, the limit in pictures/s, seconds that a run takes to start.

    decoding, forward: of one stage alone, on a GPU.
    """

    ours: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    decoding: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in WAYS})


def main() -> None:
    """Prints a table for each size of photo."""
    options = with_device(arguments(__doc__))
    device, amounts = options.device, QUICK if options.quick else WHOLE[options.device]
    originals = parquet_photos(options.shared / "data" / "fashion_products" / "max_512.parquet")
    print(machine(device))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        work = Path(name)
        model = make_vit_b_32(work / "vit-b-32", options.shared)
        taxonomy = write_taxonomy(work / "ten.toml")
        peers = {way: stack.enter_context(_peer(way, model, device)) for way in WAYS}
        for size in (LARGE, SMALL):
            folder = write_photos(work / f"{size[0]}", originals, size, amounts.long)
            found = measure(work, folder, model, taxonomy, peers, amounts, device)
            _tell(found, size, amounts, device, options.goals)
            shutil.rmtree(folder)


def measure(
    work: Path,
    folder: Path,
    model: Path,
    taxonomy: Path,
    peers: dict[str, "Peer"],
    amounts: Amounts,
    device: str,
) -> Found:
    """All contenders in turns."""
    photos = [str(path) for path in sorted(folder.iterdir())]
    few = work / f"{folder.name}-few"
    few.mkdir()
    for photo in photos[: amounts.short]:
        os.link(photo, few / Path(photo).name)
    found, flops = Found(), flops_of(model)
    encoder = load_encoder(str(model), device) if device == "cuda" else None
    tag(few, model, taxonomy, work / "catalogue.db", device)  # converts the model, once
    for peer in peers.values():
        peer.ask(photos[:1])
    for number in range(amounts.rounds):
        found.limit.append(gemm_limit(torch.bfloat16, device) / flops)
        if encoder is not None:
            found.decoding.append(decoding_rate(encoder, photos[: amounts.short]))
            found.forward.append(forward_rate(encoder))
        short, long = (
            tag(source, model, taxonomy, work / "catalogue.db", device) for source in (few, folder)
        )
        found.ours.append((amounts.long - amounts.short) / (long - short))
        found.start.append(short - amounts.short / found.ours[-1])
        first = number * amounts.peer
        for name, peer in peers.items():
            seconds = peer.ask(photos[first : first + amounts.peer])["seconds"]
            found.peers[name].append(amounts.peer / seconds)
    return found


def tag(source: Path, model: Path, taxonomy: Path, database: Path, device: str) -> float:
    """Seconds of a run over the photos of a folder into a new catalogue, as run_history tells them."""
    command = [sys.executable, "-m", "cli.main", "tag", str(source), "--json"]
    command += ["--model", str(model), "--taxonomy", str(taxonomy)]
    variables = {
        "FASHION_CLIP_DATABASE_URL": f"sqlite:///{database}",
        "FASHION_CLIP_RUNTIME": "openvino" if device == "cpu" else "torch",
    }
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    if done.returncode:
        raise SystemExit(f"fashion-clip tag failed: {done.stderr}")
    return float(json.loads(done.stdout)["seconds"])


class Peer:
    """A peer that has loaded its model, in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, files: list[str]) -> dict[str, Any]:
        """Has it classify the files: seconds and labels."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(files) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def _peer(way: str, model: Path, device: str) -> Iterator[Peer]:
    command = [sys.executable, "-m", "benchmarks.peers", way, str(model), str(usable_cores()), device]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        if not process.stdout.readline():  # an empty line says that it has loaded its model
            raise SystemExit(f"the peer {way!r} does not start: {' '.join(command)}")
        yield Peer(process)
        process.stdin.close()


def _tell(found: Found, size: tuple[int, int], amounts: Amounts, device: str, file: Path | None) -> None:
    ours, limit = float(np.median(found.ours)), float(np.median(found.limit))
    rows = [["fashion-clip tag", spread(found.ours), "1.00", f"{ours / limit:.0%}"]]
    for name, rates in found.peers.items():
        rows.append(
            [name, spread(rates), f"{ours / np.median(rates):.2f}", f"{np.median(rates) / limit:.0%}"]
        )
    rows.append(["limit by matrix products, bfloat16", spread(found.limit), "", ""])
    for name, rates in (("decoding alone", found.decoding), ("image tower alone", found.forward)):
        if rates:
            rows.append([name, spread(rates), f"{ours / np.median(rates):.2f}", ""])
    goals = []
    if size == LARGE and device == "cpu":
        for name, goal in GOALS.items():
            ratio = ours / float(np.median(found.peers[name]))
            goals.append(Goal(f"end to end to {name}", f">= {goal:g}x", f"{ratio:.2f}x", ratio >= goal))
        share = ours / limit
        goals.append(
            Goal(
                "end to end of the bf16 limit", f">= {LEAST_SHARE:.0%}", f"{share:.0%}", share >= LEAST_SHARE
            )
        )
    title = f"End to end, {size[0]} x {size[1]} JPEGs, 10 labels, {amounts.rounds} rounds of "
    title += f"{amounts.long - amounts.short} photos, {amounts.peer} of each peer"
    tell(title, ["", "photos/s", "ours to it", "of the limit"], rows, goals, file)
    console().print(f"a run's start (listing, Prefect, loading the model): {spread(found.start)} s")


if __name__ == "__main__":
    main()
