"""Events come back from the history as they went in, every kind of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clento_engine.domain.execution import Event
from clento_engine.domain.failure import Failure
from clento_engine.domain.history import recalled, recorded

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
st.register_type_strategy(str, texts)
st.register_type_strategy(timedelta, st.timedeltas(timedelta(0), timedelta(days=10_000)))
st.register_type_strategy(
    datetime,
    st.datetimes(
        datetime(2000, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
        datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
)


def there_and_back(event: Event) -> Event:
    kind, detail = recorded(event)
    kept: dict[str, Any] = json.loads(json.dumps(detail))  # as PostgreSQL keeps it
    return recalled(kind, kept)


@pytest.mark.parametrize("kind", get_args(Event))
@given(data=st.data())
def test_every_event_is_recalled_as_it_was_recorded(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(st.from_type(kind))
    assert there_and_back(event) == event


@pytest.mark.parametrize("kind", get_args(Failure))
@given(data=st.data())
def test_every_failure_is_recalled_as_it_was_recorded(
    kind: type[Failure], data: st.DataObject
) -> None:
    failed = next(event for event in get_args(Event) if event.__name__ == "Failed")
    event = failed(data.draw(st.from_type(kind)))
    assert there_and_back(event) == event
    assert type(there_and_back(event).cause) is kind  # type: ignore[union-attr]


def test_what_is_no_event_is_not_recalled() -> None:
    with pytest.raises(KeyError):
        recalled("CampaignStarted", {})
