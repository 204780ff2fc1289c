"""Runs Airbyte's own checks of connectors, at the level for certified ones, on the tracked files.

python scripts/qa.py    fails unless exactly the checks in KNOWN_FAILURES fail

Needs the packages of scripts/qa.txt. The checks expect the layout of Airbyte's repository, so they
run on a copy in that layout, which differs in the address of the documentation and in the support
level. Airbyte's registry and Docker Hub are not consulted: there is no release in either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from airbyte_ops_mcp.connector_ops.utils import Connector
from airbyte_ops_mcp.connector_qa.checks import ENABLED_CHECKS
from airbyte_ops_mcp.connector_qa.checks.metadata import ValidateMetadata
from airbyte_ops_mcp.connector_qa.models import Check, CheckResult, CheckStatus
from airbyte_ops_mcp.metadata_validator import (
    PRE_UPLOAD_VALIDATORS,
    ValidatorOptions,
    validate_and_load,
)

ROOT = Path(__file__).resolve().parents[1]
NAME = "source-listrak"

KNOWN_FAILURES = {
    "CheckConnectorUsesPoetry",
    "CheckConnectorLicenseMatchInPyproject",
    "CheckConnectorVersionMatchInPyproject",
    "CheckConnectorCDKTag",
    "CheckConnectorUsesHTTPSOnly",
    "CheckConnectorUsesPythonBaseImage",
}
"""The checks that cannot pass. docs/decisions.md has the reasons."""


class Unreleased(Connector):
    """The connector, which is not in Airbyte's registry."""

    is_released = False


def lay_out(repository: Path) -> None:
    """Copy the tracked files to where Airbyte's repository would have them."""
    code = repository / "airbyte-integrations" / "connectors" / NAME
    pages = repository / "docs" / "integrations" / "sources"
    listed = subprocess.run(
        ["/usr/bin/env", "git", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, code / name)
    pages.mkdir(parents=True)
    for page in ("listrak.md", "listrak-migrations.md"):
        (code / "docs" / page).rename(pages / page)

    metadata = yaml.safe_load((code / "metadata.yaml").read_text(encoding="utf-8"))
    metadata["data"] |= {
        "documentationUrl": "https://docs.airbyte.com/integrations/sources/listrak",
        "supportLevel": "certified",
        "ab_internal": {"sl": 300, "ql": 400, "requireVersionIncrementsInPullRequests": False},
    }
    (code / "metadata.yaml").write_text(yaml.safe_dump(metadata), encoding="utf-8")


def run(check: Check, connector: Connector) -> CheckResult:
    """Run one check; one that raises has failed."""
    try:
        if not isinstance(check, ValidateMetadata):
            return check.run(connector)
        options = ValidatorOptions(
            str(connector.documentation_file_path), disable_dockerhub_checks=True
        )
        path = connector.metadata_file_path
        metadata, error = validate_and_load(path, PRE_UPLOAD_VALIDATORS, options)
        return check.create_check_result(connector, metadata is not None, str(error or "Valid"))
    except Exception as error:
        return check.fail(connector, f"The check itself raises {error!r}")


def main() -> int:
    """Print each check's result, and compare the failures with the known ones."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        os.chdir(folder)
        results = {type(check).__name__: run(check, Unreleased(NAME)) for check in ENABLED_CHECKS}
        os.chdir(ROOT)
    for name, result in results.items():
        message = " ".join(result.message.split())
        print(f"{result.status.name:7} {name}: {message[:160]}")
    failed = {name for name, one in results.items() if one.status is CheckStatus.FAILED}
    for name in sorted(failed - KNOWN_FAILURES):
        print(f"\nFails, but is not in KNOWN_FAILURES: {name}\n{results[name].message}")
    for name in sorted(KNOWN_FAILURES - failed):
        print(f"\nPasses, so remove it from KNOWN_FAILURES: {name}")
    return int(failed != KNOWN_FAILURES)


if __name__ == "__main__":
    sys.exit(main())
