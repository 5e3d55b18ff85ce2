"""Whether the loop earns its keep: eight years of a catalogue, replayed night by night in four ways.

    python -m benchmarks.replay [--quick] [--gate] [--found FILE.json] [--plot FILE.png]

The small trained model, which saw photos up to 2011, begins with these and with the labels that they have.
The photos of 2012 to 2019 come in order, in at most 25 nights a year of at least 40 photos. Each night is the
flow `nightly-tagging` as it runs for a user, with a temporary Prefect server; its audit sample of 20 photos
gets its true labels before the next one. So each way has the same amount of truth:

- no loop: nobody retrains.
- monthly: heads are learned anew at the end of each month, whatever accuracy is, and promoted if they pass
  the gate.
- loop: a drop in accuracy retrains.
- loop and labels: likewise; besides, an operator adds the labels that have come up in truth ENOUGH_OF_A_LABEL
  times, once a month, and learns heads. Nothing does that by itself: heads learn what the taxonomy has.

No way fine-tunes towers, which would take hours here.

What is told is the accuracy of the labels that were given on the night, on all of its photos. Dates are those
of the machine: what hangs on days, such as the end of a close watch, does not come about. With --gate a small
part is replayed with and without the loop, and the exit code is 1 unless the loop earned it.
"""

import os

os.environ |= {  # read when numpy and prefect are imported
    "OPENBLAS_NUM_THREADS": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.replay_arms import Arm, Told, first_night, play, told_of
from benchmarks.replay_figures import (
    TOLD,
    accuracy,
    events,
    first_alarm,
    mean_error,
    means,
    of_attribute,
)
from benchmarks.replay_nights import Night, Photo, first_photos, nights_of, photos_of
from benchmarks.report import Goal, arguments, console, machine, tell

NO_LOOP, LOOP, MONTHLY = "no loop", "loop", "monthly"
ARMS = (
    Arm(NO_LOOP, "never"),
    Arm(MONTHLY, "never", monthly=True),
    Arm(LOOP, "inline"),
    Arm("loop and labels", "inline", new_labels=True),
)
LEAST_GAIN = 0.10
EVENTS = ("alarm", "retraining", "promotion", "rollback", "labels")


@dataclass(frozen=True)
class Scale:
    """share: of each year's photos. a_year: nights, at most. audited: photos of a night that get truth."""

    share: float
    a_year: int
    last_year: int
    audited: int
    arms: tuple[str, ...]


FULL = Scale(1.0, 25, 2019, 20, tuple(arm.name for arm in ARMS))
QUICK = Scale(0.2, 6, 2012, 60, FULL.arms)
# Until 2015: in the nights of 2012 alone the alarm may come too late for a promotion, or not at all.
GATE = Scale(0.3, 10, 2015, 120, (NO_LOOP, LOOP))


def main() -> None:
    """Prints three tables, or with --gate one line."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--gate", action="store_true", help="a small part; exit code 1 if the loop gains nothing"
    )
    parser.add_argument(
        "--found", type=Path, help="where nights are kept, as JSON; an arm in it is not played"
    )
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    options = parser.parse_args()
    scale = GATE if options.gate else QUICK if options.quick else FULL
    print(machine())
    found = played(options.shared.resolve(), scale, options.found)
    if options.gate:
        sys.exit(_gate(found))
    tell_years(found)
    tell_work(found, options.goals)
    tell_guesses(found)
    if options.plot is not None:
        from benchmarks.replay_plot import draw

        draw(found, options.plot)


def played(shared: Path, scale: Scale, kept: Path | None) -> dict[str, list[Told]]:
    """The nights of each arm, in the order of ARMS."""
    found = _kept(kept)
    missing = [arm for arm in ARMS if arm.name in scale.arms and arm.name not in found]
    if missing:
        photos = photos_of(shared, scale.share)
        nights = nights_of(photos, scale.a_year, scale.last_year)
        _play(shared, missing, photos, nights, scale.audited, found, kept)
    return {name: found[name] for name in scale.arms}


def _kept(file: Path | None) -> dict[str, list[Told]]:
    if file is None or not file.exists():
        return {}
    return {name: [told_of(one) for one in told] for name, told in json.loads(file.read_text()).items()}


def _play(
    shared: Path,
    arms: Sequence[Arm],
    photos: Sequence[Photo],
    nights: Sequence[Night],
    audited: int,
    found: dict[str, list[Told]],
    kept: Path | None,
) -> None:
    from prefect.testing.utilities import prefect_test_harness

    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=120):
        stage = first_night(
            Path(folder) / "replay", shared / "models" / "products-clip-tiny", first_photos(photos)
        )
        for arm in arms:
            found[arm.name] = told = []
            for night in play(stage, arm, nights, audited):
                told.append(night)
                _say(arm, len(told), len(nights), night)
            if kept is not None:
                kept.write_text(
                    json.dumps({name: [one.as_dict() for one in of] for name, of in found.items()})
                )


def _say(arm: Arm, number: int, nights: int, night: Told) -> None:
    happened = ", ".join(
        (*(one for one in night.events if one in ("alarm", "rollback", "labels")), *night.retrained)
    )
    line = f"{arm.name} {number}/{nights} {night.year}-{night.month:02}: {accuracy([night]):.0%}"
    console().print(f"{line}, {night.seconds:.1f} s{', ' if happened else ''}{happened}", highlight=False)


def tell_years(found: Mapping[str, Sequence[Told]]) -> None:
    """Accuracy year by year, of all photos of the year; and of nights, of which each counts alike."""
    rows = []
    for year in sorted({night.year for night in next(iter(found.values()))}):
        for name, told in found.items():
            nights = [night for night in told if night.year == year]
            figures = [accuracy(nights), accuracy(nights, season=False), accuracy(nights, known=True)]
            figures += [of_attribute(nights, attribute) for attribute in TOLD]
            photos = sum(night.photos for night in nights)
            rows.append(
                [f"{year} {name}", f"{len(nights)} x {photos}", *(f"{100 * one:.1f}" for one in figures)]
            )
    for name, told in found.items():
        figures = [means(told), means(told, season=False), means(told, known=True)]
        figures += [sum(of_attribute([night], attribute) for night in told) / len(told) for attribute in TOLD]
        rows.append([f"all nights {name}", str(len(told)), *(f"{100 * one:.1f}" for one in figures)])
    columns = ["", "nights x photos", "mean of 7", "no season", "labels of 2011", *TOLD]
    tell("% of labels right, as given on the night, on all photos", columns, rows, [], None)


def tell_work(found: Mapping[str, Sequence[Told]], goals: Path | None) -> None:
    """What each arm did, and the goals."""
    rows = []
    for name, told in found.items():
        counts = [str(events(told, kind)) for kind in EVENTS]
        seconds = [sum(night.seconds for night in told), sum(night.retraining_seconds for night in told)]
        rows.append(
            [name, *counts, str(sum(night.truths for night in told)), *(f"{one:.0f}" for one in seconds)]
        )
    columns = ["", "alarms", "retrainings", "promotions", "rolled back", "labels added", "truths"]
    tell("What was done", [*columns, "seconds", "of these retraining"], rows, _goals(found), goals)


def _goals(found: Mapping[str, Sequence[Told]]) -> list[Goal]:
    loop, without, monthly = (found[name] for name in (LOOP, NO_LOOP, MONTHLY))
    first = first_alarm(loop)
    if first is None:
        return [Goal("alarms of the loop", ">= 1", "0", False)]
    goals = []
    for season in (True, False):
        gain = means(loop[first + 1 :], season) - means(without[first + 1 :], season)
        what = f"loop less no loop after the first alarm, points{'' if season else ', without season'}"
        goals.append(Goal(what, f">= {100 * LEAST_GAIN:.0f}", f"{100 * gain:.1f}", gain >= LEAST_GAIN))
    fewer, more = events(loop, "retraining"), events(monthly, "retraining")
    return [*goals, Goal("retrainings of the loop", f"< {more}, as monthly", str(fewer), fewer < more)]


def tell_guesses(found: Mapping[str, Sequence[Told]]) -> None:
    """How far accuracy was misjudged, without truth and by the audit sample."""
    rows = []
    for name, told in found.items():
        for year in sorted({night.year for night in told}):
            guess, sample, count = mean_error([night for night in told if night.year == year])
            if count:
                rows.append([f"{year} {name}", str(count), f"{100 * guess:.1f}", f"{100 * sample:.1f}"])
        guess, sample, count = mean_error(told)
        if count:
            rows.append([f"all {name}", str(count), f"{100 * guess:.1f}", f"{100 * sample:.1f}"])
    columns = ["", "attributes x nights", "estimate without truth", "audit sample of 20"]
    tell("Mean absolute error of a night's accuracy, points", columns, rows, [], None)


def _gate(found: Mapping[str, Sequence[Told]]) -> int:
    loop, without = found[LOOP], found[NO_LOOP]
    promoted = [number for number, night in enumerate(loop) if "promotion" in night.events]
    if not promoted or promoted[0] + 1 == len(loop):
        console().print(f"the loop promoted nothing: {events(loop, 'retraining')} retrainings")
        return 1
    gain = means(loop[promoted[0] + 1 :]) - means(without[promoted[0] + 1 :])
    did = f"{events(loop, 'retraining')} retrainings, {len(promoted)} promotions"
    nights = len(loop) - promoted[0] - 1
    console().print(f"{did}; after the first one {100 * gain:+.1f} points over {nights} nights")
    return 0 if gain > 0 else 1


if __name__ == "__main__":
    main()
