"""The one place that decides what an answer other than rows means, and what the person reads.

The body speaks before the HTTP status: Listrak puts its bracketed tokens into SOAP faults, into an
in-band `WSException` inside a success, and nobody knows where else, so whatever is not a right
answer is searched for them as a whole.
"""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from enum import Enum

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException


class Action(Enum):
    """What the connector does about a fault."""

    STOP = "stops everything at once, never asks again"
    SKIP = "skips this message, goes on"
    RETRY = "tries again, then fails this slice"
    REFUSE = "fails this slice"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table of faults: its name, what is done, what the person is told."""

    name: str
    when: str
    action: Action
    message: str
    slows_down: bool = False
    says_all: bool = False
    """Whether what the service said adds nothing to the sentence."""

    @property
    def failure_type(self) -> FailureType:
        """The Airbyte failure type: who can mend it."""
        if self.action is Action.STOP:
            return FailureType.config_error
        if self.action is Action.RETRY:
            return FailureType.transient_error
        return FailureType.system_error


INVALID_LOGON = Fault(
    "invalid_logon",
    "`[InvalidLogonAttempt]` anywhere in the answer",
    Action.STOP,
    "Listrak refused the user name or password: check both in the connector's configuration "
    "before the next attempt, since repeated failures lock the account.",
    says_all=True,
)
ATTEMPTS_EXCEEDED = Fault(
    "attempts_exceeded",
    "`[LoginAttemptsExceeded]` anywhere in the answer",
    Action.STOP,
    "Listrak locked the account for now after repeated failed logins: wait until it is released, "
    "then check the user name and password before the next attempt.",
    says_all=True,
)
PROHIBITED_ADDRESS = Fault(
    "prohibited_address",
    "`[ProhibitedIPAddress]` anywhere in the answer",
    Action.STOP,
    "Listrak refuses requests from this IP address: add the address from which the connector runs "
    "in Listrak under Manage > Accounts > SOAP API IP Authorization.",
    says_all=True,
)
PERMISSION = Fault(
    "permission",
    "a fault about permission or access; HTTP 401 or 403 without a page",
    Action.STOP,
    "Listrak refuses access: give the user role-based access with Analytics Access and API Access "
    "and the lists to replicate (Manage > Accounts > User Manager).",
)
PROXY_LOGIN = Fault(
    "proxy_login",
    "HTTP 407",
    Action.STOP,
    "The proxy of this machine's environment refuses the connector: check the user name and "
    "password of the proxy (HTTPS_PROXY).",
)
MESSAGE_UNAVAILABLE = Fault(
    "message_unavailable",
    "a fault or exception about a message that mentions 404",
    Action.SKIP,
    "Listrak cannot report on this message any more (404): it is skipped and asked again by the "
    "next sync.",
)
IN_BAND = Fault(
    "in_band_exception",
    "HTTP 200 with a `WSException`",
    Action.RETRY,
    "Listrak answered with an exception instead of data; the next sync reads only what is "
    "missing. If it persists, contact Listrak support.",
)
OTHER_FAULT = Fault(
    "other_fault",
    "any other soap:Fault",
    Action.RETRY,
    "Listrak answered with a fault instead of data; the next sync reads only what is missing. "
    "If it persists, contact Listrak support.",
)
SERVER_ERROR = Fault(
    "server_error",
    "HTTP 5xx or another unexpected status",
    Action.RETRY,
    "The Listrak service answers with errors: try again later; the next sync reads only what is "
    "missing.",
)
UNAVAILABLE = Fault(
    "unavailable",
    "HTTP 503",
    Action.RETRY,
    "The Listrak service is not available: try again later; the next sync reads only what is "
    "missing.",
    slows_down=True,
)
RATE_LIMITED = Fault(
    "rate_limited",
    "HTTP 429",
    Action.RETRY,
    "Listrak limits the rate of requests: lower 'Requests per second' or 'Concurrent requests', "
    "or try again later; the next sync reads only what is missing.",
    slows_down=True,
)
HTML_PAGE = Fault(
    "html_page",
    "an HTML page instead of SOAP (maintenance, proxy)",
    Action.RETRY,
    "A web page came instead of data, as during maintenance or from a proxy: try again later, and "
    "check the endpoint and the proxy if it persists.",
)
REDIRECT = Fault(
    "redirect",
    "HTTP 3xx (not followed: the credentials would go elsewhere)",
    Action.RETRY,
    "The service redirects elsewhere, which is not followed, to keep the password here: check the "
    "endpoint, or try again later.",
)
TIMEOUT = Fault(
    "timeout",
    "no answer in time",
    Action.RETRY,
    "Listrak did not answer in time: try again later; the next sync reads only what is missing.",
)
CONNECTION = Fault(
    "connection",
    "connection refused, reset, or the answer cut short",
    Action.RETRY,
    "The connection to Listrak failed: check that the network lets the connector reach the "
    "endpoint, or try again later; the next sync reads only what is missing.",
)
TLS = Fault(
    "tls",
    "the certificate cannot be verified",
    Action.STOP,
    "The certificate of the endpoint cannot be verified, so no password was sent: check the "
    "endpoint, the proxy and the certificate authorities of this machine.",
)
MALFORMED = Fault(
    "malformed",
    "truncated, not XML, not SOAP, not the operation's response, or a value of a wrong type",
    Action.RETRY,
    "Listrak's answer could not be read: try again later; the next sync reads only what is "
    "missing.",
)
REFUSED_XML = Fault(
    "refused_xml",
    "a DOCTYPE (other than an HTML page's) or entity in the answer",
    Action.REFUSE,
    "The answer holds a document type or entities, which no Listrak response does, and was "
    "refused: check the endpoint and the proxy.",
)
TOO_LARGE = Fault(
    "too_large",
    "an answer over the size limit",
    Action.REFUSE,
    "The answer is larger than the connector accepts: if it is a list with very many messages, "
    "contact the maintainers.",
)
REPEATED_PAGE = Fault(
    "repeated_page",
    "a page that repeats the rows of the page before it exactly",
    Action.REFUSE,
    "Listrak answered two pages in a row with the same rows, so its paging does not end: the next "
    "sync tries this slice again. If it persists, contact Listrak support.",
)
OUTAGE = Fault(
    "outage",
    "several slices in a row failed for good",
    Action.RETRY,
    "Listrak kept failing, so the rest of the sync was not tried: try again later; the next sync "
    "reads only what is missing.",
)
INTERRUPTED = Fault(
    "interrupted",
    "SIGTERM or SIGINT",
    Action.RETRY,
    "The sync was interrupted from outside: the next sync reads only what is missing.",
)

FAULTS: tuple[Fault, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Fault)
)


class ListrakError(AirbyteTracedException):
    """A fault that ended a request for good, told in one sentence without secrets or rows."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        tells = detail and not fault.says_all
        message = f"{fault.message} ({detail})" if tells else fault.message
        super().__init__(
            message=message,
            internal_message=f"{fault.name}: {detail or fault.when}",
            failure_type=fault.failure_type,
        )
        self.fault = fault
        self.detail = detail


def unexpected(where: str, error: BaseException) -> AirbyteTracedException:
    """Return a bug as an error that shows where it happened, without any value of a row."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return AirbyteTracedException(
        message=f"An unexpected error occurred in {where}: {type(error).__name__}. This is a "
        "defect of the connector; the next sync reads only what is missing.",
        internal_message=f"{type(error).__name__} at\n{frames}",
        failure_type=FailureType.system_error,
    )


_TOKENS = (
    # In the order of what helps the person most: an address that is refused never gets to the
    # password, and a locked account hides whether the password is right.
    (re.compile(r"\[ProhibitedIPAddress\]", re.I), PROHIBITED_ADDRESS),
    (re.compile(r"\[LoginAttemptsExceeded\]", re.I), ATTEMPTS_EXCEEDED),
    (re.compile(r"\[InvalidLogonAttempt\]", re.I), INVALID_LOGON),
)
# UNVERIFIED: no public source quotes the text of such a fault.
# Whole words only, and nothing about a server that cannot reach its own files or database: names
# of .NET classes (UnauthorizedAccessException) and "cannot access the file" mean no lack of rights.
_PERMISSION = re.compile(
    r"(?<![\w.])permissions?\b|\baccess (is |was )?denied\b|\bunauthori[sz]ed\b"
    r"|\bnot (been )?authori[sz]ed\b|\bforbidden\b"
    r"|\b(have no|not have|without|lacks?|insufficient|not (been )?(given|granted|allowed))\b"
    r"[^.]{0,30}\b(access|privileges?|rights)\b",
    re.I,
)
# Not the line number of a stack trace.
_NOT_FOUND = re.compile(r"(?<![\w.-])(?<!\bline )404(?![\w-])")
_ADDRESS = re.compile(r"[^\s<>\"'(),;:\[\]]+@[^\s<>\"'(),;:\[\]]+")
_LONGEST_DETAIL = 300


def judge_token(text: str) -> Fault | None:
    """Return the fault of a bracketed token in `text`, wherever it stands."""
    for token, fault in _TOKENS:
        if token.search(text):
            return fault
    return None


def judge_text(text: str, otherwise: Fault, *, about_message: bool) -> Fault:
    """Decide about the text of a SOAP fault or an in-band exception.

    :param about_message: whether the request asked for one message's rows, which alone can be
        skipped when the text mentions 404
    """
    token = judge_token(text)
    if token is not None:
        return token
    if about_message and _NOT_FOUND.search(text):
        return MESSAGE_UNAVAILABLE
    if _PERMISSION.search(text):
        return PERMISSION
    return otherwise


def judge_status(status: int, *, is_html: bool) -> Fault | None:
    """Decide by the HTTP status alone; None for a 200, whose body has to speak."""
    if status == 429:
        return RATE_LIMITED
    if status == 503:
        return UNAVAILABLE
    if 300 <= status < 400:
        return REDIRECT
    if status == 407:
        return PROXY_LOGIN
    if is_html:
        return HTML_PAGE
    if status in (401, 403):
        return PERMISSION
    if status != 200:
        return SERVER_ERROR
    return None


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return `text` for a message: without secrets and e-mail addresses, and not too long."""
    for secret in secrets:
        text = text.replace(secret, "****")
    text = _ADDRESS.sub("<address>", " ".join(text.split()))
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + "…"
