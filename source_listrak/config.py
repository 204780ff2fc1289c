"""The connector's configuration: one pydantic model, from which the form is generated."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

LIVE_ENDPOINT = "https://webservices.listrak.com/v31/IntegrationService.asmx"
DEFAULT_HISTORY = timedelta(days=365)
"""How far back a sync without a `start_date` reads (the default of other Listrak integrations)."""
EARLIEST_YEAR = 1990
"""Older start dates are typing errors: there was no such service, and each year costs requests."""

_START_DATE = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
)
_ENDPOINT = r"^(https://|http://(localhost|127\.[0-9.]+|\[::1\])([:/]|$)).*$"
# XML 1.0 has no way to carry these, not even as references, so such a password can never log in.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def config_error(message: str) -> AirbyteTracedException:
    """Return the error that tells the person to mend the configuration."""
    return AirbyteTracedException(
        message=message, internal_message=message, failure_type=FailureType.config_error
    )


class ListrakConfig(BaseModel):
    """What a person fills in; unknown fields are tolerated, wrong values are named."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    username: Annotated[
        str,
        Field(
            title="User name",
            description="User name of a Listrak user with role-based access that includes "
            "Analytics Access and API Access, and that sees the lists to replicate.",
            min_length=1,
        ),
    ]
    password: Annotated[
        str,
        Field(
            title="Password",
            description="Password of that user.",
            min_length=1,
            repr=False,
            json_schema_extra={"airbyte_secret": True},
        ),
    ]
    start_date: Annotated[
        str | None,
        Field(
            title="Start date",
            description="Messages sent and contacts added since this day are replicated, as a "
            "date in the account's time zone (YYYY-MM-DD) or as an instant "
            "(YYYY-MM-DDTHH:MM:SSZ). Left empty: one year before the sync.",
            examples=["2024-01-01", "2024-01-01T00:00:00Z"],
            json_schema_extra={
                "pattern": _START_DATE,
                "pattern_descriptor": "YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ",
            },
        ),
    ] = None
    time_zone: Annotated[
        str,
        Field(
            title="Time zone of the account",
            description="IANA name of the zone in which Listrak writes its dates, which carry no "
            "offset. Listrak works in Eastern time; UTC gives the values that Stitch gives.",
            examples=["America/New_York", "UTC"],
        ),
    ] = "America/New_York"
    list_ids: Annotated[
        list[Annotated[int, Field(ge=1)]] | None,
        Field(
            title="List IDs",
            description="Only these contact lists. Left empty: all lists that the user sees.",
            examples=[[12345, 67890]],
        ),
    ] = None
    include_test_messages: Annotated[
        bool,
        Field(
            title="Include test messages",
            description="Whether messages sent as a test are replicated too.",
        ),
    ] = True
    lookback_days: Annotated[
        int,
        Field(
            title="Lookback (days)",
            description="An incremental sync reads this many days again before the end of the "
            "last one, for events that Listrak recorded late.",
            ge=0,
            le=30,
        ),
    ] = 1
    refresh_days: Annotated[
        int,
        Field(
            title="Refresh of messages (days)",
            description="The counters of a message (opens, clicks, revenue) keep changing: an "
            "incremental sync reads again the messages sent in this many days.",
            ge=0,
            le=365,
        ),
    ] = 30
    skip_inactive_messages: Annotated[
        bool,
        Field(
            title="Skip inactive messages",
            description="Whether messages whose counters say that there is nothing to read are "
            "not asked, and old messages are asked once in a cycle instead of on every sync.",
        ),
    ] = True
    recheck_after_days: Annotated[
        int,
        Field(
            title="Old messages: after (days)",
            description="A message sent longer ago than this is asked for new activity once in "
            "a cycle instead of on every incremental sync.",
            ge=1,
            le=3650,
        ),
    ] = 30
    recheck_every_days: Annotated[
        int,
        Field(
            title="Old messages: every (days)",
            description="Length of that cycle; 1 asks old messages on every sync too.",
            ge=1,
            le=90,
        ),
    ] = 7
    num_workers: Annotated[
        int,
        Field(
            title="Concurrent requests",
            description="How many requests are in flight at most.",
            ge=1,
            le=40,
        ),
    ] = 10
    max_requests_per_second: Annotated[
        float | None,
        Field(
            title="Requests per second",
            description="How many requests are sent in a second at most. Left empty: no limit "
            "but the service's own.",
            examples=[5],
            ge=0.01,
            le=1000,
        ),
    ] = None
    endpoint: Annotated[
        str,
        Field(
            title="Endpoint",
            description="URL of the Listrak SOAP service; another one than the live service is "
            "for tests and proxies only.",
            json_schema_extra={
                "pattern": _ENDPOINT,
                "pattern_descriptor": "https://host/path",
            },
        ),
    ] = LIVE_ENDPOINT

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, values: Any) -> Any:
        """Take a null for a field left empty, as forms and scripts send it."""
        if isinstance(values, Mapping):
            return {key: value for key, value in values.items() if value is not None}
        return values

    @field_validator("username", "password")
    @classmethod
    def _fits_into_xml(cls, value: str) -> str:
        if _NOT_XML.search(value):
            raise ValueError("it holds a control character, which the Listrak API cannot receive")
        return value

    @field_validator("start_date")
    @classmethod
    def _is_a_date(cls, value: str | None) -> str | None:
        if value is not None:
            if not re.match(_START_DATE, value):
                raise ValueError("it must be a date YYYY-MM-DD or an instant YYYY-MM-DDTHH:MM:SSZ")
            if _parse_start(value).year < EARLIEST_YEAR:
                raise ValueError(f"it must not lie before {EARLIEST_YEAR}")
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("it must be an IANA time zone such as America/New_York") from None
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        """Refuse what would send the credentials in the clear."""
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("it must be a URL") from None
        if not host or parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError("it must be a URL with a host, without credentials or a fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
            raise ValueError("it must begin with https:// (http:// only for this machine itself)")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone."""
        return ZoneInfo(self.time_zone)

    def since(self, now: datetime) -> datetime:
        """Return the start date as an instant in UTC.

        :param now: the start of the sync, an aware instant; the default start lies a year before
        :raises AirbyteTracedException: a config error, when the start date lies in the future
        """
        if self.start_date is None:
            return now - DEFAULT_HISTORY
        parsed = _parse_start(self.start_date)
        if isinstance(parsed, datetime):
            since = parsed.astimezone(timezone.utc)
        else:
            local = datetime.combine(parsed, time(), tzinfo=self.zone)
            # Midnight may be missing or repeated where daylight saving changes at midnight: the
            # earlier reading loses nothing.
            since = min(
                local.astimezone(timezone.utc), local.replace(fold=1).astimezone(timezone.utc)
            )
        if since > now:
            raise config_error(
                "The configuration field 'start_date' is wrong: it lies in the future."
            )
        return since

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> ListrakConfig:
        """Return the validated configuration.

        :raises AirbyteTracedException: a config error that names the field, never its value
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = [
                _sentence(problem["loc"], problem["type"], problem["msg"])
                for problem in error.errors(include_input=False, include_url=False)
            ]
        raise config_error(" ".join(problems))

    @classmethod
    def connection_specification(cls) -> dict[str, Any]:
        """Return the JSON schema from which Airbyte draws the form."""
        schema = cls.model_json_schema()
        properties: dict[str, dict[str, Any]] = schema["properties"]
        for order, field in enumerate(properties.values()):
            # An optional field is one that may be left out; Airbyte's form would draw the union
            # with null as a choice between two types.
            for choice in field.pop("anyOf", []):
                if choice.get("type") != "null":
                    field.update(choice)
            if field.get("default", ...) is None:
                del field["default"]
            field["order"] = order
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Listrak",
            "type": "object",
            "required": schema["required"],
            "properties": properties,
            "additionalProperties": True,
        }


def _sentence(location: tuple[int | str, ...], kind: str, message: str) -> str:
    field = ".".join(str(part) for part in location) or "configuration"
    if kind == "missing":
        return f"The configuration field '{field}' is missing."
    detail = message.removeprefix("Value error, ").removesuffix(".")
    return f"The configuration field '{field}' is wrong: {detail}."


def _parse_start(value: str) -> date | datetime:
    """Return a start date as a date (in the account's zone) or an aware instant."""
    try:
        if len(value) == len("YYYY-MM-DD"):
            return date.fromisoformat(value)
        # Before Python 3.11, fromisoformat knows neither `Z` nor fractions of other lengths.
        match = re.match(r"(.{19})(?:\.([0-9]+))?(.+)$", value.upper())
        assert match is not None
        whole, fraction, offset = match.groups()
        micros = (fraction or "").ljust(6, "0")[:6]
        return datetime.fromisoformat(f"{whole}.{micros}{offset.replace('Z', '+00:00')}")
    except ValueError:
        raise ValueError("there is no such date") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
