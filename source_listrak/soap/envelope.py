"""Request envelopes, built from the bundled WSDL, which zeep reads."""

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

NAMESPACE = "http://webservices.listrak.com/v31/"

USERNAME_PLACEHOLDER = b"<!--UserName-->"
PASSWORD_PLACEHOLDER = b"<!--Password-->"
"""Placeholders for the credentials until an envelope is sent.

Comments, because no escaped text can hold one: a user name that contains the other's placeholder
stays a user name.
"""

Value = int | bool | datetime | Sequence[int] | None

_WSDL = Path(__file__).with_name("IntegrationService.wsdl")


def escaped(text: str) -> bytes:
    """Return a text as the content of an element, UTF-8; XML would change a carriage return."""
    return escape(text, {"\r": "&#13;"}).encode()


def soap_action(operation: str) -> str:
    """Return an operation's SOAPAction header, in the quotes that SOAP 1.1 requires."""
    return f'"{NAMESPACE}{operation}"'


def build(operation: str, arguments: Mapping[str, Value]) -> bytes:
    """Return the envelope of one request, UTF-8, with placeholders for the credentials.

    :param arguments: by element name; date-times are naive wall-clock time in the account's zone
        and lose their fraction; sequences of integers are sent as an ArrayOfInt; None, or a
        `WSException` left out, is sent as nil
    :raises KeyError: an unknown operation
    :raises ValueError: an aware date-time, or wrong arguments
    """
    names = _arguments()[operation]
    if {*arguments, "WSException"} != {*names, "WSException"}:
        raise ValueError(f"{operation} takes the arguments {', '.join(names) or 'none'}")
    content = "".join(_element(name, arguments.get(name)) for name in names)
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soap:Header>'
        f'<WSUser xmlns="{NAMESPACE}"><UserName>{USERNAME_PLACEHOLDER.decode()}</UserName>'
        f"<Password>{PASSWORD_PLACEHOLDER.decode()}</Password></WSUser></soap:Header><soap:Body>"
        f'<{operation} xmlns="{NAMESPACE}">{content}</{operation}></soap:Body></soap:Envelope>'
    ).encode()


@functools.cache
def _arguments() -> Mapping[str, Sequence[str]]:
    """Return the names of each operation's arguments, in the order of the WSDL."""
    # Imported here, so that commands that send no request (`spec`, `discover`) start quickly.
    from zeep import Client

    (binding,) = Client(str(_WSDL)).wsdl.bindings.values()  # type: ignore[no-untyped-call]
    return {
        operation: [name for name, _ in one.input.body.type.elements]
        for operation, one in binding.all().items()  # type: ignore[no-untyped-call]
    }


def _element(name: str, value: Value) -> str:
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    if isinstance(value, Sequence):
        text = "".join(_element("int", one) for one in value)
    elif isinstance(value, datetime):
        if value.tzinfo is not None:
            raise ValueError(f"{name} must be wall-clock time without an offset")
        text = value.isoformat(timespec="seconds")
    else:
        text = str(value).lower()  # true, false
    return f"<{name}>{text}</{name}>"
