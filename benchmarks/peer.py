"""The peer: a plain serial client on zeep, as other Listrak integrations read the API."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import zeep
from zeep.helpers import serialize_object

import source_listrak
from source_listrak.streams import STREAMS

WSDL = Path(source_listrak.__file__).parent / "soap" / "IntegrationService.wsdl"
OPERATIONS = {stream.name: stream.operation for stream in STREAMS}


def main(url: str, user_name: str, password: str, tables: list[str]) -> None:
    """Read tables one request after another and print each record as a line of JSON."""
    client = zeep.Client(str(WSDL))
    service = client.create_service(next(iter(client.wsdl.bindings)), url)
    header = {"WSUser": {"UserName": user_name, "Password": password}}
    start, end = datetime(2000, 1, 1), datetime(2100, 1, 1)
    lists = service.GetContactListCollection(_soapheaders=header)
    for one in lists or []:
        messages = service.ReportListMessageActivity(
            ListID=one.ListID,
            StartDate=start,
            EndDate=end,
            IncludeTestMessages=True,
            WSException=zeep.xsd.Nil,
            _soapheaders=header,
        ).ReportListMessageActivityResult
        for message in messages.WSMessageActivity if messages else []:
            for table in tables:
                page = 1
                while True:
                    rows = service[OPERATIONS[table]](
                        MsgID=message.MsgID,
                        StartDate=start,
                        EndDate=end,
                        Page=page,
                        _soapheaders=header,
                    )
                    if not rows:
                        break
                    for row in rows:
                        record = serialize_object(row, dict) | {"MsgID": message.MsgID}
                        sys.stdout.write(json.dumps({"type": "RECORD", "record": record}) + "\n")
                    page += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].split(","))
