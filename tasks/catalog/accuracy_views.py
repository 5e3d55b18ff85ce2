"""The views about accuracy over time: looks, drops, guesses without truth, drift. See `views.py`."""

# The last estimate that there was when the check was made.
ACCURACY_HISTORY = """
SELECT c.checked_at, m.version AS model_version, x.version AS taxonomy_version, a.name AS attribute,
       r.n, r.accuracy, r.ci_low, r.ci_high, r.baseline, r.e_value, r.status,
       (SELECT e.estimated_accuracy FROM run_estimates e
        WHERE e.attribute_id = r.attribute_id AND e.label_set_id = c.label_set_id
          AND e.run_id = (SELECT MAX(i.run_id) FROM run_estimates i
                          WHERE i.run_id <= c.run_id AND i.label_set_id = c.label_set_id
                            AND i.attribute_id = r.attribute_id)) AS estimated_accuracy,
       r.counted, r.hits, r.baseline_n, c.run_id, c.check_id
FROM accuracy_checks c
JOIN accuracy_readings r ON r.check_id = c.check_id
JOIN label_sets s ON s.label_set_id = c.label_set_id
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
LEFT JOIN taxonomies x ON x.taxonomy_id = s.taxonomy_id
LEFT JOIN attributes a ON a.attribute_id = r.attribute_id"""

DROP_HISTORY = """
SELECT d.drop_id, d.found_at, m.version AS model_version, a.name AS attribute, d.kind, d.truths, d.reason,
       d.check_id, t.retraining_id, t.started_at AS answered_at, t.outcome
FROM accuracy_drops d
JOIN label_sets s ON s.label_set_id = d.label_set_id
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
LEFT JOIN attributes a ON a.attribute_id = d.attribute_id
LEFT JOIN retrainings t ON t.drop_id = d.drop_id"""

# error: how much too high the guess was, once truth of the run's photos has come that was drawn at random.
ESTIMATE_HISTORY = """
SELECT e.run_id, u.started_at, m.version AS model_version, a.name AS attribute, e.photos,
       e.estimated_accuracy, t.truths, t.accuracy, e.estimated_accuracy - t.accuracy AS error
FROM run_estimates e
JOIN runs u ON u.run_id = e.run_id
JOIN label_sets s ON s.label_set_id = e.label_set_id
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
LEFT JOIN attributes a ON a.attribute_id = e.attribute_id
LEFT JOIN (SELECT i.run_id, i.attribute_id, COUNT(*) AS truths,
                  AVG(CASE WHEN l.label_1 = p.label_id THEN 1.0 ELSE 0.0 END) AS accuracy
           FROM run_estimates i JOIN audit_samples d ON d.run_id = i.run_id
           JOIN photo_truths p ON p.photo_id = d.photo_id AND p.attribute_id = i.attribute_id
           JOIN shards h ON h.shard_id = p.shard_id AND h.run_id = d.run_id
           JOIN labels l ON l.label_set_id = i.label_set_id AND l.content_id = p.content_id
                        AND l.attribute_id = p.attribute_id
           GROUP BY i.run_id, i.attribute_id) t
  ON t.run_id = e.run_id AND t.attribute_id = e.attribute_id"""

DRIFT_HISTORY = """
SELECT d.run_id, u.started_at, m.version AS model_version, d.kind, d.photos, d.statistic, d.p_value,
       d.e_value, d.drifted
FROM run_drifts d
JOIN runs u ON u.run_id = d.run_id
JOIN label_sets s ON s.label_set_id = d.label_set_id
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id"""
