"""What the benchmarks of `make bench` share: tables, goals and how they were met, what machine this is."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from fashion_clip.intervals import exact_interval

SHARED = Path("../shared")
LIBRARIES = ("torch", "transformers", "openvino", "sentence-transformers", "pillow", "prefect", "sqlalchemy")


@dataclass(frozen=True)
class Goal:
    """What was wanted, what was measured, and whether that is it."""

    what: str
    goal: str
    measured: str
    met: bool


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, to see that it runs")
    parser.add_argument("--goals", type=Path, help="a file to which the goals are written, as JSON")
    parser.add_argument("--shared", type=Path, default=SHARED, help="where data/ and models/ lie")
    return parser


def with_device(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a benchmark that runs on a GPU as well."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: an NVIDIA GPU")
    options = parser.parse_args()
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("--device cuda: torch finds no NVIDIA GPU here; leave it out for the processor")
    return options


def tell(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    goals: Sequence[Goal],
    file: Path | None,
) -> None:
    """Prints a table and the goals, and writes these to `file`."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console().print(table)
    print_goals(goals)
    if file:
        known = json.loads(file.read_text()) if file.exists() else []
        file.write_text(json.dumps(known + [asdict(goal) for goal in goals]))


def print_goals(goals: Sequence[Goal]) -> None:
    """One line each."""
    for goal in goals:
        sign = "met" if goal.met else "MISSED"
        console().print(f"{sign:7}{goal.what}: {goal.measured} (goal {goal.goal})", highlight=False)


def console() -> Console:
    """Wide enough for every table, whoever reads it."""
    return Console(width=130)


def machine(device: str = "cpu") -> str:
    """Versions, processor and cores, and the GPU if one is used, in one paragraph."""
    versions = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    gpu = f", {_gpu()}" if device == "cuda" else ""
    return f"{_processor()}, {cores} cores{gpu}; Python {platform.python_version()}, {versions}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    return lines.get("model name\t", platform.machine()).strip()


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and most."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def median_nights(nights: Sequence[int] | npt.NDArray[np.int64], followed: int) -> str:
    """The median with its quartiles; what was not seen in so many nights is told as more."""
    low, middle, high = (
        f"{found:.0f}" if found <= followed else f">{followed}"
        for found in np.quantile(nights, [0.25, 0.5, 0.75])
    )
    return f"{middle} ({low}-{high})"


def shown_share(number: int, of: int) -> str:
    """A share with its exact interval of 95 %."""
    low, high = exact_interval(number, of)
    return f"{number / of:.1%} ({low:.1%}-{high:.1%})"
