"""Request envelopes, made by zeep from the bundled WSDL."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

NAMESPACE = "http://webservices.listrak.com/v31/"

USERNAME_PLACEHOLDER = b"<!--UserName-->"
PASSWORD_PLACEHOLDER = b"<!--Password-->"
"""What stands for the credentials until an envelope goes out on the wire.

Comments, because no escaped text can hold one: a user name that contains the other's placeholder
stays a user name.
"""

Arguments = Mapping[str, "int | bool | datetime | None"]

_WSDL = Path(__file__).with_name("IntegrationService.wsdl")
_USERNAME_SENTINEL = "sentinel-of-the-user-name"
_PASSWORD_SENTINEL = "sentinel-of-the-password"  # noqa: S105 (no password, a place for one)
# Values that nothing else in a template can hold.
_FIRST_INT_SENTINEL = 2_147_480_000
_FIRST_DATE_SENTINEL = datetime(9990, 1, 1)  # noqa: DTZ001 (wall-clock time, as all requests)


def soap_action(operation: str) -> str:
    """Return the value of an operation's SOAPAction header, in the quotes that SOAP 1.1 wants."""
    return f'"{NAMESPACE}{operation}"'


class EnvelopeBuilder:
    """Builds request envelopes; safe to share between threads.

    zeep makes one template for each operation, with sentinels as arguments; every further request
    fills its own arguments in. zeep itself is imported with the first one, so that what sends no
    request (`spec`, `discover`) does not wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._templates: dict[tuple[str, tuple[object, ...]], bytes] = {}

    def build(self, operation: str, arguments: Arguments) -> bytes:
        """Return the envelope of one request, UTF-8, with placeholders for the credentials.

        :param arguments: by element name; date-times are naive wall-clock time in the account's
            zone and lose their fraction; None, or a `WSException` left out, is sent as nil
        :raises ValueError: an unknown operation, an aware date-time, or wrong arguments
        """
        values: dict[bytes, bytes] = {}
        shape: list[object] = []
        for name, value in arguments.items():
            if value is None or isinstance(value, bool):
                shape.append((name, value))
                continue
            if isinstance(value, datetime):
                if value.tzinfo is not None:
                    raise ValueError(f"{name} must be wall-clock time without an offset")
                text = value.isoformat(timespec="seconds")
            else:
                text = str(int(value))
            shape.append((name, type(value)))
            values[name.encode()] = text.encode()
        key = (operation, tuple(shape))
        template = self._templates.get(key)
        if template is None:
            with self._lock:
                template = self._templates[key] = self._template(operation, arguments)
        return template % values

    def _template(self, operation: str, arguments: Arguments) -> bytes:
        """Return a format with `%(Name)b` for each argument that changes between requests."""
        from lxml import etree
        from zeep import Client
        from zeep.exceptions import Error
        from zeep.xsd import Nil

        sentinels: dict[str, Any] = {}
        for index, (name, value) in enumerate(arguments.items()):
            if value is None:
                sentinels[name] = Nil
            elif isinstance(value, bool):
                sentinels[name] = value
            elif isinstance(value, datetime):
                sentinels[name] = _FIRST_DATE_SENTINEL + timedelta(days=index)
            else:
                sentinels[name] = _FIRST_INT_SENTINEL + index
        try:
            if self._client is None:
                self._client = Client(str(_WSDL))  # type: ignore[no-untyped-call]
            binding = self._client.service._binding
            elements = binding.get(operation).input.body.type.elements
            if "WSException" in dict(elements):
                sentinels.setdefault("WSException", Nil)
            message = self._client.create_message(
                self._client.service,
                operation,
                _soapheaders={
                    "WSUser": {"UserName": _USERNAME_SENTINEL, "Password": _PASSWORD_SENTINEL}
                },
                **sentinels,
            )
        except (Error, TypeError, ValueError) as error:
            raise ValueError(f"{operation} does not take these arguments") from error
        xml = etree.tostring(message, xml_declaration=True, encoding="utf-8").replace(b"%", b"%%")
        places = {
            _USERNAME_SENTINEL.encode(): USERNAME_PLACEHOLDER,
            _PASSWORD_SENTINEL.encode(): PASSWORD_PLACEHOLDER,
        }
        for name, sentinel in sentinels.items():
            if isinstance(sentinel, datetime):
                places[sentinel.isoformat().encode()] = f"%({name})b".encode()
            elif not isinstance(sentinel, bool) and sentinel is not Nil:
                places[str(sentinel).encode()] = f"%({name})b".encode()
        for sentinel_bytes, place in places.items():
            if xml.count(sentinel_bytes) != 1:
                raise ValueError(f"{operation} has no one place for each argument")
            xml = xml.replace(sentinel_bytes, place)
        return xml
