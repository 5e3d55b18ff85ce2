"""How good the labels are: a model on labelled photos, or what the catalogue serves on its truth."""

from typing import Annotated

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from tasks import deployed, environment, run_names
from tasks.catalog import runs
from tasks.evaluating import Evaluated, Wanted
from tasks.evaluating_catalogue import DATA
from tasks.model_evaluation import measure_on_data, measure_on_truth, publish_evaluation, record_evaluation
from tasks.photo_tables import source_of
from tasks.progress import shown


@flow(name="evaluate-model", flow_run_name=run_names.evaluation)
def evaluate_model(
    dataset: Annotated[str | None, Field(max_length=1000)] = None,
    models: Annotated[list[str] | None, Field(max_length=20)] = None,
    taxonomy: Annotated[str | None, Field(max_length=500)] = None,
    attribute: Annotated[str | None, Field(max_length=200)] = None,
    slices: Annotated[list[str] | None, Field(max_length=20)] = None,
    limit: Annotated[int | None, Field(ge=1)] = None,
) -> Evaluated:
    """Measures accuracy and calibration, and writes them to the catalogue, in whole and in slices.

    Args:
        dataset: a folder of class folders, a folder with labels.csv, a Parquet file, or a data set of the
            Hugging Face hub. Left out, what the catalogue serves is measured on the truth that it has. What
            Prefect's UI starts reads FASHION_CLIP_SOURCE and FASHION_CLIP_SOURCES.
        models: hub names or folders of CLIP checkpoints, to be compared on a data set; FASHION_CLIP_MODEL if
            left out.
        taxonomy: a shipped taxonomy's name or a TOML file, that the data set is labelled with.
        attribute: the one to measure.
        slices: columns, or attributes with truth, to tell accuracy apart by.
        limit: photos of the data set at most, drawn at random.
    """
    deployed.check(sources=[dataset], models=models or (), taxonomy=taxonomy)
    wanted = Wanted(dataset, tuple(models or ()), taxonomy, attribute, tuple(slices or ()), limit)
    engine = environment.catalogue()
    data = (
        DATA if dataset is None else source_of(dataset).uri
    )  # what is none is refused before it is recorded
    with runs.recorded(engine, "evaluate-model", data, flow_run.id) as run_id:
        if dataset is None:
            evaluated = measure_on_truth(wanted)
        else:
            with shown(get_run_logger(), "evaluating") as progress:
                evaluated = measure_on_data(wanted, progress)
        record_evaluation(run_id, evaluated)
    publish_evaluation(run_id, evaluated)
    return evaluated
