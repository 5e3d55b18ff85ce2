"""A promotion in the Prefect UI: which labels it changed, and how to go back."""

from tasks.catalog.label_changes import Changes
from tasks.summary import cell


def markdown(before: str, now: str, why: str, changes: Changes) -> str:
    """The artifact's text.

    Args:
        before, now: model versions.
        why: a sentence.
    """
    parts = [
        f"# `{now}` is served",
        f"It replaces `{before}`: {cell(why)}. Go back: `fashion-clip models rollback`.",
        _shares(changes),
        _most(changes),
    ]
    return "\n\n".join(part for part in parts if part)


def _shares(changes: Changes) -> str:
    rows = [
        f"| {cell(attribute)} | {share:.1%} |"
        for attribute, share in sorted(changes.shares.items(), key=lambda item: -item[1])
    ]
    table = "\n".join(["| attribute | pictures with another label |", "|---|---:|", *rows])
    return f"## What changed label\n\nOf {changes.pictures:,} pictures looked at:\n\n{table}"


def _most(changes: Changes) -> str:
    if not changes.most:
        return ""
    rows = ["| attribute | before | now | pictures |", "|---|---|---|---:|"]
    rows += [
        f"| {cell(one.attribute)} | {cell(one.before)} | {cell(one.after)} | {one.pictures:,} |"
        for one in changes.most
    ]
    return "\n".join(rows)
