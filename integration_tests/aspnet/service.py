"""Builds and runs the service: C#, on Mono's ASP.NET, behind nginx, on the loopback interface.

Mono's `wsdl2` generates the service's class and all types of its messages from the bundled WSDL.
Service.cs is the other part of the class. What is on the wire (names, order, types, nil, dates,
faults) is therefore decided by ASP.NET and by the WSDL, and by nothing in this project.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.messages import Records
from simulator import TABLES, SimulatorConfig
from simulator.tables import Parent, Table
from source_listrak.tables import TABLES as DECLARED

SOURCES = Path(__file__).parent
WSDL = SOURCES.parents[1] / "source_listrak" / "soap" / "IntegrationService.wsdl"
PATH = "/v31/IntegrationService.asmx"
LIBRARIES = ("System.Configuration", "System.Web", "System.Web.Extensions", "System.Web.Services")
START_SECONDS, STOP_SECONDS = 60, 10
START_DATE = "2023-04-01"
"""From when the tests read: the account has older rows, too."""
FIRST_NOON = f"{START_DATE}T12:00:00Z"


@dataclass(frozen=True)
class Layout:
    """What .NET leaves to the author of a service.

    :param date_kind: of each DateTime: `Unspecified` is written without an offset, `Local` with
        that of the account's zone, `Utc` with a Z
    :param date_format: of dates in strings, as .NET names formats
    :param empty_results: whether a page without rows has an empty result, or none
    """

    date_kind: str = "Unspecified"
    date_format: str = "yyyy-MM-ddTHH:mm:ss.FFFFFFF"
    empty_results: bool = False


@dataclass
class AspNet:
    """A running service.

    :param config: its user, its page size and the account's zone
    :param mono: its process, behind nginx
    """

    config: SimulatorConfig
    url: str
    folder: Path
    mono: subprocess.Popen[bytes]

    def publish(
        self,
        truth: Mapping[str, Records],
        layout: Layout = Layout(),
        faults: Mapping[str, str] | None = None,
    ) -> None:
        """Have the service return these records from now on, and forget earlier requests.

        :param truth: the records of each table, as the connector emits them
        :param faults: how the service fails, by operation and ID of its list, message or
            conversation ("ReportMessageContactSent 1004"); `account` where it has none
        """
        content = {
            "user_name": self.config.user_name,
            "password": self.config.password,
            "page_size": self.config.page_size,
            **vars(layout),
            "faults": faults or {},
            "reports": {one.operation: _reports(one, truth[one.name]) for one in TABLES.values()},
        }
        (self.folder / "log.jsonl").unlink(missing_ok=True)
        new = self.folder / "data.new"
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(self.folder / "data.json")

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests since `publish`, as ASP.NET read them.

        Each has an `operation`, its `arguments` by name, and the `user`: name and password.
        """
        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def _reports(table: Table, records: Records) -> dict[str, Records]:
    """Return the rows of a table by the ID in the request: what is in them, and their date."""
    ids = {
        Parent.LIST: "ListID",
        Parent.MESSAGE: "MsgID",
        Parent.CONVERSATION: "ConversationID",
        Parent.BATCH: "MsgID",
    }
    columns, cursor = {column.name for column in table.columns}, DECLARED[table.name].cursor
    found: dict[str, Records] = defaultdict(list)
    for record in records:
        subject = str(record[ids[table.parent]]) if table.parent in ids else "account"
        row = {name: value for name, value in record.items() if name in columns}
        # A row that does not show its date is in the range of the first sync, and in no later one.
        found[subject].append({"at": record.get(cursor or "", FIRST_NOON), "columns": row})
    return found


@contextmanager
def serve(config: SimulatorConfig) -> Iterator[AspNet]:
    """Build the service and run it until the end of the block, as `nobody` where this is root."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _build(folder)
        front = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        back = stack.enter_context(socket.socket(socket.AF_UNIX))
        back.bind(str(folder / "fastcgi.socket"))
        back.listen(128)
        port = front.getsockname()[1]
        text = (SOURCES / "nginx.conf").read_text(encoding="utf-8")
        text = text.replace("FOLDER", name).replace("PORT", str(port))
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, "nobody")
        # Both inherit a socket that already listens, so no request can arrive too early: Mono as
        # its standard input, nginx as when a running nginx is updated, by the variable NGINX.
        # Mono has a web server of its own (mono-xsp4), but Debian's does not start.
        mono = _start(
            stack,
            ["fastcgi-mono-server4", f"--applications=/:{folder / 'site'}", "--socket=pipe"],
            stdin=back,
            env={"TZ": config.account.time_zone, "HOME": name},
        )
        _start(
            stack,
            ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")],
            pass_fds=[front.fileno()],
            env={"NGINX": f"{front.fileno()};"},
        )
        service = AspNet(config, f"http://127.0.0.1:{port}{PATH}", folder, mono)
        front.close()  # or requests would wait here after the end of the processes
        back.close()
        # ASP.NET compiles what reads and writes the messages for the first request.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(service.url, timeout=START_SECONDS).close()
        yield service


def _build(folder: Path) -> None:
    site, generated = folder / "site", folder / "Generated.cs"
    service = site / PATH[1:]
    service.parent.mkdir(parents=True)
    service.write_text('<%@ WebService Class="IntegrationService" %>', encoding="utf-8")
    (site / "Global.asax").write_text('<%@ Application Inherits="Site" %>', encoding="utf-8")
    (site / "Web.config").write_text(
        "<configuration><appSettings>"
        f'<add key="data" value="{folder}"/></appSettings></configuration>',
        encoding="utf-8",
    )
    shutil.copy(SOURCES / "404.html", site)
    _run("wsdl2", "-server", f"-out:{generated}", WSDL)
    generated.write_text(_implemented(generated.read_text(encoding="utf-8")), encoding="utf-8")
    (site / "bin").mkdir()
    output, references = site / "bin" / "Service.dll", f"-r:{','.join(LIBRARIES)}"
    _run("mcs", "-target:library", f"-out:{output}", references, generated, SOURCES / "Service.cs")


def _implemented(text: str) -> str:
    """Return the generated class with operations that call `Rows`.

    The class is abstract. Attributes of its methods describe the messages, and ASP.NET ignores
    those of overridden methods, so a subclass would have to repeat them all.
    """

    def implement(match: re.Match[str]) -> str:
        row, operation, parameters = match.groups()
        names = [one.split()[-1] for one in parameters.split(", ") if one]
        declare = "" if "WSException" in names else "WSException WSException = null; "
        arguments = f'"{operation}", new {{ {", ".join(names)} }}, ref WSException'
        return (
            f"public {row}[] {operation}({parameters}) "
            f"{{ {declare}return Rows<{row}>({arguments}); }}"
        )

    text, count = re.subn(r"public abstract (\w+)\[\] (\w+)\((.*)\);", implement, text)
    if count != len(TABLES):
        raise RuntimeError(f"{count} operations of {len(TABLES)} were found in wsdl2's output")
    return text.replace("public abstract partial class", "public partial class", 1)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _start(
    stack: ExitStack, command: list[str], *, env: Mapping[str, str], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process, and stop it with the stack."""
    process = subprocess.Popen(
        command,
        env={"PATH": f"{os.environ['PATH']}:/usr/sbin", **env},
        user="nobody" if os.geteuid() == 0 else None,
        **options,
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
