"""Is the champion as right as it was? Each night asks the truth that came; a retraining answers a drop."""

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from fashion_clip.errors import FashionClipError
from flows.close_watch import watch_promotion
from flows.retrain_model import retrain_model
from tasks import check_artifact, environment, events
from tasks.catalog import runs
from tasks.checking import (
    Checked,
    guess_accuracy,
    look_at_truth,
    look_for_drift,
    publish_check,
    unanswered_drop,
)
from tasks.serving import require_served
from tasks.settings import settings

FLOW = "check-accuracy"


@flow(name=FLOW, flow_run_name="check accuracy")
def check_accuracy() -> Checked:
    """Counts the truth that has come since the last check and tells whether accuracy has dropped.

    A drop asks for a retraining, as FASHION_CLIP_RETRAIN says.
    """
    engine = environment.catalogue()
    served = require_served(engine)
    with runs.recorded(engine, FLOW, f"model {served.model_version}", flow_run.id) as run_id:
        checked = check(run_id)
    answer_drop(checked)
    return checked


def check(run_id: int) -> Checked:
    """What truth and photos tell of the champion, as part of a run, shown in the Prefect UI."""
    told = _watched()
    served = require_served(environment.catalogue())  # from here on, whatever is promoted meanwhile
    drifts = look_for_drift(run_id, served.label_set_id)
    guessed = guess_accuracy(run_id, served.label_set_id)
    look = look_at_truth(run_id, served.label_set_id)
    drifted = [drift for drift in drifts if drift.drifted]
    drop = unanswered_drop(served.label_set_id, look.check_id, drifted)
    publish_check(served.label_set_id, guessed, drop, told + [drift.sentence for drift in drifted])
    get_run_logger().info("%s", check_artifact.sentence(look))
    for drift in drifted:
        get_run_logger().warning("drift: %s", drift.sentence)
    return Checked(served.model_version, look.checked_at, look.fresh, look.readings, drop, tuple(drifted))


def _watched() -> list[str]:
    """What the close watch of the last promotion has to say. Whatever it lacks, the check goes on."""
    try:
        watch = watch_promotion()
    except FashionClipError as error:
        get_run_logger().warning("the promotion cannot be watched: %s", error)
        return [f"the promotion cannot be watched: {error}"]
    return [] if watch is None else [f"since the promotion: {watch.told}"]


def answer_drop(checked: Checked) -> None:
    """Asks for the retraining that a drop has yet to be answered by: by an event, or here and now."""
    drop = checked.drop
    if drop is None:
        return
    get_run_logger().warning("drop %d: %s", drop.drop_id, drop.reason)
    match settings().retrain:
        case "event":
            events.accuracy_dropped(checked.model_version, drop)
        case "inline":
            retrain_model(reason=drop.reason, attribute=drop.attribute, drop=drop.drop_id)
