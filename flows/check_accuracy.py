"""Is the champion as right as it was? Each night asks the truth that came; a retraining answers a drop."""

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.close_watch import watch_promotion
from flows.retrain_model import retrain_model
from tasks import check_artifact, environment
from tasks.catalog import runs
from tasks.catalog.drifts import Drift
from tasks.catalog.estimates import Estimate
from tasks.checking import Checked, look_at_truth, publish_check, tell_drop, unanswered_drop
from tasks.serving import require_served
from tasks.settings import settings

FLOW = "check-accuracy"


@flow(name=FLOW)
def check_accuracy() -> Checked:
    """Counts the truth that has come since the last check and tells whether accuracy has dropped.

    A drop asks for a retraining, as FASHION_CLIP_RETRAIN says.
    """
    engine = environment.catalogue()
    served = require_served(engine)
    with runs.recorded(engine, FLOW, f"model {served.model_version}", flow_run.id) as run_id:
        checked = check(run_id, [], [])
    answer_drop(checked)
    return checked


def check(run_id: int, guessed: list[Estimate], drifts: list[Drift]) -> Checked:
    """A look as part of a run, shown in the Prefect UI; a promotion that proves worse is taken back first."""
    watch = watch_promotion()
    look = look_at_truth(run_id)
    drifted = [drift for drift in drifts if drift.drifted]
    for drift in drifted:
        get_run_logger().warning("drift: %s", drift.sentence)
    told = [] if watch is None else [f"since the promotion: {watch.told}"]
    publish_check(guessed, told + [drift.sentence for drift in drifted])
    get_run_logger().info("%s", check_artifact.sentence(look))
    version = require_served(environment.catalogue()).model_version
    return Checked(
        version, look.checked_at, look.fresh, look.readings, unanswered_drop(look.check_id, drifted)
    )


def answer_drop(checked: Checked) -> None:
    """Asks for the retraining that a drop has yet to be answered by: by an event, or here and now."""
    drop = checked.drop
    if drop is None:
        return
    get_run_logger().warning("drop %d: %s", drop.drop_id, drop.reason)
    match settings().retrain:
        case "event":
            tell_drop(drop)
        case "inline":
            retrain_model(reason=drop.reason, attribute=drop.attribute, drop=drop.drop_id)
