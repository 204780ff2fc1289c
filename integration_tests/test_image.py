"""The image as a platform runs it: its own user, files under /secrets, the host's network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers.messages import Result, differences
from drivers.process import files, result_of, run
from drivers.setups import ROOT, START_DATE
from integration_tests import acceptance
from simulator import SimulatorProcess

pytestmark = [pytest.mark.image_tests, pytest.mark.xdist_group("acceptance")]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with acceptance.serving() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> str:
    name: str | None = request.config.getoption("--connector-image")
    if name is None:
        pytest.skip("there is no image to test: make image-test")
    return name


class Container:
    """Runs the image with files mounted under /secrets."""

    def __init__(self, image: str, folder: Path) -> None:
        self.image = image
        self.folder = folder
        folder.chmod(0o755)

    def run(self, verb: str, **contents: Any) -> Result:
        names = files(self.folder, **contents)
        for path in self.folder.iterdir():
            path.chmod(0o644)
        arguments = [name.replace(str(self.folder), "/secrets") for name in names]
        done = docker(
            "run", "--rm", "--network=host", "--volume", f"{self.folder}:/secrets:ro",
            self.image, verb, *arguments,
        )  # fmt: skip
        return result_of(done.returncode, done.stdout.encode(), done.stderr.encode())


@pytest.fixture
def container(image: str, tmp_path: Path) -> Container:
    return Container(image, tmp_path)


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def inspect(image: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", image).stdout)
    details: dict[str, Any] = found
    return details


def metadata() -> dict[str, Any]:
    text = (ROOT / "metadata.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)["data"]
    return data


def load(name: str) -> Any:
    return json.loads((acceptance.FOLDER / name).read_text(encoding="utf-8"))


def test_the_image_says_what_it_is(image: str) -> None:
    config = inspect(image)["Config"]
    known = metadata()
    assert config["Labels"]["io.airbyte.name"] == known["dockerRepository"]
    assert config["Labels"]["io.airbyte.version"] == known["dockerImageTag"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert environment["AIRBYTE_ENTRYPOINT"].split() == config["Entrypoint"]
    assert not [name for name in environment if "proxy" in name.lower()]


def test_the_user_is_not_root_and_cannot_write_the_code(image: str) -> None:
    code = "import os, source_listrak as s; print(os.getuid(), os.access(s.__path__[0], os.W_OK))"
    done = docker("run", "--rm", "--entrypoint", "python", image, "-c", code)
    user, writable = done.stdout.split()
    assert user != "0" and writable == "False", done.stderr


def test_the_image_contains_only_what_a_sync_needs(
    image: str,
) -> None:
    code = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
    done = docker("run", "--rm", "--entrypoint", "python", image, "-c", code)
    installed = set(done.stdout.split())
    assert {"airbyte-source-listrak", "airbyte-cdk", "zeep", "lxml"} <= installed, done.stderr
    assert not installed & {"pip", "pytest", "mypy", "ruff", "duckdb", "aiohttp", "hypothesis"}
    listing = docker("run", "--rm", "--entrypoint", "ls", image, "-A", "/airbyte/integration_code")
    assert listing.stdout.split() == ["main.py"]


def test_the_password_is_a_secret_in_the_spec(container: Container) -> None:
    result = container.run("spec")
    assert result.code == 0
    (message,) = result.of("SPEC")
    properties = message["spec"]["connectionSpecification"]["properties"]
    assert properties["password"]["airbyte_secret"] is True


def test_a_check_with_the_right_password_succeeds(
    container: Container, simulator: SimulatorProcess
) -> None:
    result = container.run("check", config=load("sample_config.json"))
    assert (result.code, result.connection["status"]) == (0, "SUCCEEDED")


def test_a_check_names_a_wrong_password_without_showing_it(
    container: Container, simulator: SimulatorProcess
) -> None:
    config = load("invalid_config.json")
    result = container.run("check", config=config)
    assert result.connection["status"] == "FAILED"
    assert "user name or password" in result.connection["message"]
    assert config["password"] not in result.stdout + result.stderr


def test_the_catalog_is_that_of_the_source(container: Container) -> None:
    result = container.run("discover", config=load("sample_config.json"))
    assert result.code == 0
    (message,) = result.of("CATALOG")
    (wanted,) = run("discover", config=load("sample_config.json")).of("CATALOG")
    assert message["catalog"] == wanted["catalog"]


def test_all_tables_of_the_image_equal_the_truth(
    container: Container, simulator: SimulatorProcess
) -> None:
    """A second read, from the state of the first, returns no old events."""
    inputs = {"config": load("sample_config.json"), "catalog": load("configured_catalog.json")}
    first = container.run("read", **inputs)
    assert first.code == 0, first.stderr
    assert set(first.statuses.values()) == {"COMPLETE"}
    truth = simulator.truth(since=START_DATE)
    assert all(truth.values()), "a table without rows proves nothing"
    assert differences(first, truth) == {}

    second = container.run("read", **inputs, state=first.state)
    assert second.code == 0, second.stderr
    for table in ("message_opens", "message_clicks", "list_removals", "conversation_opens"):
        assert not second.records(table), table


def test_a_read_with_a_wrong_password_is_one_config_error(
    container: Container, simulator: SimulatorProcess
) -> None:
    config, catalog = load("invalid_config.json"), load("configured_catalog.json")
    result = container.run("read", config=config, catalog=catalog)
    assert result.code == 1
    assert [error["failure_type"] for error in result.errors] == ["config_error"]
    assert config["password"] not in result.stdout + result.stderr


def test_a_config_without_a_password_names_the_field(
    container: Container,
) -> None:
    catalog = load("configured_catalog.json")
    result = container.run("read", config={"username": "demo"}, catalog=catalog)
    assert result.code == 1
    assert "'password' is missing" in result.errors[0]["message"]


def test_an_unknown_command_fails(container: Container) -> None:
    assert container.run("reed").code not in (0, None)
