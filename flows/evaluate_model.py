"""How good the labels are: a model on labelled photos, or what the catalogue serves on its truth."""

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from tasks import environment
from tasks.catalog import runs
from tasks.evaluating import Evaluated, Wanted
from tasks.evaluating_catalogue import DATA
from tasks.model_evaluation import measure_on_data, measure_on_truth, publish_evaluation, record_evaluation
from tasks.photo_tables import source_of
from tasks.progress import shown


@flow(name="evaluate-model")
def evaluate_model(
    dataset: str | None = None,
    models: list[str] | None = None,
    taxonomy: str | None = None,
    attribute: str | None = None,
    slices: list[str] | None = None,
    limit: int | None = None,
) -> Evaluated:
    """Measures accuracy and calibration, and writes them to the catalogue, in whole and in slices.

    Args:
        dataset: a folder of class folders, a folder with labels.csv, a Parquet file, or a data set of the
            Hugging Face hub. Left out, what the catalogue serves is measured on the truth that it has.
        models: hub names or folders of CLIP checkpoints, to be compared on a data set; FASHION_CLIP_MODEL if
            left out.
        taxonomy: a shipped taxonomy's name or a TOML file, that the data set is labelled with.
        attribute: the one to measure.
        slices: columns, or attributes with truth, to tell accuracy apart by.
        limit: photos of the data set at most, drawn at random.
    """
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
