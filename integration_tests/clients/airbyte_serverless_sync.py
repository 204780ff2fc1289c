"""One incremental sync by airbyte-serverless, appended to files of JSON lines.

Runs in the clients' environment, which holds neither the connector nor this project:
    python airbyte_serverless_sync.py EXECUTABLE CONFIG.json FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

from airbyte_serverless.destinations import BaseDestination
from airbyte_serverless.sources import Source

State = dict[str, Any]


class FileDestination(BaseDestination):  # type: ignore[misc]
    """The client's own loading, into files instead of its cloud database."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`."""
        super().__init__()
        self.folder = folder

    def get_state(self) -> list[State]:
        """Return the last state of each stream."""
        path = self.folder / "_airbyte_states.jsonl"
        last: dict[str, State] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
                state = json.loads(json.loads(line)["_airbyte_data"])
                last[state["stream"]["stream_descriptor"]["name"]] = state
        return list(last.values())

    def _write(self, record_type: str, records: list[dict[str, Any]]) -> None:
        with (self.folder / f"{record_type}.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def main() -> None:
    """Check, then read every stream."""
    executable, config, folder = sys.argv[1:]
    source = Source(
        executable=executable, config=json.loads(Path(config).read_text(encoding="utf-8"))
    )
    assert source.connection_status["status"] == "SUCCEEDED"
    destination = FileDestination(Path(folder))
    destination.load(source.extract(state=destination.get_state()))


if __name__ == "__main__":
    main()
