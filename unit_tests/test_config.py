"""The configuration: the form, and the sentence for each wrong value."""

from datetime import datetime, timezone
from typing import Any

import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.config import LIVE_ENDPOINT, ListrakConfig

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
MINIMAL = {"username": "me", "password": "secret-value"}


def parse(**values: Any) -> ListrakConfig:
    return ListrakConfig.parse({**MINIMAL, **values})


def test_given_only_credentials_then_everything_else_has_a_default() -> None:
    config = parse()
    assert (config.time_zone, config.num_workers, config.endpoint) == (
        "America/New_York",
        10,
        LIVE_ENDPOINT,
    )
    assert config.since(NOW) == datetime(2025, 3, 1, 12, tzinfo=timezone.utc)


def test_given_unknown_and_null_fields_then_they_are_tolerated() -> None:
    assert parse(somebody_elses=1, start_date=None, list_ids=None).list_ids is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", 7),
        ("password", ""),
        ("password", 12345),
        ("password", "nul\x00"),
        ("start_date", "yesterday"),
        ("start_date", "2024-02-30"),
        ("start_date", "2024-01-01T00:00:00"),
        ("start_date", "0024-01-01"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../etc/passwd"),
        ("list_ids", "12"),
        ("list_ids", ["12"]),
        ("list_ids", [0]),
        ("include_test_messages", "yes"),
        ("lookback_days", 31),
        ("lookback_days", -1),
        ("refresh_days", 366),
        ("num_workers", 0),
        ("num_workers", 41),
        ("num_workers", "10"),
        ("num_workers", True),
        ("max_requests_per_second", 0),
        ("recheck_after_days", 0),
        ("recheck_every_days", 0),
        ("endpoint", "http://webservices.listrak.com/"),
        ("endpoint", "ftp://127.0.0.1/"),
        ("endpoint", "https://user:pw@example.com/"),
        ("endpoint", "http://127.0.0.1.example.com/"),
        ("endpoint", "nonsense"),
    ],
)
def test_given_a_wrong_value_then_the_field_is_named_and_the_value_is_not(
    field: str, value: Any
) -> None:
    with pytest.raises(AirbyteTracedException) as caught:
        parse(**{field: value})
    assert caught.value.failure_type is FailureType.config_error
    message = str(caught.value.message)
    assert f"'{field}" in message
    if isinstance(value, str) and len(value) > 3:
        assert value not in message


def test_given_missing_credentials_then_each_is_named() -> None:
    with pytest.raises(AirbyteTracedException) as caught:
        ListrakConfig.parse({})
    assert "'username' is missing" in str(caught.value.message)
    assert "'password' is missing" in str(caught.value.message)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://localhost"])
def test_given_this_machine_itself_then_plain_http_is_accepted(url: str) -> None:
    assert parse(endpoint=url).endpoint == url


@pytest.mark.parametrize(
    ("start", "zone", "expected"),
    [
        ("2024-01-01", "America/New_York", "2024-01-01T05:00:00"),
        ("2024-07-01", "America/New_York", "2024-07-01T04:00:00"),
        ("2024-07-01", "UTC", "2024-07-01T00:00:00"),
        ("2024-07-01T12:00:00Z", "America/New_York", "2024-07-01T12:00:00"),
        ("2024-07-01t12:00:00.5+02:00", "America/New_York", "2024-07-01T10:00:00.500000"),
        # Midnight does not exist in Santiago on this day: the clock goes from 23:59 to 01:00.
        ("2024-09-08", "America/Santiago", "2024-09-08T03:00:00"),
    ],
)
def test_start_dates_are_days_of_the_account_or_instants(
    start: str, zone: str, expected: str
) -> None:
    since = parse(start_date=start, time_zone=zone).since(NOW)
    assert since == datetime.fromisoformat(expected).replace(tzinfo=timezone.utc)


def test_given_a_start_date_in_the_future_then_it_is_a_config_error() -> None:
    with pytest.raises(AirbyteTracedException, match="start_date"):
        parse(start_date="2026-03-03").since(NOW)


def test_the_form_has_no_unions_and_marks_the_password() -> None:
    schema = ListrakConfig.connection_specification()
    properties = schema["properties"]
    assert schema["required"] == ["username", "password"]
    assert properties["password"]["airbyte_secret"] is True
    assert [field["order"] for field in properties.values()] == list(range(len(properties)))
    assert next(reversed(properties)) == "endpoint"
    for name, field in properties.items():
        assert isinstance(field["type"], str), name
        assert field["title"], name
        assert field["description"], name
        assert not {"anyOf", "oneOf"} & field.keys(), name
        if "pattern" in field:
            assert field["pattern_descriptor"], name


def test_the_password_is_not_in_the_models_repr() -> None:
    assert "secret-value" not in repr(parse())
