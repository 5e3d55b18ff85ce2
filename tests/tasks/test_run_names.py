"""Run names tell what a run does, and bear any text."""

import pytest

from tasks.run_names import LONGEST, plain


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///data/photos/", "photos"),
        ("s3://bucket/new season/2026", "2026"),
        ("s3://bucket", "bucket"),
        ("a\nb <script>`x`", "a-b-script-x"),
        ("/", "photos"),
        ("", "photos"),
        ("x" * 500, "x" * LONGEST),
    ],
)
def test_the_last_part_of_an_address_in_letters_and_digits(uri: str, name: str) -> None:
    assert plain(uri) == name
