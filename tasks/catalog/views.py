"""The views that people query. They only grow: a column that stands here stays.

Dictionary rows (names, versions, shards) are joined by LEFT JOIN on their primary keys although they always
exist: joins whose columns a query does not ask for can then be left out, and SQLite never starts from them
(an INNER JOIN of names makes a look-up by uri 74 ms instead of 0.02 at 50,000 photos).
"""

from tasks.catalog.accuracy_views import ACCURACY_HISTORY, DRIFT_HISTORY, DROP_HISTORY, ESTIMATE_HISTORY
from tasks.catalog.tables import CANDIDATES
from tasks.catalog.truth_views import PHOTO_TRUTHS, REVIEW_QUEUE, TRUTH_VERDICTS
from tasks.catalog.view_terms import DECISION, score

# The later of "the content was labelled" and "the photo was bound to this content".
LATER_SHARD = "CASE WHEN l.shard_id > p.shard_id THEN l.shard_id ELSE p.shard_id END"

SET_JOINS = """
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
LEFT JOIN taxonomies t ON t.taxonomy_id = s.taxonomy_id"""

CATALOG_LABELS = f"""
SELECT p.uri, p.product_id, c.sha256, a.name AS attribute, n.name AS label,
       {score("l.similarity_1")} AS similarity, {score("l.confidence_1")} AS confidence,
       {DECISION} AS decision, m.version AS model_version, t.version AS taxonomy_version,
       h.run_id, h.committed_at AS tagged_at
FROM served_label_set v
JOIN photos p ON p.vanished_at IS NULL
JOIN labels l ON l.label_set_id = v.label_set_id AND l.content_id = p.content_id
LEFT JOIN label_sets s ON s.label_set_id = v.label_set_id {SET_JOINS}
LEFT JOIN contents c ON c.content_id = p.content_id
LEFT JOIN attributes a ON a.attribute_id = l.attribute_id
LEFT JOIN label_names n ON n.label_id = l.label_1
LEFT JOIN shards h ON h.shard_id = {LATER_SHARD}"""


def _by_rank(column: str) -> str:
    return (
        "CASE r.rank " + " ".join(f"WHEN {k} THEN l.{column}_{k}" for k in range(1, CANDIDATES + 1)) + " END"
    )


RANKS = " UNION ALL ".join(f"SELECT {k} AS rank" for k in range(1, CANDIDATES + 1))

LABEL_CANDIDATES = f"""
SELECT p.uri, p.product_id, c.sha256, a.name AS attribute, r.rank, n.name AS label,
       {score(_by_rank("similarity"))} AS similarity, {score(_by_rank("confidence"))} AS confidence,
       m.version AS model_version, t.version AS taxonomy_version
FROM served_label_set v
JOIN photos p ON p.vanished_at IS NULL
JOIN labels l ON l.label_set_id = v.label_set_id AND l.content_id = p.content_id
JOIN ({RANKS}) r ON {_by_rank("label")} IS NOT NULL
LEFT JOIN label_sets s ON s.label_set_id = v.label_set_id {SET_JOINS}
LEFT JOIN contents c ON c.content_id = p.content_id
LEFT JOIN attributes a ON a.attribute_id = l.attribute_id
LEFT JOIN label_names n ON n.label_id = {_by_rank("label")}"""

# Counted by number before the numbers get their names: sorting millions of names is what takes longest.
LABEL_COUNTS = """
SELECT a.name AS attribute, n.name AS label, g.photos
FROM (SELECT l.label_1, COUNT(*) AS photos
      FROM served_label_set v
      JOIN photos p ON p.vanished_at IS NULL
      JOIN labels l ON l.label_set_id = v.label_set_id AND l.content_id = p.content_id
      GROUP BY l.label_1) g
LEFT JOIN label_names n ON n.label_id = g.label_1
LEFT JOIN attributes a ON a.attribute_id = n.attribute_id"""

# A label was served while its set was, from when it was made and the photo showed this content, until the
# photo showed another.
LABEL_HISTORY = f"""
SELECT p.uri, p.product_id, c.sha256, a.name AS attribute, n.name AS label,
       {score("l.similarity_1")} AS similarity, {score("l.confidence_1")} AS confidence,
       {DECISION} AS decision, m.version AS model_version, t.version AS taxonomy_version,
       h.run_id, h.committed_at AS tagged_at,
       CASE WHEN h.committed_at > g.served_from THEN h.committed_at ELSE g.served_from END AS served_from,
       CASE WHEN g.served_to IS NULL THEN p.shown_to
            WHEN p.shown_to IS NULL OR p.shown_to > g.served_to THEN g.served_to
            ELSE p.shown_to END AS served_to
FROM (SELECT photo_id, uri, product_id, content_id, shard_id, vanished_at AS shown_to FROM photos
      UNION ALL
      SELECT q.photo_id, o.uri, o.product_id, q.content_id, q.shard_id, q.replaced_at
      FROM photo_past_contents q JOIN photos o ON o.photo_id = q.photo_id) p
JOIN served_log g ON 1 = 1
JOIN label_sets s ON s.label_set_id = g.label_set_id
JOIN labels l ON l.label_set_id = g.label_set_id AND l.content_id = p.content_id {SET_JOINS}
LEFT JOIN contents c ON c.content_id = p.content_id
LEFT JOIN attributes a ON a.attribute_id = l.attribute_id
LEFT JOIN label_names n ON n.label_id = l.label_1
JOIN shards h ON h.shard_id = {LATER_SHARD}
WHERE (g.served_to IS NULL OR h.committed_at < g.served_to)
  AND (p.shown_to IS NULL OR p.shown_to > g.served_from)"""

QUARANTINED_IMAGES = """
SELECT p.uri, q.reason, q.detail, q.attempts, q.first_failed_at, q.last_failed_at
FROM quarantine q JOIN photos p ON p.photo_id = q.photo_id
WHERE p.vanished_at IS NULL"""

MODEL_HISTORY = """
SELECT m.version, e.identity AS encoder, m.rung, o.version AS parent,
       CASE WHEN m.model_version_id = (
                SELECT s.model_version_id FROM served_label_set v
                JOIN label_sets s ON s.label_set_id = v.label_set_id) THEN 'champion'
            WHEN g.promoted_at IS NOT NULL THEN 'archived'
            WHEN j.passed = 0 OR d.approved = 0 THEN 'rejected'
            ELSE 'challenger' END AS role,
       m.checkpoint, m.created_at, g.promoted_at, g.retired_at,
       j.judged_at, CASE j.passed WHEN 1 THEN 'passed' WHEN 0 THEN 'rejected' END AS gate,
       j.sentence AS gate_told, j.document AS gate_figures,
       CASE d.approved WHEN 1 THEN 'approved' WHEN 0 THEN 'rejected' END AS decision,
       d.decided_by, d.decided_at, d.reason AS decision_reason, m.made
FROM model_versions m
JOIN encoders e ON e.encoder_id = m.encoder_id
LEFT JOIN model_versions o ON o.model_version_id = m.parent_id
LEFT JOIN (SELECT s.model_version_id, MIN(l.served_from) AS promoted_at,
                  CASE WHEN COUNT(*) = COUNT(l.served_to) THEN MAX(l.served_to) END AS retired_at
           FROM served_log l JOIN label_sets s ON s.label_set_id = l.label_set_id
           GROUP BY s.model_version_id) g ON g.model_version_id = m.model_version_id
LEFT JOIN gates j ON j.gate_id = (
    SELECT MAX(i.gate_id) FROM gates i WHERE i.challenger_id = m.model_version_id)
LEFT JOIN decisions d ON d.gate_id = j.gate_id"""

RETRAINING_HISTORY = """
SELECT t.retraining_id, t.started_at, t.finished_at, t.outcome, t.told, m.version AS champion, t.number,
       t.rung AS asked_rung, t.attribute, t.minimum_gain, t.reason, j.rung, o.version AS challenger,
       CASE j.passed WHEN 1 THEN 'passed' WHEN 0 THEN 'rejected' END AS gate, j.sentence AS gate_told,
       j.level, t.run_id, t.prefect_flow_run_id, t.drop_id
FROM retrainings t
JOIN model_versions m ON m.model_version_id = t.champion_id
LEFT JOIN gates j ON j.retraining_id = t.retraining_id
LEFT JOIN model_versions o ON o.model_version_id = j.challenger_id"""

RUN_HISTORY = """
SELECT r.run_id, r.flow, r.source, r.started_at, r.finished_at, r.status, r.listed, r.ignored, r.known,
       COALESCE(h.embedded, 0) AS embedded, COALESCE(h.tagged, 0) AS tagged,
       COALESCE(h.quarantined, 0) AS quarantined, r.remaining, r.error, r.prefect_flow_run_id
FROM runs r
LEFT JOIN (SELECT run_id, SUM(embedded) AS embedded, SUM(tagged) AS tagged, SUM(quarantined) AS quarantined
           FROM shards GROUP BY run_id) h ON h.run_id = r.run_id"""

EVALUATION_HISTORY = """
SELECT e.evaluation_id, e.evaluated_at, e.data, e.model, e.taxonomy_version, f.attribute, f.n, f.accuracy,
       f.ci_low, f.ci_high, f.top5, f.macro_f1, f.weighted_f1, f.calibration_error, f.coverage_at_95, e.run_id
FROM evaluations e JOIN evaluation_attributes f ON f.evaluation_id = e.evaluation_id"""

LABEL_ACCURACY = """
SELECT e.evaluation_id, e.evaluated_at, e.data, e.model, e.taxonomy_version, f.attribute, f.label, f.support,
       f.predicted, f.precision, f.recall, f.f1, e.run_id
FROM evaluations e JOIN evaluation_labels f ON f.evaluation_id = e.evaluation_id"""

SLICE_ACCURACY = """
SELECT e.evaluation_id, e.evaluated_at, e.data, e.model, e.taxonomy_version, f.attribute, f.slice, f.value,
       f.n, f.accuracy, f.ci_low, f.ci_high, e.run_id
FROM evaluations e JOIN evaluation_slices f ON f.evaluation_id = e.evaluation_id"""

CLOSE_WATCH_HISTORY = """
SELECT w.close_watch_id, w.retraining_id, m.version AS champion, o.version AS replaced, t.attribute,
       w.begun_at, w.ends_at, w.looked_at, w.n, w.losses, w.gains, w.e_value, w.outcome, w.told, w.finished_at
FROM close_watches w
JOIN retrainings t ON t.retraining_id = w.retraining_id
JOIN model_versions m ON m.model_version_id = w.champion_id
JOIN model_versions o ON o.model_version_id = w.replaced_id"""

VIEWS = {
    "catalog_labels": CATALOG_LABELS,
    "label_candidates": LABEL_CANDIDATES,
    "label_counts": LABEL_COUNTS,
    "label_history": LABEL_HISTORY,
    "quarantined_images": QUARANTINED_IMAGES,
    "model_history": MODEL_HISTORY,
    "retraining_history": RETRAINING_HISTORY,
    "close_watch_history": CLOSE_WATCH_HISTORY,
    "run_history": RUN_HISTORY,
    "photo_truths": PHOTO_TRUTHS,
    "truth_verdicts": TRUTH_VERDICTS,
    "review_queue": REVIEW_QUEUE,
    "evaluation_history": EVALUATION_HISTORY,
    "label_accuracy": LABEL_ACCURACY,
    "slice_accuracy": SLICE_ACCURACY,
    "accuracy_history": ACCURACY_HISTORY,
    "drop_history": DROP_HISTORY,
    "estimate_history": ESTIMATE_HISTORY,
    "drift_history": DRIFT_HISTORY,
}
