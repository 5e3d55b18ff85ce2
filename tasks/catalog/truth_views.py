"""The views about truth: what is true of a photo, what the model said of it then, what waits for a person.

See `views.py` for how views are written.
"""

from tasks.catalog.view_terms import DECISION, score


def _earlier(photo_id: str, at: str) -> str:
    """The shard that bound what a photo showed at a time, as a value, of pictures that it shows no more.

    It is the last one by then: what a photo showed before it vanished is what was seen of it. Before the
    first, it is the first one: truth that was known beforehand is about the picture that came.
    """
    committed_at = "(SELECT z.committed_at FROM shards z WHERE z.shard_id = x.shard_id)"
    return f"""COALESCE(
    (SELECT MAX(x.shard_id) FROM photo_past_contents x
     WHERE x.photo_id = {photo_id} AND {committed_at} <= {at}),
    (SELECT MIN(x.shard_id) FROM photo_past_contents x WHERE x.photo_id = {photo_id}))"""


def shard_shown(photo_id: str, at: str) -> str:
    """The shard that bound what a photo showed at a time, as a value; NULL where there is no such photo."""
    committed_at = "(SELECT k.committed_at FROM shards k WHERE k.shard_id = w.shard_id)"
    earlier = f"CASE WHEN {committed_at} > {at} THEN {_earlier('w.photo_id', at)} END"
    return f"(SELECT COALESCE({earlier}, w.shard_id) FROM photos w WHERE w.photo_id = {photo_id})"


# A photo that was drawn tells of the others whoever asked for its truth, also if that came before the draw;
# but only as the run saw it that drew it.
# Of two draws the likelier one counts: a census, of which an audit drew a few, has no photo that stands for
# others.
_TRUTH = """
SELECT p.uri, p.product_id, a.name AS attribute, n.name AS truth,
       CASE WHEN u.photo_id IS NULL THEN t.chosen ELSE 'random' END AS chosen,
       CASE WHEN u.inclusion_probability >= COALESCE(t.inclusion_probability, 0)
            THEN u.inclusion_probability ELSE t.inclusion_probability END AS inclusion_probability,
       t.given_by, t.given_at, t.truth_id, p.photo_id, t.attribute_id, t.label_id"""

_NAMES_AND_DRAW = """
LEFT JOIN audit_samples u ON u.photo_id = p.photo_id AND u.run_id = h.run_id
LEFT JOIN attributes a ON a.attribute_id = t.attribute_id
LEFT JOIN label_names n ON n.label_id = t.label_id"""

_NEWEST = """NOT EXISTS (
    SELECT 1 FROM truths o
    WHERE o.product_id = t.product_id AND o.photo_id = t.photo_id AND o.attribute_id = t.attribute_id
      AND (o.given_at, o.truth_id) > (t.given_at, t.truth_id))"""

# The picture that the photo showed then, if it shows another by now. CASE: few have ever shown another.
_THEN = f"""
LEFT JOIN shards k ON k.shard_id = p.shard_id
LEFT JOIN photo_past_contents q ON q.photo_id = p.photo_id AND q.shard_id =
    CASE WHEN k.committed_at > t.given_at THEN {_earlier("p.photo_id", "t.given_at")} END"""

# What counts as true of a photo: what was said last of it, and of the picture that it showed then; else what
# was said last of its product, whatever the picture. content_id, shard_id: that picture, and who bound it.
PHOTO_TRUTHS = f"""{_TRUTH},
       COALESCE(q.content_id, p.content_id) AS content_id, COALESCE(q.shard_id, p.shard_id) AS shard_id
FROM truths t JOIN photos p ON p.photo_id = t.photo_id {_THEN}
LEFT JOIN shards h ON h.shard_id = COALESCE(q.shard_id, p.shard_id) {_NAMES_AND_DRAW}
WHERE t.product_id = '' AND t.photo_id <> 0 AND {_NEWEST}
UNION ALL {_TRUTH}, p.content_id, p.shard_id
FROM truths t JOIN photos p ON p.product_id = t.product_id
LEFT JOIN shards h ON h.shard_id = p.shard_id {_NAMES_AND_DRAW}
WHERE t.photo_id = 0 AND {_NEWEST} AND NOT EXISTS (
    SELECT 1 FROM truths o
    WHERE o.product_id = '' AND o.photo_id = p.photo_id AND o.attribute_id = t.attribute_id)"""

# Truth tells of the model that was at work when it was given, and of the picture that the photo showed then,
# also truth of a product. If the photo came later than its truth, of its first label.
TRUTH_VERDICTS = f"""
SELECT t.uri, t.product_id, t.attribute, t.truth, n.name AS label,
       CASE WHEN l.label_1 = t.label_id THEN 1 ELSE 0 END AS correct,
       {score("l.similarity_1")} AS similarity, {score("l.confidence_1")} AS confidence,
       {DECISION} AS decision, m.version AS model_version, x.version AS taxonomy_version,
       t.chosen, t.inclusion_probability, t.given_by, t.given_at
FROM photo_truths t
JOIN photos p ON p.photo_id = t.photo_id {_THEN}
JOIN shards h ON h.shard_id = COALESCE(q.shard_id, p.shard_id)
JOIN served_log g ON g.served_log_id = (
    SELECT MIN(o.served_log_id) FROM served_log o
    WHERE o.served_to IS NULL
       OR o.served_to > CASE WHEN t.given_at > h.committed_at THEN t.given_at ELSE h.committed_at END)
JOIN labels l ON l.label_set_id = g.label_set_id AND l.content_id = COALESCE(q.content_id, p.content_id)
             AND l.attribute_id = t.attribute_id
LEFT JOIN label_sets s ON s.label_set_id = g.label_set_id
LEFT JOIN model_versions m ON m.model_version_id = s.model_version_id
LEFT JOIN taxonomies x ON x.taxonomy_id = s.taxonomy_id
LEFT JOIN label_names n ON n.label_id = l.label_1"""

# Truth of a picture that the photo shows no more tells nothing of the one that it shows now, which shard h
# bound. Truth that is older than all it ever showed is about the first.
_OF_THIS_PICTURE = """({alias}.given_at >= h.committed_at
    OR NOT EXISTS (SELECT 1 FROM photo_past_contents x WHERE x.photo_id = p.photo_id))"""

_UNTOLD = f"""
NOT EXISTS (SELECT 1 FROM truths t WHERE t.product_id = '' AND t.photo_id = p.photo_id
                                     AND t.attribute_id = l.attribute_id
                                     AND {_OF_THIS_PICTURE.format(alias="t")})
AND NOT EXISTS (SELECT 1 FROM truths t WHERE t.product_id = p.product_id AND t.photo_id = 0
                                         AND t.attribute_id = l.attribute_id)"""

_LAST_OF_GIVER = """NOT EXISTS (
    SELECT 1 FROM truths z
    WHERE z.product_id = y.product_id AND z.photo_id = y.photo_id AND z.attribute_id = y.attribute_id
      AND z.given_by = y.given_by AND z.given_at > y.given_at)"""

_ANOTHER_SAYS = f"""EXISTS (
    SELECT 1 FROM truths y
    WHERE y.product_id = o.product_id AND y.photo_id = o.photo_id AND y.attribute_id = o.attribute_id
      AND y.given_by <> o.given_by AND COALESCE(y.label_id, 0) {{is_it}} COALESCE(o.label_id, 0)
      AND {_LAST_OF_GIVER}
      AND (y.photo_id = 0 OR {_OF_THIS_PICTURE.format(alias="y")}))"""

# What counts is what somebody said alone, against what others said last. One who agrees settles it.
_DISPUTED = f"""{_ANOTHER_SAYS.format(is_it="<>")} AND NOT {_ANOTHER_SAYS.format(is_it="=")}"""

_QUEUED = f"""
SELECT p.uri, p.product_id, a.name AS attribute, n.name AS label, {score("l.confidence_1")} AS confidence,
       {{reason}} AS reason, {{probability}} AS inclusion_probability"""

_NAMES = """
LEFT JOIN attributes a ON a.attribute_id = l.attribute_id
LEFT JOIN label_names n ON n.label_id = l.label_1"""

# As a value: of a join SQLite does not know that it has one row, and begins with the labels of all sets.
_SERVED = "l.label_set_id = (SELECT label_set_id FROM served_label_set)"

# A draw is of what the run saw: it ends with the picture.
_DRAWN = "u.photo_id = p.photo_id AND u.run_id = h.run_id"

# Three ways into the queue, each from the side that has fewest rows: photos that were drawn (CROSS JOIN holds
# SQLite to it), labels that the model leaves to people, and truth. Only the second looks at all labels.
REVIEW_QUEUE = f"""
{_QUEUED.format(reason="'audit'", probability="u.inclusion_probability")}
FROM audit_samples u CROSS JOIN photos p CROSS JOIN shards h CROSS JOIN labels l {_NAMES}
WHERE {_DRAWN} AND h.shard_id = p.shard_id AND p.vanished_at IS NULL
  AND l.content_id = p.content_id AND {_SERVED} AND {_UNTOLD}
UNION ALL
{
    _QUEUED.format(
        reason="CASE l.decision WHEN 4 THEN 'conflict' WHEN 3 THEN 'unknown' ELSE 'uncertain' END",
        probability="NULL",
    )
}
FROM labels l
JOIN photos p ON p.content_id = l.content_id AND p.vanished_at IS NULL
LEFT JOIN shards h ON h.shard_id = p.shard_id {_NAMES}
WHERE {_SERVED} AND l.decision >= 2
  AND NOT EXISTS (SELECT 1 FROM audit_samples u WHERE {_DRAWN}) AND {_UNTOLD}
UNION ALL
{_QUEUED.format(reason="'conflict'", probability="t.inclusion_probability")}
FROM photo_truths t
JOIN truths o ON o.truth_id = t.truth_id
JOIN photos p ON p.photo_id = t.photo_id AND p.vanished_at IS NULL AND p.shard_id = t.shard_id
LEFT JOIN shards h ON h.shard_id = p.shard_id
JOIN labels l ON l.content_id = p.content_id AND l.attribute_id = t.attribute_id AND {_SERVED} {_NAMES}
WHERE {_DISPUTED}"""
