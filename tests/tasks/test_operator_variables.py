"""What an operator turns in Prefect's UI comes before the settings; without a server the settings stand."""

from collections.abc import Callable, Iterator

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.variables import Variable

from fashion_clip.errors import UsageError
from tasks import operator_variables
from tasks.operator_variables import APPROVAL, AUDIT_PHOTOS

pytestmark = pytest.mark.usefixtures("clean_environment")


@flow
def asked() -> tuple[object, object]:
    """What a run is told."""
    return operator_variables.approval(), operator_variables.audit_photos()


@pytest.fixture
def turn(prefect_api: str) -> Iterator[Callable[[str, object], None]]:
    """Sets a variable, which is gone after the test."""
    turned: list[str] = []

    def set_to(name: str, value: object) -> None:
        Variable.set(name, value, overwrite=True)  # type: ignore[arg-type]
        turned.append(name)

    yield set_to
    for name in turned:
        Variable.unset(name)


def test_without_a_run_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address leads nowhere: asking it would fail."""
    monkeypatch.setenv("FASHION_CLIP_APPROVAL", "automatic")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        assert (operator_variables.approval(), operator_variables.audit_photos()) == ("automatic", 20)


def test_a_variable_comes_before_the_setting(
    turn: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_CLIP_AUDIT_PHOTOS", "7")
    assert asked() == ("ask", 7)
    turn(APPROVAL, "automatic")
    turn(AUDIT_PHOTOS, 0)
    assert asked() == ("automatic", 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [(APPROVAL, "yes"), (APPROVAL, True), (AUDIT_PHOTOS, "20"), (AUDIT_PHOTOS, -1), (AUDIT_PHOTOS, True),
     (AUDIT_PHOTOS, 2.5), (AUDIT_PHOTOS, [20])],
)  # fmt: skip
def test_a_value_that_cannot_be_names_the_variable(
    turn: Callable[[str, object], None], name: str, value: object
) -> None:
    turn(name, value)
    with pytest.raises(UsageError, match=f"the Prefect variable {name} is .*: expected"):
        asked()


def test_a_server_that_is_away_fails_no_run_and_approves_nothing(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(sync_client: bool) -> SyncPrefectClient:
        """The flow's own client would be taken otherwise, which knows its server."""
        assert sync_client
        return SyncPrefectClient("http://127.0.0.1:1/api")

    @flow
    def cut_off() -> tuple[int, str]:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            return operator_variables.audit_photos(), operator_variables.approval()

    monkeypatch.setenv("FASHION_CLIP_APPROVAL", "automatic")
    monkeypatch.setattr(operator_variables, "get_client", nowhere)
    assert cut_off() == (20, "ask")
