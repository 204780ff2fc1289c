"""What is written in two places says the same in both."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import uuid
from datetime import date
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from airbyte_cdk.models.connector_metadata import ConnectorLanguage, MetadataFile
from packaging.requirements import Requirement
from packaging.version import Version

from scripts.changelog import releases
from source_listrak import SourceListrak
from source_listrak.config import LIVE_ENDPOINT
from source_listrak.tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
DISTRIBUTION = metadata.distribution("airbyte-source-listrak")
REQUIREMENTS = [Requirement(text) for text in DISTRIBUTION.requires or []]
NEEDED = [one for one in REQUIREMENTS if one.marker is None]
SPECIFICATION = SourceListrak().spec(logging.getLogger("airbyte"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def connector() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(text("metadata.yaml"))["data"]
    return data


# One version, one name, one license


def test_the_image_tag_and_the_newest_release_are_the_package_version(
    connector: dict[str, Any],
) -> None:
    assert connector["dockerImageTag"] == DISTRIBUTION.version
    assert releases(text("CHANGELOG.md"))[0].version == DISTRIBUTION.version


def test_the_changelog_is_in_order_and_every_section_is_read() -> None:
    found = releases(text("CHANGELOG.md"))
    assert len(found) == len(re.findall("^## ", text("CHANGELOG.md"), re.MULTILINE))
    assert found == sorted(found, key=lambda one: Version(one.version), reverse=True)
    assert found == sorted(found, key=lambda one: date.fromisoformat(one.date), reverse=True)
    assert all(one.changes for one in found)


def test_the_registry_names_the_package(connector: dict[str, Any]) -> None:
    assert connector["remoteRegistries"]["pypi"]["packageName"] == DISTRIBUTION.metadata["Name"]


def test_the_license_is_the_same_everywhere(connector: dict[str, Any]) -> None:
    name = connector["license"]
    assert DISTRIBUTION.metadata["License-Expression"] == name
    assert text("LICENSE").startswith(f"{name} License")


# metadata.yaml


def test_metadata_is_a_python_source_to_the_cdk(connector: dict[str, Any]) -> None:
    parsed = MetadataFile.from_file(ROOT / "metadata.yaml").data
    assert parsed.language == ConnectorLanguage.PYTHON
    assert uuid.UUID(connector["definitionId"]).version == 4
    assert (ROOT / connector["icon"]).is_file()


def test_metadata_allows_the_host_that_is_called(connector: dict[str, Any]) -> None:
    assert connector["allowedHosts"]["hosts"] == [urlsplit(LIVE_ENDPOINT).hostname]


def test_suggested_streams_exist(connector: dict[str, Any]) -> None:
    assert set(connector["suggestedStreams"]["streams"]) <= set(TABLES)


def test_the_documentation_has_no_dead_links(
    connector: dict[str, Any],
) -> None:
    assert connector["documentationUrl"].endswith("/integrations/custom-connectors")
    assert SPECIFICATION.documentationUrl is None
    assert DISTRIBUTION.metadata.get_all("Project-URL") is None


def test_breaking_changes_are_in_the_migration_guide(
    connector: dict[str, Any],
) -> None:
    breaking = connector["releases"]["breakingChanges"]
    assert set(breaking) <= {one.version for one in releases(text("CHANGELOG.md"))}
    guide = re.findall("^## Upgrading to (.*)$", text("docs/listrak-migrations.md"), re.MULTILINE)
    assert guide == sorted(breaking, key=Version, reverse=True)


# The image and its lock


def test_the_base_image_is_the_same_and_pinned_by_digest(connector: dict[str, Any]) -> None:
    base = connector["connectorBuildOptions"]["baseImage"]
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", base)
    assert f"ARG BASE_IMAGE={base}\n" in text("Dockerfile")


def test_the_lock_has_every_dependency_within_its_bounds() -> None:
    locked = dict(re.findall(r"^(\S+)==(\S+)", text("requirements.txt"), re.MULTILINE))
    assert {one.name for one in NEEDED} <= set(locked)
    assert [one.name for one in NEEDED if locked[one.name] not in one.specifier] == []


def test_the_lock_has_hashes_and_names_no_registry() -> None:
    lock = text("requirements.txt")
    pinned = re.findall(r"^\S+==.*(?:\n    .*)*", lock, re.MULTILINE)
    assert [one for one in pinned if "--hash=sha256:" not in one] == []
    assert "://" not in lock


def test_the_build_needs_nothing_outside_the_repository() -> None:
    for name in ("Dockerfile", "Makefile", "scripts/image.sh"):
        assert "../" not in text(name), name


# Dependencies and Python versions


@pytest.mark.parametrize("requirement", NEEDED, ids=lambda one: one.name)
def test_a_dependency_is_bounded_and_explained(requirement: Requirement) -> None:
    operators = {one.operator for one in requirement.specifier}
    assert ">=" in operators
    # These two hold data and are versioned by date: an upper bound could only give older data.
    assert "<" in operators or requirement.name in {"certifi", "tzdata"}
    ordered = sorted(requirement.specifier, key=lambda one: Version(one.version))
    bounds = ", ".join(f"{one.operator}{one.version}" for one in ordered)
    assert f"| {requirement.name} | `{bounds}` |" in text("docs/dependencies.md")


def test_every_supported_python_version_is_tested() -> None:
    tested = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]["checks"]["strategy"]
    prefix = "Programming Language :: Python :: 3."
    named = [
        one.rpartition(" ")[2]
        for one in DISTRIBUTION.metadata.get_all("Classifier", [])
        if one.startswith(prefix)
    ]
    assert tested["matrix"]["python"] == named
    accepted = Requirement(f"python{DISTRIBUTION.metadata['Requires-Python']}").specifier
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in accepted] == named


def test_the_package_includes_its_data() -> None:
    package = resources.files("source_listrak")
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("soap/IntegrationService.wsdl").is_file()
    schemas = {item.name.removesuffix(".json") for item in package.joinpath("schemas").iterdir()}
    assert schemas == set(TABLES)


def test_a_command_that_sends_no_request_does_not_import_zeep() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "main.py", "spec"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "source_listrak.source" in imported
    assert "zeep" not in imported


# Commands and options that documents name


@pytest.mark.parametrize(
    "document",
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("docs/*.md")),
        ROOT / ".github" / "pull_request_template.md",
        *WORKFLOWS,
    ],
    ids=lambda path: path.name,
)
def test_every_command_that_is_named_exists(document: Path) -> None:
    named = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|run: |^ *)make ([a-z-]+)", named, re.MULTILINE))
    for several in re.findall(r"\.ci/run ([a-z -]+)$", named, re.MULTILINE):
        targets |= set(several.split())
    commands = set(re.findall(r"^\.PHONY: (\S+)$", text("Makefile"), re.MULTILINE))
    assert targets <= commands


# The workflows


def test_the_ci_workflow_runs_what_ci_run_runs() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    run = [one for step in steps for one in step.removeprefix(".ci/run ").split()]
    targets = re.findall(r"^  ([a-z-]+) +#", text(".ci/run"), re.MULTILINE)
    assert sorted(run) == sorted(targets)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_commit_with_its_version_beside_it(workflow: Path) -> None:
    used = re.findall(r"uses: (\S+@.*)", workflow.read_text(encoding="utf-8"))
    pinned = re.compile(r"\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [one for one in used if not pinned.fullmatch(one)] == []


def test_the_demo_is_installed_by_the_uv_of_development() -> None:
    (bounds,) = (one.specifier for one in REQUIREMENTS if one.name == "uv")
    (used,) = re.findall(r"^UV := (.*)$", text("Makefile"), re.MULTILINE)
    assert Requirement(used).specifier == bounds
