"""The options: the form, and the sentence for each wrong value."""

import errno
import os
import re
from collections import UserDict
from datetime import datetime, timezone
from typing import Any

import jsonschema
import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.config import LIVE_ENDPOINT, ListrakConfig
from unit_tests.clock import NOW

MINIMAL = {"username": "me", "password": "secret-value"}
INSTANT = "2024-07-01t12:00:00.5+02:00"

SPECIFICATION = ListrakConfig.connection_specification()
PROPERTIES: dict[str, dict[str, Any]] = SPECIFICATION["properties"]


def parse(**values: Any) -> ListrakConfig:
    return ListrakConfig.parse({**MINIMAL, **values})


def error_of(values: object) -> str:
    with pytest.raises(AirbyteTracedException) as caught:
        ListrakConfig.parse(values)
    assert caught.value.failure_type is FailureType.config_error
    assert caught.value.__context__ is None  # it would bring the values into the stack trace
    return str(caught.value.message)


def accepts(values: dict[str, Any], *, formats: bool) -> bool:
    checker = jsonschema.Draft7Validator.FORMAT_CHECKER if formats else None
    validator = jsonschema.Draft7Validator(SPECIFICATION, format_checker=checker)
    return validator.is_valid({**MINIMAL, **values})


# Values


def test_all_but_the_credentials_has_a_default() -> None:
    assert parse().model_dump() == {
        **MINIMAL,
        "start_date": None,
        "list_ids": None,
        "include_test_messages": True,
        "keep_repeated_events": False,
        "lookback_days": 7,
        "skip_inactive_messages": True,
        "time_zone": "America/New_York",
        "num_workers": 10,
        "max_requests_per_second": None,
        "endpoint": LIVE_ENDPOINT,
    }


def test_unknown_fields_and_removed_options_are_ignored() -> None:
    removed = {"refresh_days": 30, "recheck_after_days": "x", "recheck_every_days": None}
    assert parse(_airbyte=1, **removed) == parse()


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("field", [name for name in PROPERTIES if name not in MINIMAL])
def test_null_and_the_empty_string_leave_an_option_unset(field: str, empty: Any) -> None:
    assert parse(**{field: empty}) == parse()


def test_an_empty_list_of_ids_means_all_lists() -> None:
    assert parse(list_ids=[]).list_ids is None


@pytest.mark.parametrize("empty", [None, ""])
def test_null_and_the_empty_string_are_missing_credentials(empty: Any) -> None:
    assert error_of({"username": empty, "password": empty}) == error_of({})


def test_each_missing_field_is_named() -> None:
    assert error_of({}) == (
        "The configuration field 'username' is missing. "
        "The configuration field 'password' is missing."
    )


def test_whole_numbers_with_a_decimal_point_are_integers() -> None:
    config = parse(lookback_days=3.0, num_workers=40.0, list_ids=[12.0, 7])
    values = (config.lookback_days, config.num_workers, *(config.list_ids or ()))
    assert values == (3, 40, 12, 7)
    assert all(type(value) is int for value in values)


def test_space_is_stripped_from_the_user_name_only() -> None:
    config = parse(username="\u00a0 me@example.com\r\n", password=" secret ")
    assert (config.username, config.password) == ("me@example.com", " secret ")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"start_dat": "x"}, "unknown fields: start_dat."),
        ({"TimeZone": "UTC"}, "unknown fields: TimeZone."),
        ({"refresh_days": 30, "list_id": [1]}, "unknown fields: refresh_days, list_id."),
    ],
)
def test_a_misspelled_field_is_named(values: dict[str, Any], sentence: str) -> None:
    assert ListrakConfig.warning({**MINIMAL, **values}) == f"The configuration contains {sentence}"


def test_known_fields_and_those_that_a_platform_adds_are_not_named() -> None:
    assert ListrakConfig.warning({**MINIMAL, **dict.fromkeys(PROPERTIES), "__platform": 1}) is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_exhausted_file_descriptors_are_no_wrong_time_zone(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_file(key: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("source_listrak.config.ZoneInfo", no_file)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        parse(time_zone="UTC")


def test_any_mapping_is_a_configuration() -> None:
    assert ListrakConfig.parse(UserDict(MINIMAL)) == parse()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", 7),
        ("username", "two\nlines"),
        ("username", " \t"),
        ("password", 12345),
        ("password", "nul\x00"),
        ("password", "my secret\n"),
        ("password", "\tmy secret"),
        ("password", "carriage\rreturn"),
        ("password", "delete\x7f"),
        ("password", "next line\x85"),
        ("password", "half\ud800"),
        ("start_date", "yesterday"),
        ("start_date", "2024-02-30"),
        ("start_date", "2024-01-01\n"),
        ("start_date", "2024-01-01T00:00:00"),
        ("start_date", "2024-01-01T24:00:00Z"),
        ("start_date", "2024-01-01T00:00:00+99:99"),
        ("start_date", "0024-01-01"),
        ("start_date", "0001-01-01T00:00:00+14:00"),
        ("start_date", "9999-12-31T23:59:59-14:00"),
        ("start_date", 20240101),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../etc/passwd"),
        ("time_zone", "Europe"),
        ("time_zone", "UTC\x00"),
        ("list_ids", "12"),
        ("list_ids", 12),
        ("list_ids", ["12"]),
        ("list_ids", [0]),
        ("list_ids", [True]),
        ("list_ids", [1.5]),
        ("include_test_messages", "yes"),
        ("include_test_messages", 1),
        ("keep_repeated_events", "true"),
        ("lookback_days", 0),
        ("lookback_days", 31),
        ("lookback_days", 1.5),
        ("lookback_days", True),
        ("skip_inactive_messages", 0.0),
        ("num_workers", 0),
        ("num_workers", 41),
        ("num_workers", "10"),
        ("num_workers", float("inf")),
        ("max_requests_per_second", 0),
        ("max_requests_per_second", True),
        ("max_requests_per_second", float("nan")),
        ("endpoint", "http://webservices.listrak.com/"),
        ("endpoint", "ftp://127.0.0.1/"),
        ("endpoint", "https://user:pw@example.com/"),
        ("endpoint", "http://127.0.0.1.example.com/"),
        ("endpoint", "https://example.com:port/"),
        ("endpoint", "https://example.com/#fragment"),
        ("endpoint", f"{LIVE_ENDPOINT}?wsdl"),
        ("endpoint", "nonsense"),
    ],
)
def test_the_field_of_a_wrong_value_is_named_without_the_value(field: str, value: Any) -> None:
    message = error_of({**MINIMAL, field: value})
    assert re.match(rf"The configuration field '{field}(\.0)?' is invalid: [a-z].*[^.]\.$", message)
    if isinstance(value, str) and len(value) > 3:
        assert value.strip() not in message


@pytest.mark.parametrize("values", [None, [], ["username"], "username", 7, True])
def test_a_configuration_that_is_not_an_object_is_a_config_error(values: object) -> None:
    assert error_of(values) == "The configuration is not a JSON object."


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://localhost"])
def test_plain_http_is_accepted_for_localhost(url: str) -> None:
    assert parse(endpoint=url).endpoint == url


def test_the_password_is_not_in_the_repr() -> None:
    assert "secret-value" not in repr(parse())


# The start date


@pytest.mark.parametrize(
    ("start", "zone", "expected"),
    [
        ("2024-01-01", "America/New_York", "2024-01-01T05:00:00"),
        ("2024-07-01", "America/New_York", "2024-07-01T04:00:00"),
        ("2024-07-01", "UTC", "2024-07-01T00:00:00"),
        ("2024-07-01T12:00:00Z", "America/New_York", "2024-07-01T12:00:00"),
        (INSTANT, "America/New_York", "2024-07-01T10:00:00.500000"),
        ("2024-07-01T12:00:00.123456789Z", "UTC", "2024-07-01T12:00:00.123456"),
        # Midnight does not exist in Santiago on this day: the clock goes from 23:59 to 01:00.
        ("2024-09-08", "America/Santiago", "2024-09-08T03:00:00"),
        # Midnight exists twice in Havana on this day.
        ("2024-11-03", "America/Havana", "2024-11-03T04:00:00"),
    ],
)
def test_a_start_date_is_a_day_of_the_account_or_an_instant(
    start: str, zone: str, expected: str
) -> None:
    since = parse(start_date=start, time_zone=zone).since(NOW)
    assert since == datetime.fromisoformat(expected).replace(tzinfo=timezone.utc)
    assert since.tzinfo is timezone.utc


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("2024-01-01\n", "it must be a date YYYY-MM-DD or an instant YYYY-MM-DDTHH:MM:SSZ"),
        ("2024-02-30", "there is no such date"),
        ("9999-12-31T23:59:59-14:00", "there is no such date"),
        ("1989-12-31", "it must not be before 1990"),
    ],
)
def test_an_invalid_start_date_is_explained(start: str, reason: str) -> None:
    assert error_of({**MINIMAL, "start_date": start}).endswith(f" is invalid: {reason}.")


def test_without_a_start_date_a_sync_reads_one_year() -> None:
    assert parse().since(NOW) == datetime(2025, 3, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize("start", ["2026-03-02", "2026-03-01T12:00:01Z", "9999-12-31"])
def test_a_start_date_in_the_future_is_a_config_error(start: str) -> None:
    with pytest.raises(AirbyteTracedException, match="'start_date' is invalid") as caught:
        parse(start_date=start).since(NOW)
    assert caught.value.failure_type is FailureType.config_error


# The form


def test_the_form_shows_the_fields_in_four_groups_in_order() -> None:
    groups = [group["id"] for group in SPECIFICATION["groups"]]
    assert all(group["title"] for group in SPECIFICATION["groups"])
    fields = {
        group: [name for name, field in PROPERTIES.items() if field["group"] == group]
        for group in groups
    }
    assert fields == {
        "account": ["username", "password"],
        "replicate": [
            "start_date",
            "list_ids",
            "include_test_messages",
            "keep_repeated_events",
            "time_zone",
        ],
        "incremental": ["lookback_days", "skip_inactive_messages"],
        "service": ["num_workers", "max_requests_per_second", "endpoint"],
    }
    assert [name for names in fields.values() for name in names] == list(PROPERTIES)
    assert [field["order"] for field in PROPERTIES.values()] == list(range(len(PROPERTIES)))


@pytest.mark.parametrize(
    ("mark", "fields"),
    [
        ("airbyte_secret", ["password"]),
        ("always_show", ["start_date", "list_ids", "time_zone"]),
        ("airbyte_hidden", ["endpoint"]),
    ],
)
def test_the_form_marks_secret_shown_and_hidden_fields(mark: str, fields: list[str]) -> None:
    assert [name for name, field in PROPERTIES.items() if field.get(mark)] == fields


def test_only_the_credentials_are_required() -> None:
    assert SPECIFICATION["required"] == ["username", "password"]


@pytest.mark.parametrize("name", PROPERTIES)
def test_each_field_has_words_and_a_single_type(name: str) -> None:
    field = PROPERTIES[name]
    assert isinstance(field["type"], str)
    assert field["title"]
    assert field["description"].endswith(".")
    assert not {"anyOf", "oneOf"} & field.keys()
    assert field.get("default", ...) is not None


def test_the_form_is_a_valid_schema_with_valid_defaults_and_examples() -> None:
    jsonschema.Draft7Validator.check_schema(SPECIFICATION)
    for name, field in PROPERTIES.items():
        samples = [field["default"]] if "default" in field else []
        for sample in samples + field.get("examples", []):
            assert accepts({name: sample}, formats=True)
            assert getattr(parse(**{name: sample}), name) == sample


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [("lookback_days", 1, 30), ("num_workers", 1, 40), ("max_requests_per_second", 0.01, 1000)],
)
def test_the_form_gives_the_bounds_of_numbers(field: str, lowest: float, highest: float) -> None:
    assert (PROPERTIES[field]["minimum"], PROPERTIES[field]["maximum"]) == (lowest, highest)
    for value in (lowest, highest):
        assert getattr(parse(**{field: value}), field) == value


def test_the_form_gives_the_bound_of_list_ids() -> None:
    assert PROPERTIES["list_ids"]["items"] == {"type": "integer", "minimum": 1}


def test_the_form_has_a_date_picker_for_the_start_date() -> None:
    assert PROPERTIES["start_date"]["format"] == "date"
    assert PROPERTIES["start_date"]["pattern_descriptor"] == "YYYY-MM-DD"
    assert accepts({"start_date": "2024-01-01"}, formats=True)
    assert not accepts({"start_date": "01/31/2024"}, formats=False)


@pytest.mark.parametrize("start", ["2024-01-01T00:00:00Z", INSTANT, ""])
def test_a_start_date_may_be_an_instant_or_empty(start: str) -> None:
    assert accepts({"start_date": start}, formats=False)


def test_the_time_zones_that_the_form_lists_exist() -> None:
    zones = re.findall(r"\b(?:[A-Z][a-z]+/\w+|UTC)\b", PROPERTIES["time_zone"]["description"])
    assert len(zones) >= 8
    for zone in zones:
        assert parse(time_zone=zone).zone.key == zone


def test_the_form_says_how_to_find_the_time_zone_and_what_stitch_did() -> None:
    description = PROPERTIES["time_zone"]["description"]
    for words in ("compare the SendDate", "Stitch, decide before the first sync"):
        assert words in description


def test_the_form_says_what_is_lost_without_repeated_events() -> None:
    description = PROPERTIES["keep_repeated_events"]["description"]
    for words in ("MsgID and EmailAddress", "Append + Deduped", "only one", "lost"):
        assert words in description
