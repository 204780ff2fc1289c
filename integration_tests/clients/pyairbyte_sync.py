"""One sync by PyAirbyte into a DuckDB file; prints what it says it processed.

Runs in the clients' environment, which holds neither the connector nor this project:
    python pyairbyte_sync.py EXECUTABLE CONFIG.json FOLDER [--full-refresh]
"""

import json
import sys
from pathlib import Path

import airbyte
from airbyte.caches import DuckDBCache


def main() -> None:
    """Check, then read every stream, incrementally where the source can."""
    executable, config, folder, *options = sys.argv[1:]
    source = airbyte.get_source(
        "source-listrak",
        config=json.loads(Path(config).read_text(encoding="utf-8")),
        local_executable=Path(executable),
    )
    source.check()
    source.select_all_streams()
    cache = DuckDBCache(db_path=Path(folder) / "cache.duckdb", schema_name="listrak")
    result = source.read(cache=cache, force_full_refresh="--full-refresh" in options)
    print("processed", result.processed_records)


if __name__ == "__main__":
    main()
