"""Request envelopes, made by zeep from the bundled WSDL."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

NAMESPACE = "http://webservices.listrak.com/v31/"

USERNAME_PLACEHOLDER = b"<!--UserName-->"
PASSWORD_PLACEHOLDER = b"<!--Password-->"
"""Take the place of the credentials until an envelope is sent.

Comments, because no escaped text can contain one: a user name that contains the other's
placeholder stays a user name.
"""

Argument = int | bool | datetime | Sequence[int] | None
Arguments = Mapping[str, Argument]

_WSDL = Path(__file__).with_name("IntegrationService.wsdl")
_USERNAME_SENTINEL = "sentinel-of-the-user-name"
_PASSWORD_SENTINEL = "sentinel-of-the-password"  # noqa: S105 (no password, a place for one)
# Values that nothing else in a template can contain.
_FIRST_INT_SENTINEL = 2_147_480_000
_FIRST_DATE_SENTINEL = datetime(9990, 1, 1)  # noqa: DTZ001 (wall-clock time, as all requests)


def soap_action(operation: str) -> str:
    """Return the value of an operation's SOAPAction header, in the quotes that SOAP 1.1 wants."""
    return f'"{NAMESPACE}{operation}"'


@dataclass(frozen=True, slots=True)
class _Template:
    """An envelope to be filled in.

    :ivar text: a format with `%(Name)b` for each argument that changes between requests
    :ivar tags: the tags around each item, for the arguments that are sequences
    """

    text: bytes
    tags: Mapping[str, tuple[bytes, bytes]]


class EnvelopeBuilder:
    """Builds request envelopes. Safe to share between threads.

    zeep makes one template for each operation, with sentinels as arguments; every further request
    fills in its own arguments. zeep itself is imported with the first one, so that commands that
    send no request (`spec`, `discover`) start quickly.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._templates: dict[tuple[str, tuple[object, ...]], _Template] = {}

    def build(self, operation: str, arguments: Arguments) -> bytes:
        """Return the envelope of one request, UTF-8, with placeholders for the credentials.

        :param arguments: by element name; date-times are naive wall-clock time in the account's
            zone and lose their fraction; sequences of integers are sent as an ArrayOfInt; None,
            or a `WSException` left out, is sent as nil
        :raises ValueError: an unknown operation, an aware date-time, or wrong arguments
        """
        # All that the template depends on: values that are filled in count by their type alone.
        shape = tuple(
            (name, value if value is None or isinstance(value, bool) else type(value))
            for name, value in arguments.items()
        )
        with self._lock:
            template = self._templates.get((operation, shape))
            if template is None:
                template = self._template(operation, arguments)
                self._templates[operation, shape] = template
        values: dict[bytes, bytes] = {}
        for name, value in arguments.items():
            if isinstance(value, datetime):
                if value.tzinfo is not None:
                    raise ValueError(f"{name} must be wall-clock time without an offset")
                values[name.encode()] = value.isoformat(timespec="seconds").encode()
            elif isinstance(value, Sequence):
                opening, closing = template.tags[name]
                items = (opening + str(int(item)).encode() + closing for item in value)
                values[name.encode()] = b"".join(items)
            elif value is not None and not isinstance(value, bool):
                values[name.encode()] = str(int(value)).encode()
        return template.text % values

    def _template(self, operation: str, arguments: Arguments) -> _Template:
        from zeep.xsd import Nil

        filled: dict[str, Any] = {}
        places: dict[str, str] = {}  # each sentinel as text, and the argument in its place
        for index, (name, value) in enumerate(arguments.items()):
            number = _FIRST_INT_SENTINEL + index
            if value is None or isinstance(value, bool):
                filled[name] = Nil if value is None else value
            elif isinstance(value, datetime):
                filled[name] = _FIRST_DATE_SENTINEL + timedelta(days=index)
                places[filled[name].isoformat()] = name
            else:
                filled[name] = {"int": [number]} if isinstance(value, Sequence) else number
                places[str(number)] = name
        xml = self._by_zeep(operation, filled).replace(b"%", b"%%")
        tags: dict[str, tuple[bytes, bytes]] = {}
        for sentinel, name in places.items():
            found = re.findall(rb"(<[^<>]*>)(" + sentinel.encode() + rb")(</[^<>]*>)", xml)
            if len(found) != 1:
                raise ValueError(f"{operation} has no one place for each argument")
            opening, number, closing = found[0]
            if isinstance(arguments[name], Sequence):
                tags[name] = opening, closing
                number = opening + number + closing
            xml = xml.replace(number, f"%({name})b".encode())
        xml = xml.replace(_USERNAME_SENTINEL.encode(), USERNAME_PLACEHOLDER)
        return _Template(xml.replace(_PASSWORD_SENTINEL.encode(), PASSWORD_PLACEHOLDER), tags)

    def _by_zeep(self, operation: str, arguments: dict[str, Any]) -> bytes:
        from lxml import etree
        from zeep import Client
        from zeep.exceptions import Error
        from zeep.xsd import Nil

        try:
            if self._client is None:
                self._client = Client(str(_WSDL))  # type: ignore[no-untyped-call]
            (binding,) = self._client.wsdl.bindings.values()
            elements = binding.get(operation).input.body.type.elements
            if "WSException" in dict(elements):
                arguments.setdefault("WSException", Nil)
            credentials = {"UserName": _USERNAME_SENTINEL, "Password": _PASSWORD_SENTINEL}
            message = self._client.create_message(
                self._client.service, operation, _soapheaders={"WSUser": credentials}, **arguments
            )
        except (Error, TypeError, ValueError) as error:
            raise ValueError(f"{operation} does not take these arguments") from error
        return etree.tostring(message, xml_declaration=True, encoding="utf-8")
