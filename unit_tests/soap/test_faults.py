"""How each response is classified, and what is reported to the user."""

from __future__ import annotations

import pytest
from airbyte_cdk.models import FailureType

from source_listrak.errors import as_traced
from source_listrak.soap import faults
from source_listrak.soap.faults import (
    FAULTS,
    Action,
    Fault,
    ListrakError,
    classify_status,
    classify_text,
    find_token,
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[InvalidLogonAttempt] Invalid user name or password.", faults.INVALID_LOGON),
        ("soap:Server before [invalidlogonattempt] and after", faults.INVALID_LOGON),
        ("[LoginAttemptsExceeded]", faults.ATTEMPTS_EXCEEDED),
        ("[ProhibitedIPAddress] Access is not permitted.", faults.PROHIBITED_ADDRESS),
        ("[InvalidLogonAttempt] [LoginAttemptsExceeded]", faults.ATTEMPTS_EXCEEDED),
        ("[LoginAttemptsExceeded] [ProhibitedIPAddress]", faults.PROHIBITED_ADDRESS),
        ("[InvalidLogonAttempt] (404) permission", faults.INVALID_LOGON),
        ("InvalidLogonAttempt without its brackets", None),
        ("", None),
    ],
)
def test_a_bracketed_token_decides(text: str, fault: Fault | None) -> None:
    assert find_token(text) is fault
    if fault is not None:
        assert classify_text(text, faults.OTHER_FAULT) is fault


@pytest.mark.parametrize(
    "text",
    [
        "User does not have permission to access this method.",
        "You do not have access to this list.",
        "Access denied.",
        "Access is denied for this user",
        "The user is not authorized.",
        "Unauthorized",
        "401 (Unauthorised)",
        "The remote server returned an error: (403) Forbidden.",
        "Insufficient privileges",
        "The user lacks API rights",
        "You have not been granted API access.",
        "Missing permissions.",
    ],
)
def test_a_text_about_rights_is_about_permission(text: str) -> None:
    assert classify_text(text, faults.OTHER_FAULT) is faults.PERMISSION


@pytest.mark.parametrize(
    "text",
    [
        # Troubles of the server itself, which pass.
        "The process cannot access the file because it is being used by another process.",
        "Could not access the database.",
        "System.UnauthorizedAccessException: Access to the path 'C:\\x' was refused.",
        "at System.Security.Permissions.FileIOPermission.Demand()",
        "Insufficient system resources exist to complete the requested service.",
        "Notice: all rights reserved.",
        "Object reference not set to an instance of an object.",
        "Timeout expired. The timeout period elapsed.",
        # 404 in a text says nothing about a report.
        "Transaction (Process ID 404) was deadlocked",
        "Query took 404 ms",
        "Report of MsgID 404 failed",
        "The remote server returned an error: (404) Not Found.",
        "",
    ],
)
def test_any_other_text_is_an_ordinary_fault(text: str) -> None:
    assert classify_text(text, faults.OTHER_FAULT) is faults.OTHER_FAULT
    assert classify_text(text, faults.IN_BAND) is faults.IN_BAND


@pytest.mark.parametrize(
    ("status", "is_html", "fault"),
    [
        (200, False, faults.MALFORMED),
        (200, True, faults.HTML_PAGE),
        (301, False, faults.REDIRECT),
        (302, True, faults.REDIRECT),
        (401, False, faults.PERMISSION),
        (403, False, faults.PERMISSION),
        (403, True, faults.HTML_PAGE),
        (404, False, faults.REPORT_GONE),
        (404, True, faults.REPORT_GONE),
        (407, False, faults.PROXY_LOGIN),
        (407, True, faults.PROXY_LOGIN),
        (202, False, faults.SERVER_ERROR),
        (410, False, faults.SERVER_ERROR),
        (429, False, faults.RATE_LIMITED),
        (429, True, faults.RATE_LIMITED),
        (500, False, faults.SERVER_ERROR),
        (500, True, faults.HTML_PAGE),
        (503, True, faults.UNAVAILABLE),
        (504, False, faults.SERVER_ERROR),
    ],
)
def test_a_status_decides_where_the_body_is_not_soap(
    status: int, is_html: bool, fault: Fault
) -> None:
    by_body = faults.HTML_PAGE if is_html else faults.MALFORMED
    assert (classify_status(status, by_body) or by_body) is fault


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (200, None),
        (302, faults.REDIRECT),
        (403, faults.PERMISSION),
        (404, faults.SERVER_ERROR),
        (429, faults.RATE_LIMITED),
        (500, faults.SERVER_ERROR),
    ],
)
def test_rows_count_with_status_200_alone(status: int, fault: Fault | None) -> None:
    assert classify_status(status, None) is fault


@pytest.mark.parametrize("status", [200, 302, 403, 404, 407, 429, 500, 503])
def test_what_the_service_says_counts_before_its_status(status: int) -> None:
    assert classify_status(status, faults.INVALID_LOGON) is None
    assert classify_status(status, faults.PERMISSION) is None
    overload = {429: faults.RATE_LIMITED, 503: faults.UNAVAILABLE}.get(status)
    assert classify_status(status, faults.OTHER_FAULT) is overload


CONFIG = FailureType.config_error
TRANSIENT = FailureType.transient_error
SYSTEM = FailureType.system_error


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_has_a_sentence_and_the_type_of_who_can_resolve_it(fault: Fault) -> None:
    assert fault.message.endswith(".")
    assert fault.message.count(". ") >= 1, "what happened, then what to do"
    expected = {
        Action.STOP: CONFIG,
        Action.SKIP: SYSTEM,
        Action.REFUSED: CONFIG,
        Action.RETRY: TRANSIENT,
        Action.FAIL: SYSTEM,
    }[fault.action]
    if fault in (faults.OUTAGE, faults.INTERRUPTED):
        expected = TRANSIENT
    assert fault.failure_type is expected
    error = ListrakError(fault, "ReportX of message 7: HTTP 500")
    detail = "" if fault.hide_detail else " (ReportX of message 7: HTTP 500)"
    assert error.message == fault.message + detail
    assert error.internal_message == f"{fault.name}: ReportX of message 7: HTTP 500"
    assert str(error) == error.message
    assert error.failure_type is fault.failure_type


def test_the_table_has_every_fault_once() -> None:
    declared = [value for value in vars(faults).values() if isinstance(value, Fault)]
    assert declared == list(FAULTS)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_an_unexpected_error_shows_where_it_happened_and_no_value() -> None:
    value = "somebody@example.com"
    try:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError(value) from error
    except ValueError as error:
        shown = repr(as_traced("message_opens", error).as_airbyte_message())
    assert "somebody" not in shown
    assert "ValueError" in shown
    assert "test_faults.py" in shown
