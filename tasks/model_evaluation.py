"""The Prefect tasks of an evaluation: measured, written to SQL, shown in the UI."""

from dataclasses import replace

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks import environment, evaluation_artifact
from tasks.catalog import evaluations, models
from tasks.evaluating import Evaluated, Wanted, evaluate_data
from tasks.evaluating_catalogue import evaluate_catalogue
from tasks.progress import Progress

KEY = "evaluate-model"


@task(name="measure-on-data", cache_policy=NO_CACHE)
def measure_on_data(wanted: Wanted, progress: Progress) -> Evaluated:
    """See `evaluate_data`. Where the catalogue serves calibrated labels, it is told that these are not."""
    evaluated = evaluate_data(wanted, progress)
    champion = models.served(environment.catalogue())
    if champion is None or champion.calibration is None:
        return evaluated
    told = (
        f"measured as the checkpoint is, without the calibration of {champion.model_version}, which the "
        "catalogue serves"
    )
    return replace(
        evaluated,
        evaluations=tuple(replace(one, warnings=(*one.warnings, told)) for one in evaluated.evaluations),
    )


@task(name="measure-on-truth", cache_policy=NO_CACHE)
def measure_on_truth(wanted: Wanted) -> Evaluated:
    """See `evaluate_catalogue`."""
    return evaluate_catalogue(environment.catalogue(), wanted.slices)


@task(name="record-evaluation", cache_policy=NO_CACHE)
def record_evaluation(run_id: int, evaluated: Evaluated) -> None:
    """Writes all figures to the catalogue."""
    evaluations.record(environment.catalogue(), run_id, evaluated.evaluations)


@task(name="publish-evaluation", cache_policy=NO_CACHE)
def publish_evaluation(run_id: int, evaluated: Evaluated) -> None:
    """Writes the artifacts for the Prefect UI: the figures as a table, and a page with pictures."""
    data = evaluated.evaluations[0].data
    create_table_artifact(evaluation_artifact.figures(evaluated), key=f"{KEY}-figures", description=data)
    create_markdown_artifact(evaluation_artifact.markdown(evaluated, run_id), key=KEY, description=data)
