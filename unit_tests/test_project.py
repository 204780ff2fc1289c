"""What is written in two places says the same in both."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from airbyte_cdk.models.connector_metadata import ConnectorLanguage, MetadataFile
from packaging.requirements import Requirement
from packaging.version import Version

from source_listrak import SourceListrak
from source_listrak.config import LIVE_ENDPOINT, ListrakConfig

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = metadata.distribution("source-listrak")
REQUIREMENTS = [Requirement(text) for text in DISTRIBUTION.requires or []]
NEEDED = [one for one in REQUIREMENTS if one.marker is None]


def test_what_sends_no_request_does_not_wait_for_what_requests_need() -> None:
    loaded = "[name for name in ('lxml', 'pycurl', 'zeep') if name in sys.modules]"
    program = f"import sys; import source_listrak.run; print({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def connector() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "metadata.yaml").read_text(encoding="utf-8"))
    data: dict[str, Any] = document["data"]
    return data


def test_image_tag_and_label_are_the_package_version(connector: dict[str, Any]) -> None:
    assert connector["dockerImageTag"] == DISTRIBUTION.version
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"io.airbyte.version={DISTRIBUTION.version}\n" in dockerfile
    assert f"io.airbyte.name={connector['dockerRepository']} " in dockerfile


def test_the_base_image_is_one_version_and_pinned_by_digest(connector: dict[str, Any]) -> None:
    image = connector["connectorBuildOptions"]["baseImage"]
    name, digest = image.split("@")
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    assert f"ARG BASE_IMAGE={name}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_metadata_is_a_python_source_to_the_cdk(connector: dict[str, Any]) -> None:
    parsed = MetadataFile.from_file(ROOT / "metadata.yaml").data
    assert parsed.language == ConnectorLanguage.PYTHON
    assert uuid.UUID(connector["definitionId"]).version == 4
    assert (ROOT / connector["icon"]).is_file()


def test_metadata_allows_the_host_that_is_called(connector: dict[str, Any]) -> None:
    assert connector["allowedHosts"]["hosts"] == [urlsplit(LIVE_ENDPOINT).hostname]


def test_suggested_streams_exist(connector: dict[str, Any]) -> None:
    config = {"username": "someone", "password": "secret"}
    streams = {one.name for one in SourceListrak().streams(config)}
    assert set(connector["suggestedStreams"]["streams"]) <= streams


def test_the_license_is_the_same_everywhere(connector: dict[str, Any]) -> None:
    name = connector["license"]
    assert DISTRIBUTION.metadata["License-Expression"] == name
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(f"{name} License")


@pytest.mark.parametrize("requirement", NEEDED, ids=lambda one: one.name)
def test_a_dependency_is_bounded_and_explained(requirement: Requirement) -> None:
    operators = {one.operator for one in requirement.specifier}
    assert ">=" in operators
    # These two hold data, are versioned by date, and older data is all that a bound could give.
    assert "<" in operators or requirement.name in {"certifi", "tzdata"}
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert f"| {requirement.name} | `{_bounds(requirement)}` |" in explained


def test_python_versions_are_those_that_are_tried() -> None:
    tried = re.findall(
        r'"(3\.\d+)"', (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    prefix = "Programming Language :: Python :: 3."
    named = [
        one.rpartition(" ")[2]
        for one in DISTRIBUTION.metadata.get_all("Classifier", [])
        if one.startswith(prefix)
    ]
    assert tried == named
    accepted = Requirement(f"python{DISTRIBUTION.metadata['Requires-Python']}").specifier
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in accepted] == tried


def test_the_package_brings_its_data() -> None:
    package = resources.files("source_listrak")
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("soap/IntegrationService.wsdl").is_file()
    assert len(list(package.joinpath("schemas").iterdir())) == 9


def test_the_readme_tells_every_option_and_its_default() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", readme, flags=re.MULTILINE))
    properties = ListrakConfig.connection_specification()["properties"]
    assert list(rows) == list(properties)
    for name, field in properties.items():
        if "default" in field and name != "endpoint":
            assert rows[name] == f"`{str(field['default']).removesuffix('.0')}`".replace(
                "True", "true"
            )


def test_the_commands_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"(?:`|run: |^ *)make ([a-z-]+)", text, flags=re.MULTILINE):
            assert f".PHONY: {target}\n" in makefile, document


def _bounds(requirement: Requirement) -> str:
    ordered = sorted(requirement.specifier, key=lambda one: Version(one.version))
    return ", ".join(f"{one.operator}{one.version}" for one in ordered)
