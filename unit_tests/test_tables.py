"""The contract of the tables: what a destination and the service are promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import source_listrak
from drivers.setups import NINE
from source_listrak.source import SourceListrak
from source_listrak.tables import TABLES, Table, schema

WSDL = etree.parse(str(Path(source_listrak.__file__).parent / "soap" / "IntegrationService.wsdl"))
XS = "{http://www.w3.org/2001/XMLSchema}"
ALL_TABLES = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)

# Table, operation, cursor, primary key. A change breaks existing destinations.
CONTRACT = """
lists GetContactListCollection - ListID;
messages ReportListMessageActivity SendDate MsgID;
subscribed_contacts ReportRangeSubscribedContacts AdditionDate ContactID,ListID;
message_sends ReportMessageContactSent MsgID MsgID,EmailAddress;
message_bounces ReportRangeMessageContactBounces BounceDate MsgID,EmailAddress;
message_opens ReportRangeMessageContactOpen OpenDate MsgID,EmailAddress;
message_reads ReportRangeMessageContactRead ReadDate MsgID,EmailAddress;
message_clicks ReportRangeMessageContactClick ClickDate MsgID,EmailAddress;
message_unsubs ReportRangeMessageContactRemoval RemovalDate MsgID,EmailAddress;
list_removals ReportRangeListContactRemoval RemovalDate ListID,ContactID,RemovalDate;
list_address_changes ReportRangeListContactHygiene HygieneDate ListID,ContactID,HygieneDate;
list_imports ReportListImportHistory StartDate ImportFileID;
campaigns GetCampaignCollection - ListID,CampaignID;
profile_headers GetProfileHeaderCollection - ListID,HeaderID;
transactional_messages GetTransactionalMessageCollection - ListID,TransactionalMsgID;
message_deliveries ReportListMessageDelivery SendDate MsgID;
message_analytics GetMessageAnalyticsInformation SendDate MsgID;
message_links ReportMessageLinkClick MsgID MsgID,LinkID;
message_open_locations ReportMessageLocationOpen MsgID MsgID,CountryID,RegionID;
message_read_locations ReportMessageLocationRead MsgID MsgID,CountryID,RegionID;
message_click_locations ReportMessageLocationClick MsgID MsgID,CountryID,RegionID;
conversations ReportListConversationActivity - ListID,ConversationID;
conversation_deliveries ReportListConversationDelivery - ListID,ConversationID;
conversation_sends ReportConversationContactDelivery SendDate
  ConversationID,MsgID,ContactID,SendDate;
conversation_bounces ReportConversationContactBounce BounceDate
  ConversationID,MsgID,ContactID,BounceDate;
conversation_opens ReportConversationContactOpen OpenDate ConversationID,MsgID,ContactID,OpenDate;
conversation_reads ReportConversationContactRead ReadDate ConversationID,MsgID,ContactID,ReadDate;
conversation_unsubs ReportConversationContactRemoval RemoveDate
  ConversationID,MsgID,ContactID,RemoveDate;
conversation_links ReportConversationLinkClick - ConversationID,MsgID,LinkID;
abuse_complaints ReportAdminContactFeedbackLoop AbuseDate ListID,MessageID,ContactID,AbuseDate;
"""
PARENTS = {
    "login": set(),
    "account": set(),
    "list": {"ListID"},
    "report": {"ListID"},
    "batch": {"MsgIDs"},
    "message": {"MsgID"},
    "conversation": {"ConversationID"},
}


def test_the_tables_are_those_of_the_contract_in_its_order() -> None:
    found = [
        f"{name} {table.operation} {table.cursor or '-'} {','.join(table.key)}"
        for name, table in TABLES.items()
    ]
    assert found == [" ".join(line.split()) for line in CONTRACT.split(";") if line.strip()]
    assert tuple(TABLES)[:9] == NINE


@ALL_TABLES
def test_requests_have_the_arguments_of_the_interface(table: Table) -> None:
    request = WSDL.find(f".//{XS}schema/{XS}element[@name='{table.operation}']")
    assert request is not None
    names = {element.attrib["name"] for element in request.iter(f"{XS}element")}
    expected = {*PARENTS[table.sliced_by], *dict(table.constants)}
    expected |= {"StartDate", "EndDate"} if table.ranged else set()
    expected |= {"Page"} if table.paged else set()
    expected |= {"IncludeTestMessages"} if table.sliced_by == "report" and table.ranged else set()
    assert names - {table.operation, "WSException"} == expected


@ALL_TABLES
def test_keys_and_cursors_are_columns(
    table: Table,
) -> None:
    columns = schema(table.name)["properties"]
    assert set(table.key) <= columns.keys()
    assert table.cursor is None or table.cursor in columns
    for name in table.added:
        assert columns[name]["type"] == "integer"
    # A child's rows and its parent's are joined by the parent's id.
    if table.sliced_by in ("list", "report", "message", "conversation"):
        assert table.id_column in columns


@ALL_TABLES
def test_what_saves_requests_is_a_counter_of_the_parents(table: Table) -> None:
    for counter in table.counters:
        columns = schema(table.counted_by or table.report)["properties"]
        assert columns[counter]["type"] == ["null", "integer"]


@ALL_TABLES
def test_repeated_events_are_kept_apart_if_configured(table: Table) -> None:
    def key(**values: Any) -> list[str]:
        streams = SourceListrak().streams({"username": "me", "password": "x", **values})
        (keys,) = (stream.primary_key for stream in streams if stream.name == table.name)
        return keys

    assert key() == list(table.key)
    repeated = key(keep_repeated_events=True)
    assert set(repeated) == {*table.key, *table.repeats}
    events = {"message_bounces", "message_opens", "message_reads", "message_clicks"}
    if table.name in {*events, "message_unsubs"}:
        assert table.cursor in repeated
    assert ("LinkUrl" in repeated) == (table.name == "message_clicks")
