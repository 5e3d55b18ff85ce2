"""Processes killed with -9 while a model is made, put in place, or embeds the catalogue anew.

After every kill there must be one champion, the labels that are served must be all of one label set, and no
folder in MODELS_DIR may pass for a model that is not whole.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from fashion_clip.errors import CheckpointError
from fashion_clip.model_folder import check_model_folder
from tasks import environment, judging, ladder, reembedding, relabelling
from tasks.catalog import models, runs, versions
from tasks.catalog import reembedding as reembedding_rows
from tasks.catalog import relabelling as relabelling_rows
from tasks.catalog.engine import connect
from tasks.ladder import Challenger, Rung
from tasks.promotion import version_for
from tasks.serving import load_model, require_served
from tasks.truth import import_truth
from tests.catalogue_fixtures import (
    DEMO_MODEL,
    DEMO_PHOTOS,
    change_weights,
    misleading_taxonomy,
    put_photos,
    rows,
    write_truth,
)
from tests.faults.forks import ended, fork
from tests.faults.worker import shorten_leases

PHOTOS = 120
PAGE = 16  # contents, or photos, in a transaction
LEASE_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """Kills that struck, by what was under way; problems found; seconds."""

    kills: dict[str, int]
    problems: list[str]
    seconds: float


@dataclass(frozen=True)
class Scene:
    """A tagged catalogue with truth. variables: of its processes."""

    url: str
    folder: Path
    variables: dict[str, str]

    @property
    def models(self) -> Path:
        """MODELS_DIR."""
        return self.folder / "models"


def kill_promotions(url: str, folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Kills as many of each: the making of a model, a relabelling, an embedding anew."""
    began = time.monotonic()
    scene = _scene(url, folder)
    draw = random.Random(seed)
    struck = dict.fromkeys(("making", "relabelling", "embedding anew"), 0)
    problems: list[str] = []
    bodies: dict[str, Callable[[int], object]] = {
        "making": partial(_make, scene),
        "relabelling": partial(_relabel, scene),
        "embedding anew": partial(_reembed, scene),
    }
    for name, body in bodies.items():
        longest = _undisturbed(scene, body, 0)
        number = 1
        while struck[name] < kills and number < 6 * kills:
            code = _killed_after(scene, partial(body, number), draw.uniform(0.0, longest))
            struck[name] += code == -signal.SIGKILL
            if code not in (0, -signal.SIGKILL):
                problems.append(f"{name} {number}: a process ended with an error, unkilled")
            problems += [f"{name} {number}: {problem}" for problem in _problems(scene)]
            number += 1
        if _run(scene, partial(body, number)) != 0:
            problems.append(f"{name}: an undisturbed run after the kills failed")
        problems += [f"{name}, after all: {problem}" for problem in _problems(scene)]
    return Outcome(struck, problems, time.monotonic() - began)


def _scene(url: str, folder: Path) -> Scene:
    put_photos(folder / "photos", 0, PHOTOS)
    variables = {"FASHION_CLIP_DATABASE_URL": url, "FASHION_CLIP_MODELS_DIR": str(folder / "models")}
    scene = Scene(url, folder, variables)
    assert _run(scene, partial(_tag, scene)) == 0
    return scene


def _tag(scene: Scene) -> None:
    from tasks import nightly

    taxonomy, spec = misleading_taxonomy(scene.folder), str(scene.folder / "photos")
    engine = environment.catalogue()
    with runs.recorded(engine, "nightly-tagging", spec, None) as run_id:
        nightly.scan_source.fn(run_id, spec, False, lambda photos: None)
        nightly.prepare_model.fn(DEMO_MODEL, taxonomy)
        while nightly.tag_shard.fn(run_id, spec, None, PAGE):
            pass
    file = write_truth(scene.folder / "truth.csv", DEMO_PHOTOS[:PHOTOS])
    import_truth(engine, file, "ann", new_labels=False, dry_run=False)


def _make(scene: Scene, number: int) -> str:
    """A head of this number's own, registered; returns its version."""
    engine = environment.catalogue()
    stage = ladder.stage(engine, load_model(require_served(engine)))
    made = ladder.with_heads(stage)
    assert made.model.learned is not None
    [head] = made.model.learned.heads
    other = replace(made.model.learned, heads=(replace(head, prompt_bias=head.prompt_bias - number),))
    mine = Challenger(
        Rung.HEAD, replace(made.model, learned=other), made.checkpoint, made.vectors, made.rows, {}
    )
    return judging.register(engine, stage, mine, number, keep=True)


def _relabel(scene: Scene, number: int) -> None:
    """Puts a head of this number in place, page by page, as the flow does."""
    relabelling_rows.PAGE = PAGE
    version = _make(scene, 1_000 + number)
    engine = environment.catalogue()
    current = require_served(engine)
    with runs.recorded(engine, relabelling_rows.FLOW, version, None) as run_id:
        label_set_id = relabelling.begin_label_set.fn(run_id, None, version)
        while True:
            after, labelled = 0, 1
            while labelled:
                after, labelled = relabelling.relabel_page.fn(run_id, label_set_id, after)
            if relabelling.serve_label_set.fn(run_id, label_set_id, current.model_version):
                return


def _reembed(scene: Scene, number: int) -> None:
    """Puts other towers in place, shard by shard, as the flow does."""
    os.environ["FASHION_CLIP_SHARD_SIZE"] = str(PAGE)
    engine = environment.catalogue()
    version = version_for(engine, str(_other_model(scene, number)))
    current = require_served(engine)
    if current.model_version == version:
        return
    with runs.recorded(engine, reembedding_rows.FLOW, version, None) as run_id:
        label_set_id = reembedding.begin_reembedding.fn(run_id, current.label_set_id, version)
        while True:
            before, photos = reembedding_rows.BEGINNING, 1
            while photos:
                before, photos = reembedding.reembed_shard.fn(run_id, label_set_id, before, PAGE)
            after, labelled = 0, 1
            while labelled:
                after, labelled = relabelling.relabel_page.fn(run_id, label_set_id, after)
            if reembedding.serve_reembedded.fn(run_id, label_set_id, current.label_set_id):
                return


def _other_model(scene: Scene, number: int) -> Path:
    """One of a few models whose towers are not the demo's."""
    import shutil

    folder = scene.folder / f"other-{number % 5}"
    if not folder.exists():
        partial_folder = scene.folder / f"copy-{os.getpid()}"
        shutil.copytree(DEMO_MODEL, partial_folder)
        for _ in range(1 + number % 5):
            change_weights(partial_folder)
        partial_folder.rename(folder)
    return folder


def _doomed(body: Callable[[], object]) -> None:
    shorten_leases(LEASE_S)
    body()


def _run(scene: Scene, body: Callable[[], object]) -> int:
    return ended(fork(partial(_doomed, body), scene.variables))


def _undisturbed(scene: Scene, body: Callable[[int], object], number: int) -> float:
    """How long it takes; the kills are spread over that."""
    began = time.monotonic()
    assert _run(scene, partial(body, number)) == 0
    return time.monotonic() - began


def _killed_after(scene: Scene, body: Callable[[], object], seconds: float) -> int:
    """How a process ended that is killed after so long, unless it has ended before."""
    pid = fork(partial(_doomed, body), scene.variables)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)  # it is there until somebody asks how it ended
    code = ended(pid)
    time.sleep(1.2 * LEASE_S)  # until the dead run is taken for dead
    return code


def _problems(scene: Scene) -> list[str]:
    engine = connect(scene.url)
    try:
        return [*_label_problems(engine), *_folder_problems(engine, scene.models)]
    finally:
        engine.dispose()


def _label_problems(engine: Engine) -> list[str]:
    found = []
    champions = rows(engine, "SELECT version FROM model_history WHERE role = 'champion'")
    if len(champions) != 1:
        found.append(f"{len(champions)} champions")
    shown = rows(engine, "SELECT model_version, COUNT(*), COUNT(DISTINCT uri) FROM catalog_labels GROUP BY 1")
    if shown != [(champions[0][0], PHOTOS, PHOTOS)]:
        found.append(f"labels of {shown}, expected {PHOTOS} of {champions}")
    open_ends = rows(engine, "SELECT COUNT(*) FROM served_log WHERE served_to IS NULL")
    if open_ends != [(1,)]:
        found.append(f"{open_ends} open ends in the log of what was served")
    return found


def _folder_problems(engine: Engine, folder: Path) -> list[str]:
    found = []
    whole = set()
    for model in folder.iterdir() if folder.is_dir() else ():
        if model.name.startswith("."):
            continue
        try:
            check_model_folder(model)
            whole.add(model.name)
        except CheckpointError as error:
            found.append(f"a folder that passes for a model: {error}")
    registered = {
        one.version for one in versions.history(engine) if one.checkpoint.startswith(models.REGISTERED)
    }
    found += [f"{version} is registered and has no folder" for version in sorted(registered - whole)]
    return found
