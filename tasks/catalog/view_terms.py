"""What several views say in the same words."""

from tasks.catalog.tables import SCORE_SCALE


def score(column: str) -> str:
    """A stored score as a double: PostgreSQL would make a decimal of a plain quotient."""
    return f"CAST({column} AS DOUBLE PRECISION) / {SCORE_SCALE}"


# See fashion_clip.scoring.Decision.
DECISION = "CASE l.decision WHEN 0 THEN 'uncalibrated' WHEN 1 THEN 'accepted' ELSE 'review' END"
