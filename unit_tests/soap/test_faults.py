"""What is decided about each answer, and that the table in the documentation says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from airbyte_cdk.models import FailureType

from source_listrak.soap import faults
from source_listrak.soap.faults import (
    FAULTS,
    Action,
    Fault,
    ListrakError,
    judge_status,
    judge_text,
    judge_token,
    redact,
    unexpected,
)
from unit_tests.soap.docs_table import TABLE, table


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
def test_given_a_bracketed_token_then_it_decides(text: str, fault: Fault | None) -> None:
    assert judge_token(text) is fault
    if fault is not None:
        assert judge_text(text, faults.OTHER_FAULT, about_message=True) is fault


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
def test_given_a_fault_about_rights_then_it_is_about_permission(text: str) -> None:
    assert judge_text(text, faults.OTHER_FAULT, about_message=True) is faults.PERMISSION


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
        "Transaction (Process ID 404001) was deadlocked",
        "",
    ],
)
def test_given_a_fault_of_the_server_itself_then_it_is_tried_again(text: str) -> None:
    assert judge_text(text, faults.OTHER_FAULT, about_message=True) is faults.OTHER_FAULT
    assert judge_text(text, faults.IN_BAND, about_message=False) is faults.IN_BAND


@pytest.mark.parametrize(
    ("text", "is_missing"),
    [
        ("The remote server returned an error: (404) Not Found.", True),
        ("HTTP 404", True),
        ("404", True),
        ("Error:404", True),
        ("message 14042 failed", False),
        ("code 404-7", False),
        ("4.404", False),
        ("in c:\\Report.cs:line 404", False),
    ],
)
def test_given_404_as_a_word_of_its_own_then_the_message_is_skipped(
    text: str, is_missing: bool
) -> None:
    expected = faults.MESSAGE_UNAVAILABLE if is_missing else faults.OTHER_FAULT
    assert judge_text(text, faults.OTHER_FAULT, about_message=True) is expected
    # A list has no other to go on with.
    assert judge_text(text, faults.OTHER_FAULT, about_message=False) is faults.OTHER_FAULT


@pytest.mark.parametrize(
    ("status", "is_html", "fault"),
    [
        (200, False, None),
        (200, True, faults.HTML_PAGE),
        (301, False, faults.REDIRECT),
        (302, True, faults.REDIRECT),
        (401, False, faults.PERMISSION),
        (403, False, faults.PERMISSION),
        (403, True, faults.HTML_PAGE),
        (407, False, faults.PROXY_LOGIN),
        (407, True, faults.PROXY_LOGIN),
        (404, False, faults.SERVER_ERROR),
        (202, False, faults.SERVER_ERROR),
        (429, False, faults.RATE_LIMITED),
        (429, True, faults.RATE_LIMITED),
        (500, False, faults.SERVER_ERROR),
        (500, True, faults.HTML_PAGE),
        (503, True, faults.UNAVAILABLE),
        (504, False, faults.SERVER_ERROR),
    ],
)
def test_given_a_status_and_no_word_of_the_body_then_it_decides(
    status: int, is_html: bool, fault: Fault | None
) -> None:
    assert judge_status(status, is_html=is_html) is fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_says_what_to_do_and_who_can_mend_it(fault: Fault) -> None:
    assert fault.message.endswith(".")
    assert (
        fault.failure_type
        is {
            Action.STOP: FailureType.config_error,
            Action.RETRY: FailureType.transient_error,
            Action.SKIP: FailureType.system_error,
            Action.REFUSE: FailureType.system_error,
        }[fault.action]
    )
    error = ListrakError(fault, "ReportX of message 7: HTTP 500")
    detail = "" if fault.says_all else " (ReportX of message 7: HTTP 500)"
    assert error.message == fault.message + detail
    assert error.internal_message == f"{fault.name}: ReportX of message 7: HTTP 500"
    assert str(error) == error.message
    assert error.failure_type is fault.failure_type


def test_names_of_faults_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_given_secrets_and_addresses_when_redacted_then_neither_is_left() -> None:
    text = "user  john@example.com\n<o'brien+7&sons@example.co.uk>: password hunter2"
    assert redact(text, ("hunter2",)) == "user <address> <<address>>: password ****".replace(
        "<<address>>", "<o'<address>>"
    )
    assert "@" not in redact(text)


def test_given_a_secret_at_the_cut_when_redacted_then_no_part_of_it_is_left() -> None:
    text = "x" * 295 + "hunter2" + "y" * 100
    told = redact(text, ("hunter2",))
    assert "hun" not in told
    assert len(told) <= 301


def test_given_an_error_with_values_when_unexpected_then_only_places_are_told() -> None:
    value = "somebody@example.com"
    try:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError(value) from error
    except ValueError as error:
        told = unexpected("message_opens", error)
    message = told.as_airbyte_message()
    text = repr(message)
    assert "somebody" not in text
    assert "ValueError" in text
    assert "test_faults.py" in text


def test_the_table_in_the_documentation_is_the_table_of_faults() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "run: python -m unit_tests.soap.docs_table"
    assert TABLE.is_relative_to(Path(__file__).resolve().parents[2] / "docs")
