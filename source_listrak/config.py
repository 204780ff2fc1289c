"""The options: one pydantic model, from which the form is drawn."""

import errno
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pydantic

from source_listrak.errors import config_error

LIVE_ENDPOINT = "https://webservices.listrak.com/v31/IntegrationService.asmx"
DEFAULT_HISTORY = timedelta(days=365)
"""How far back a sync without a `start_date` reads (the default of other Listrak integrations)."""
EARLIEST_YEAR = 1990
"""Earlier start dates are typos: the service did not exist, and every extra year costs requests."""

GROUPS = [
    {"id": "account", "title": "Account"},
    {"id": "replicate", "title": "What to replicate"},
    {"id": "incremental", "title": "Incremental syncs"},
    {"id": "service", "title": "Service"},
]
"""The cards of the form, in order."""

# The empty string is in it because some callers send one for a field left empty.
_START_DATE = (
    r"^$|^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
)
_START_DATE_FORM = {
    "always_show": True,
    # A date picker in Airbyte's form. Airbyte's server checks formats, too, so only a date is
    # possible there; other callers do not.
    "format": "date",
    "pattern": _START_DATE,
    "pattern_descriptor": "YYYY-MM-DD",
    "examples": ["2024-01-01"],
}
_SHOWN = {"always_show": True}
_SECRET = {"airbyte_secret": True}
_Stripped = Annotated[str, pydantic.StringConstraints(strip_whitespace=True)]
_INSTANT = pydantic.TypeAdapter(pydantic.AwareDatetime)
NOT_AN_OBJECT = "The configuration is not a JSON object."
_ZONES = ["America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "UTC"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# XML 1.0 cannot carry most of these, and no one can type the others into Listrak's login form.
_UNUSABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _option(title: str, group: str, form: Mapping[str, Any] | None = None, **field: Any) -> Any:
    """Return a field of the model.

    :param group: the card of the form that shows it
    :param form: further keywords of the form
    :param field: the default, constraints and examples
    """
    return pydantic.Field(title=title, json_schema_extra={"group": group, **(form or {})}, **field)


class ListrakConfig(pydantic.BaseModel):
    """The options of a connection; each field's docstring is its description in the form.

    Unknown fields are ignored: see `warning`.
    """

    model_config = pydantic.ConfigDict(strict=True, frozen=True, use_attribute_docstrings=True)

    username: _Stripped = _option("User name", "account", min_length=1)
    """A Listrak user with Analytics Access, API Access and access to the lists to replicate."""

    password: str = _option("Password", "account", _SECRET, min_length=1, repr=False)
    """The password of this user."""

    start_date: str | None = _option("Start date", "replicate", _START_DATE_FORM, default=None)
    """Replicates messages sent and contacts added since this day, in the account's time zone. Every
    message costs requests, so an earlier date makes the first sync longer. Defaults to one year
    before each sync, so the default moves. Outside Airbyte's form, a timestamp such as
    2024-01-01T00:00:00Z is also accepted."""

    list_ids: list[Annotated[int, pydantic.Field(ge=1)]] | None = _option(
        "List IDs", "replicate", _SHOWN, default=None, examples=[[12345, 67890]]
    )
    """Replicates only these contact lists and their messages. Fewer lists cost fewer requests.
    Defaults to all lists that the user can see."""

    include_test_messages: bool = _option("Include test messages", "replicate", default=True)
    """Also replicates messages that were sent as a test. Each costs as many requests as any other
    message."""

    keep_repeated_events: bool = _option("Keep repeated events", "replicate", default=False)
    """When off, the primary key of opens, reads, clicks, bounces and unsubscribes is MsgID and
    EmailAddress. With Append + Deduped, only one open, read or click per contact and message is
    then kept; the others are lost. When on, the date of the event (and the link of a click) is part
    of the key, and every event is kept. After changing this, refresh the connection's schema and
    the data of these streams."""

    time_zone: str = _option(
        "Time zone of the account", "replicate", _SHOWN, default=_ZONES[0], examples=_ZONES
    )
    """The time zone of the dates in Listrak, which have no offset, as an IANA name. A wrong zone
    shifts every date. To find it, compare the SendDate of a message with its send time in the
    Listrak application. Common zones: America/New_York (Eastern, the likeliest), America/Chicago
    (Central), America/Denver (Mountain), America/Phoenix (Arizona), America/Los_Angeles (Pacific),
    America/Toronto, Europe/London, Europe/Berlin and Australia/Sydney. UTC gives the same values as
    Stitch; if you move from Stitch, decide before the first sync. After changing this, refresh the
    data of all streams with dates."""

    lookback_days: int = _option("Lookback window (days)", "incremental", default=7, ge=1, le=30)
    """Listrak can record an event days after it happened. Every sync re-reads the
    last hour; once a day, the last two days; once a week, this many days plus the week itself.
    Events recorded even later can be missed until the next full refresh. More days repeat more
    rows."""

    skip_inactive_messages: bool = _option("Skip inactive messages", "incremental", default=True)
    """Skips messages whose counters are zero: for example, opens are not requested for a message
    without opens in its counter. When off, each message costs several more requests, which
    return rows only if a counter is wrong."""

    num_workers: int = _option("Concurrent requests", "service", default=10, ge=1, le=40)
    """The maximum number of requests in flight. More requests make a sync faster until Listrak
    slows down."""

    max_requests_per_second: float | None = _option(
        "Requests per second", "service", default=None, examples=[5], ge=0.01, le=1000
    )
    """The maximum number of requests sent per second. Set it to leave room for other programs that
    use the account; a low limit makes a sync slower. Defaults to no limit."""

    endpoint: str = _option("Endpoint", "service", {"airbyte_hidden": True}, default=LIVE_ENDPOINT)
    """The URL of the Listrak SOAP service. Change it only for tests or a proxy."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _tidy(cls, values: Any) -> Any:
        """Drop what forms and scripts send for a field left empty, and accept 10.0 as 10."""
        if isinstance(values, Mapping):
            given = {name: one for name, one in values.items() if one not in (None, "", [])}
            lists = {name: [*map(_whole, one)] for name, one in given.items() if type(one) is list}
            return {name: _whole(one) for name, one in given.items()} | lists
        return values

    @pydantic.field_validator("username", "password")
    @classmethod
    def _has_no_control_characters(cls, value: str) -> str:
        if _UNUSABLE.search(value):
            raise ValueError("it contains a control character, which the Listrak API cannot accept")
        return value

    @pydantic.field_validator("start_date")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        if not re.fullmatch(_START_DATE, value):
            raise ValueError("it must be a date YYYY-MM-DD or an instant YYYY-MM-DDTHH:MM:SSZ")
        if _parse_start(value).year < EARLIEST_YEAR:
            raise ValueError(f"it must not be before {EARLIEST_YEAR}")
        return value

    @pydantic.field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
                raise  # not about this zone
            raise ValueError("it must be an IANA time zone such as America/New_York") from None
        return value

    @pydantic.field_validator("endpoint")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        """Refuse what would send the credentials unencrypted."""
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("it must be a URL") from None
        if not host or "@" in parts.netloc:
            raise ValueError("it must be a URL with a host, without credentials")
        if parts.query or parts.fragment:
            raise ValueError("it must not have a query such as ?wsdl, or a fragment")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise ValueError("it must begin with https:// (http:// only for localhost)")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone."""
        return ZoneInfo(self.time_zone)

    def since(self, now: datetime) -> datetime:
        """Return the start date as an instant in UTC.

        :param now: the start of the sync, an aware instant
        :raises AirbyteTracedException: a configuration error: the start date is in the future
        """
        if self.start_date is None:
            return now.astimezone(timezone.utc) - DEFAULT_HISTORY
        since = _parse_start(self.start_date)
        if since.tzinfo is None:
            # Where daylight saving changes at midnight, midnight does not exist or exists twice:
            # the earlier reading loses nothing.
            midnights = (since.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
            since = min(midnight.astimezone(timezone.utc) for midnight in midnights)
        if since <= now:
            return since
        raise config_error("The configuration field 'start_date' is invalid: it is in the future.")

    @classmethod
    def parse(cls, values: object) -> "ListrakConfig":
        """Return the validated options.

        :param values: the configuration as it was read from JSON
        :raises AirbyteTracedException: a configuration error that names the field, never its value
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            problems = [_sentence(problem) for problem in error.errors()]
        # Outside the handler: pydantic's error has the values and must not become the context.
        raise config_error(" ".join(problems))

    @classmethod
    def warning(cls, values: Mapping[str, object]) -> str | None:
        """Return a sentence that names the fields that do not exist; None if there are none."""
        # A platform adds fields of its own, which begin with an underscore.
        given = (name for name in values if not name.startswith("_"))
        unknown = ", ".join(name for name in given if name not in cls.model_fields)
        return f"The configuration contains unknown fields: {unknown}." if unknown else None

    @classmethod
    def connection_specification(cls) -> dict[str, Any]:
        """Return the JSON schema from which Airbyte draws the form."""
        schema = cls.model_json_schema()
        for order, field in enumerate(schema["properties"].values()):
            # An optional field is one that may be left out; Airbyte's form would draw the union
            # with null, which comes second, as a choice between two types.
            field.update(field.pop("anyOf", [{}])[0])
            if field.get("default", ...) is None:
                del field["default"]
            field["order"] = order
            field["description"] = " ".join(field["description"].split())
        del schema["description"]  # of this class
        form = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Listrak"}
        return schema | form | {"groups": GROUPS, "additionalProperties": True}


def _whole(value: Any) -> Any:
    """Return 10.0 as 10: JSON schema takes it for an integer, pydantic's strict mode does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sentence(problem: Mapping[str, Any]) -> str:
    field = ".".join(map(str, problem["loc"]))
    if not field:
        return NOT_AN_OBJECT
    if problem["type"] == "missing":
        return f"The configuration field '{field}' is missing."
    detail = problem["msg"].removeprefix("Value error, ")
    return f"The configuration field '{field}' is invalid: {detail[0].lower()}{detail[1:]}."


def _parse_start(value: str) -> datetime:
    """Return the naive midnight of a day of the account, or an instant in UTC."""
    try:
        if len(value) == len("YYYY-MM-DD"):
            return datetime.fromisoformat(value)
        return _INSTANT.validate_python(value).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("there is no such date") from None
