"""The one place that decides what a response other than rows means, and what the user reads.

The body counts before the HTTP status. Listrak puts its bracketed tokens into SOAP faults, but
their exact place is not documented, so everything outside the rows is searched for them.
"""

import re
from dataclasses import dataclass
from enum import Enum

from airbyte_cdk import AirbyteTracedException, FailureType


class Action(Enum):
    """What the connector does about a fault."""

    STOP = "Stops the whole sync at once, without a retry."
    SKIP = "Retries once, then skips the report with a warning. The next sync requests it again."
    REFUSED = "Fails this report without a retry. The stream continues and ends incomplete."
    RETRY = "Retries with growing waits, then fails. The stream continues and ends incomplete."
    FAIL = "Fails without a retry. The stream continues and ends incomplete."


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table of faults.

    :ivar trigger: what arrived, for the documentation
    :ivar message: what the user reads: what happened, then what to do
    :ivar slows_down: whether the connector sends fewer requests at a time after it
    :ivar hide_detail: whether the service's own text adds nothing to the message
    :ivar is_transient: whether a fault that stops the sync resolves by itself
    """

    name: str
    trigger: str
    action: Action
    message: str
    slows_down: bool = False
    hide_detail: bool = False
    is_transient: bool = False

    @property
    def failure_type(self) -> FailureType:
        """The Airbyte failure type: who can resolve it."""
        if self.is_transient or self.action is Action.RETRY:
            return FailureType.transient_error
        if self.action in (Action.STOP, Action.REFUSED):
            return FailureType.config_error
        return FailureType.system_error


_MISSING = "the next sync reads only what is missing."
_LATER = f"Try again later; {_MISSING}"
_ACCESS = "Give the user role-based access with Analytics Access and API Access, and assign it"
_MANAGER = "(Manage > Accounts > User Manager)."
_SUPPORT = "Try again later; if it persists, contact Listrak support."

# fmt: off
FAULTS: tuple[Fault, ...] = (
    INVALID_LOGON := Fault("invalid_logon",
        "`[InvalidLogonAttempt]` anywhere outside the rows", Action.STOP,
        "Listrak refused the user name or password. Check both in the connector's configuration "
        "before the next attempt: repeated failures lock the account.", hide_detail=True),
    ATTEMPTS_EXCEEDED := Fault("attempts_exceeded",
        "`[LoginAttemptsExceeded]` anywhere outside the rows", Action.STOP,
        "Listrak locked the account after repeated failed logins. Wait until it is unlocked, then "
        "check the user name and password before the next attempt.", hide_detail=True),
    PROHIBITED_ADDRESS := Fault("prohibited_address",
        "`[ProhibitedIPAddress]` anywhere outside the rows", Action.STOP,
        "Listrak refuses requests from this IP address. Add the address the connector runs from "
        "in Listrak under Manage > Accounts > SOAP API IP Authorization.", hide_detail=True),
    LOGIN_REFUSED := Fault("login_refused",
        "a fault about permission, or HTTP 401 or 403 without a web page, for the login",
        Action.STOP, f"Listrak refused the login. {_ACCESS} the lists to replicate {_MANAGER}"),
    SERVICE_GONE := Fault("service_gone",
        "HTTP 404 without SOAP for the login, or for five reports in a row while the login fails "
        "too; an endpoint that is not a URL", Action.STOP,
        "There is no Listrak service at the endpoint: the endpoint is wrong or the service has "
        "moved. Check the endpoint in the connector's configuration."),
    PROXY_LOGIN := Fault("proxy_login", "HTTP 407", Action.STOP,
        "The proxy refused the connector. Check the proxy's user name and password in the "
        "environment variable HTTPS_PROXY."),
    PROXY_REFUSED := Fault("proxy_refused", "HTTP 403 or 405 from a proxy", Action.STOP,
        "The proxy refused to connect to the endpoint. Allow the endpoint's host in the proxy, or "
        "add it to the environment variable NO_PROXY."),
    PRIVATE_ADDRESS := Fault("private_address",
        "an endpoint in a private network, in Airbyte Cloud (`DEPLOYMENT_MODE=cloud`)", Action.STOP,
        "The endpoint is in a private network, so nothing was sent: in Airbyte Cloud, connectors "
        "must not reach private networks. Check the endpoint in the connector's configuration."),
    TLS := Fault("tls", "a certificate that cannot be verified", Action.STOP,
        "The endpoint's certificate could not be verified, so no password was sent. Check the "
        "endpoint and the proxy. If the proxy inspects TLS, set the environment variable "
        "SSL_CERT_FILE to a file that contains its certificate authority."),
    OUTAGE := Fault("outage",
        "five reports in a row that failed after their retries, while the login fails too",
        Action.STOP, f"Listrak failed repeatedly, so the rest of the sync was skipped. {_LATER}",
        is_transient=True),
    INTERRUPTED := Fault("interrupted", "SIGTERM or SIGINT", Action.STOP,
        "The sync was interrupted by a signal. Run it again; it will read only what is missing.",
        is_transient=True),
    REPORT_GONE := Fault("report_gone",
        "HTTP 404 without SOAP for one message, conversation or list", Action.SKIP,
        "Listrak no longer has this report (404). It was skipped; the next sync will try again."),
    PERMISSION := Fault("permission",
        "a fault about permission, or HTTP 401 or 403 without a web page, for one report",
        Action.REFUSED, f"Listrak refused this report. {_ACCESS} the list {_MANAGER}"),
    IN_BAND := Fault("in_band_exception",
        "HTTP 200 with a `WSException`, or with text instead of rows", Action.RETRY,
        f"Listrak returned an error message instead of data. {_SUPPORT}"),
    OTHER_FAULT := Fault("other_fault", "any other SOAP fault", Action.RETRY,
        f"Listrak returned a fault instead of data. {_SUPPORT}"),
    SERVER_ERROR := Fault("server_error", "HTTP 5xx or another unexpected status", Action.RETRY,
        f"The Listrak service is returning errors. {_LATER}"),
    UNAVAILABLE := Fault("unavailable", "HTTP 503", Action.RETRY,
        f"The Listrak service is unavailable. {_LATER}", slows_down=True),
    RATE_LIMITED := Fault("rate_limited", "HTTP 429", Action.RETRY,
        "Listrak limited the rate of requests. Lower 'Requests per second' or 'Concurrent "
        f"requests', or try again later; {_MISSING}", slows_down=True),
    HTML_PAGE := Fault("html_page", "a web page instead of SOAP (maintenance, proxy)", Action.RETRY,
        "Received a web page instead of data, which happens during maintenance or behind a proxy. "
        "Try again later; if it persists, check the endpoint and the proxy."),
    REDIRECT := Fault("redirect", "HTTP 3xx", Action.RETRY,
        "The service sent a redirect, which is not followed because it would carry the password "
        "to another host. Check the endpoint, or try again later."),
    TIMEOUT := Fault("timeout", "no response in time", Action.RETRY,
        f"Listrak did not respond in time. {_LATER}"),
    CONNECTION := Fault("connection", "a connection that was refused, reset or cut short",
        Action.RETRY,
        f"The connection to Listrak failed. Check the network and the proxy. {_LATER}"),
    MALFORMED := Fault("malformed",
        "not XML, not SOAP, not the operation's response, unknown elements instead of or "
        "alongside rows, or a row without its ID",
        Action.RETRY, "Listrak's response could not be read. Try again later; if it persists, "
        "report it to the maintainers of the connector."),
    REFUSED_XML := Fault("refused_xml",
        "a document type (other than a web page's) or entities in the response", Action.FAIL,
        "The response contains a document type or entities, which no Listrak response does, and "
        "was not read. Check the endpoint and the proxy."),
    TOO_LARGE := Fault("too_large", "a response over the size limit", Action.FAIL,
        "The response is larger than the connector accepts. If it is a list with very many "
        "messages, report it to the maintainers of the connector."),
    REPEATED_PAGE := Fault("repeated_page",
        "a page that repeats an earlier page of its slice", Action.FAIL,
        f"Listrak returned the same page twice, so its paging does not end. {_SUPPORT}"),
)
# fmt: on


class AttemptFailed(Exception):
    """An attempt to send a request returned no rows.

    :ivar fault: what that means, by the body of the response alone if there is one
    :ivar detail: what happened, or the service's own text, redacted; may still contain the password
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.detail = detail


class DescribedFault(AirbyteTracedException):
    """A fault, described in one sentence without secrets or rows.

    :ivar detail: the request and, unless the fault hides it, the service's redacted text
    :ivar retry_after: seconds that the service demands before the next attempt
    """

    def __init__(self, fault: Fault, detail: str = "", retry_after: float = 0.0) -> None:
        shown = f" ({detail})" if detail and not fault.hide_detail else ""
        internal_message = f"{fault.name}: {detail or fault.trigger}"
        super().__init__(internal_message, fault.message + shown, fault.failure_type)
        self.fault = fault
        self.detail = detail
        self.retry_after = retry_after


class ListrakError(DescribedFault):
    """A fault that ended one request."""


class SyncStopped(DescribedFault):
    """A fault that ended the whole sync; whatever handles a `ListrakError` does not catch it."""


_TOKENS = (
    # The most helpful first: a prohibited address never gets as far as the password, and a locked
    # account hides whether the password is right.
    ("[prohibitedipaddress]", PROHIBITED_ADDRESS),
    ("[loginattemptsexceeded]", ATTEMPTS_EXCEEDED),
    ("[invalidlogonattempt]", INVALID_LOGON),
)
# UNVERIFIED: no public source quotes the text of such a fault.
# Whole words only, and nothing about a server that cannot reach its own files or database: names
# of .NET classes (UnauthorizedAccessException) and "cannot access the file" do not mean that the
# user lacks a permission.
_PERMISSION = re.compile(
    r"(?<![\w.])permissions?\b|\baccess (is |was )?denied\b|\bunauthori[sz]ed\b"
    r"|\bnot (been )?authori[sz]ed\b|\bforbidden\b"
    r"|\b(have no|not have|without|lacks?|insufficient|not (been )?(given|granted|allowed))\b"
    r"[^.]{0,30}\b(access|privileges?|rights)\b",
    re.I,
)


def find_token(text: str) -> Fault | None:
    """Return the fault of a bracketed token anywhere in `text`."""
    lowered = text.lower()
    return next((fault for token, fault in _TOKENS if token in lowered), None)


def classify_text(text: str, otherwise: Fault) -> Fault:
    """Classify the text of a SOAP fault or an in-band exception."""
    return find_token(text) or (PERMISSION if _PERMISSION.search(text) else otherwise)


def classify_status(status: int, by_body: Fault | None) -> Fault | None:
    """Return the fault that an HTTP status decides, None where the body decides.

    :param by_body: what the body means, None for rows
    """
    decided = {404: REPORT_GONE, 407: PROXY_LOGIN, 429: RATE_LIMITED, 503: UNAVAILABLE}.get(status)
    if by_body and by_body not in (MALFORMED, HTML_PAGE):
        return decided if status in (429, 503) and by_body.action is Action.RETRY else None
    if decided is REPORT_GONE and not by_body:
        return SERVER_ERROR  # only a body that is not SOAP means that a report is gone
    if decided or status == 200:
        return decided
    if 300 <= status < 400:
        return REDIRECT
    if by_body is HTML_PAGE:
        return None
    return PERMISSION if status in (401, 403) else SERVER_ERROR
