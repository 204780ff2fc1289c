"""Request envelopes, made by zeep from the bundled WSDL."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lxml import etree

NAMESPACE = "http://webservices.listrak.com/v31/"

USERNAME_PLACEHOLDER = b"<!--UserName-->"
PASSWORD_PLACEHOLDER = b"<!--Password-->"
"""What stands for the credentials until an envelope goes out on the wire.

Comments, because no escaped text can hold one: a user name that contains the other's placeholder
stays a user name.
"""

Arguments = Mapping[str, "int | bool | datetime | Sequence[int] | None"]

_WSDL = Path(__file__).with_name("IntegrationService.wsdl")
_CREDENTIALS = {"UserName": "the-user-name", "Password": "the-password"}
_PLACEHOLDERS = {
    b">the-user-name<": b">%b<" % USERNAME_PLACEHOLDER,
    b">the-password<": b">%b<" % PASSWORD_PLACEHOLDER,
}


def soap_action(operation: str) -> str:
    """Return the value of an operation's SOAPAction header, in the quotes that SOAP 1.1 wants."""
    return f'"{NAMESPACE}{operation}"'


class EnvelopeBuilder:
    """Builds request envelopes. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @functools.cached_property
    def _client(self) -> Any:
        # Imported here, so that commands that send no request (`spec`, `discover`) start quickly.
        from zeep import Client

        return Client(str(_WSDL))  # type: ignore[no-untyped-call]

    def build(self, operation: str, arguments: Arguments) -> bytes:
        """Return the envelope of one request, UTF-8, with placeholders for the credentials.

        :param arguments: by element name; date-times are naive wall-clock time in the account's
            zone and lose their fraction; sequences of integers are sent as an ArrayOfInt; None,
            or a `WSException` left out, is sent as nil
        :raises ValueError: an unknown operation, an aware date-time, or wrong arguments
        """
        with self._lock:
            client = self._client
            from zeep.exceptions import Error
            from zeep.xsd import Nil

            try:
                (binding,) = client.wsdl.bindings.values()
                elements = dict(binding.get(operation).input.body.type.elements)
                values = {name: _value(name, value, Nil) for name, value in arguments.items()}
                if "WSException" in elements:
                    values.setdefault("WSException", Nil)
                message = client.create_message(
                    client.service, operation, _soapheaders={"WSUser": _CREDENTIALS}, **values
                )
            except (Error, TypeError) as error:
                raise ValueError(f"{operation} does not take these arguments") from error
        envelope: bytes = etree.tostring(message, xml_declaration=True, encoding="utf-8")
        for text, placeholder in _PLACEHOLDERS.items():
            envelope = envelope.replace(text, placeholder)
        return envelope


def _value(name: str, value: object, nil: object) -> object:
    """Return an argument as zeep takes it."""
    if value is None:
        return nil
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise ValueError(f"{name} must be wall-clock time without an offset")
        return value.replace(microsecond=0)
    return {"int": list(value)} if isinstance(value, Sequence) else value
