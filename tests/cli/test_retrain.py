"""`fashion-clip retrain` and `models`: what users see from a fall in accuracy to a better model and back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.catalogue_fixtures import DEMO_PHOTOS, Misled, contents_of, put_photos, rows
from tests.cli.conftest import Finished

Run = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("prefect_api")


def test_from_a_proof_to_an_approval_and_back(misled: Misled, run: Run) -> None:
    served = "SELECT uri, label FROM catalog_labels ORDER BY uri"
    before = rows(misled.engine, served)
    ended = run("retrain", "--rung", "head", "--reason", "bags are shirts")
    assert ended.code == 0, ended.err
    assert "head: better: the accuracy of articleType rises from" in ended.out
    assert "waits for a person: fashion-clip models approve" in ended.out
    assert rows(misled.engine, served) == before
    listed = run("models", "list")
    assert listed.code == 0
    assert [line.split()[1] for line in listed.out.splitlines()[1:]] == ["challenger", "champion"]
    [challenger, champion] = [one["version"] for one in json.loads(run("models", "list", "--json").out)]
    approved = run("models", "approve", challenger, "--reason", "looked at it")
    assert approved.code == 0, approved.err
    assert f"model {challenger} is served; 300 pictures were labelled" in approved.out
    after = rows(misled.engine, served)
    assert after != before
    shown = run("models", "show", challenger[-6:]).out
    assert "approved" in shown
    assert "looked at it" in shown
    back = run("models", "rollback")
    assert back.code == 0, back.err
    assert f"model {champion} is served; 0 pictures were labelled" in back.out
    assert rows(misled.engine, served) == before
    assert run("models", "promote", challenger).code == 0
    assert rows(misled.engine, served) == after
    assert f"model {challenger} is served already" in run("models", "promote", challenger).out
    history = rows(misled.engine, "SELECT outcome, reason FROM retraining_history")
    assert history == [("promoted", "bags are shirts")]


def test_yes_asks_nobody_and_json_tells_all(misled: Misled, run: Run) -> None:
    ended = run("retrain", "--rung", "head", "--yes", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["outcome"], [gate["rung"] for gate in found["gates"]]) == ("promoted", ["head"])
    gain = found["gates"][0]["checks"][0]
    assert (gain["kind"], gain["attribute"], gain["passed"]) == ("gain", "articleType", True)
    assert rows(misled.engine, "SELECT version FROM model_history WHERE role = 'champion'") == [
        (found["challenger"],)
    ]


def test_a_rejected_challenger_stays_out(misled: Misled, run: Run) -> None:
    assert run("retrain", "--rung", "head").code == 0
    challenger = json.loads(run("models", "list", "--json").out)[0]["version"]
    ended = run("models", "reject", challenger, "--reason", "not now")
    assert ended.code == 0
    assert f"model {challenger} is rejected; the champion is served on" in ended.out
    again = run("models", "approve", challenger)
    assert again.code == 2
    assert "was rejected by" in again.err
    assert "a decision stays" in again.err
    assert run("retrain", "--rung", "head", "--dry-run").code == 0


def test_a_folder_is_registered_and_promoted(misled: Misled, run: Run, other_model: Path) -> None:
    ended = run("models", "promote", other_model)
    assert ended.code == 0, ended.err
    [(version, rung, checkpoint)] = rows(
        misled.engine, "SELECT version, rung, checkpoint FROM model_history WHERE role = 'champion'"
    )
    assert (rung, checkpoint) == ("trained", f"registry:{version}")
    assert rows(misled.engine, "SELECT COUNT(*) FROM catalog_labels") == [(300,)]


def test_embeddings_are_made_anew_where_they_have_changed(
    misled: Misled, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library gives other vectors of late: a night refuses to mix them and names the command."""
    from fashion_clip.encoder import ClipEncoder

    more = misled.models.parent / "more"
    put_photos(more, 0, 1)
    (more / "first.png").write_bytes(DEMO_PHOTOS[1].read_bytes() + b"?")
    assert run("tag", more).code == 0
    served = "SELECT uri, label FROM catalog_labels ORDER BY uri"
    before = rows(misled.engine, served)

    plain = ClipEncoder.encode_pixels
    monkeypatch.setattr(
        ClipEncoder, "encode_pixels", lambda self, pixels: plain(self, pixels)[:, ::-1].copy()
    )
    (more / "new.png").write_bytes(DEMO_PHOTOS[1].read_bytes() + b"!")
    drifted = run("tag", more)
    assert drifted.code == 1
    assert "fashion-clip models reembed" in drifted.err
    ended = run("models", "reembed")
    assert ended.code == 0, ended.err
    [(version, rung)] = rows(misled.engine, "SELECT version, rung FROM model_history WHERE role = 'champion'")
    assert rung == "reembed"
    assert f"model {version} is served; 301 pictures were labelled" in ended.out
    assert rows(misled.engine, served) != before  # of vectors turned round
    assert run("tag", more).code == 0
    kinds = rows(misled.engine, "SELECT COUNT(*) FROM embeddings GROUP BY encoder_id ORDER BY 1")
    assert kinds == [(301,), (302,)]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("retrain", "--rung", "best"), "rung 'best': expected one of auto, calibrate, head, lora, full"),
        (("retrain", "--attribute", "mood"), "'mood' is no attribute of what is served"),
        (
            ("models", "promote", "nobody"),
            "'nobody': no such model is registered; see fashion-clip",
        ),
        (("models", "promote", "./nowhere"), "no such folder"),
        (("models", "show", "nobody"), "no such model is registered"),
        (("models", "approve", "fashion-mnist"), "passed no gate, so there is nothing to decide"),
        (("models", "rollback"), "there is no former model to go back to"),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    misled: Misled, run: Run, arguments: tuple[str, ...], error: str
) -> None:
    before = contents_of(misled.engine)
    ended = run(*arguments)
    assert ended.code == 2
    assert error in ended.err
    assert len(ended.err.splitlines()) == 1
    assert contents_of(misled.engine) == before


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("arguments", [("retrain",), ("models", "rollback"), ("models", "promote", "x")])
def test_an_empty_catalogue_says_what_to_do(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
