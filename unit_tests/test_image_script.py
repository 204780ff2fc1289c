"""scripts/image.sh uses the Docker daemon, or else the tool that IMAGE_TOOL names."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment without a Docker daemon and without a tool in its place."""
    script(tmp_path / "docker", "exit 1")
    search = f"{tmp_path}:{os.environ['PATH']}"
    return {name: value for name, value in os.environ.items() if name != "IMAGE_TOOL"} | {
        "PATH": search
    }


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "image.sh", *arguments],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_without_an_engine_it_says_what_to_set(environment: dict[str, str]) -> None:
    assert run(environment, "available").returncode == 1
    done = run(environment, "build", "anything")
    assert done.returncode == 1
    assert done.stderr == "No Docker daemon answers, and IMAGE_TOOL is not set.\n"


def test_a_tool_builds_the_image_with_the_labels_of_the_metadata(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tool = script(tmp_path / "tool", "printf '%s\\n' \"$@\"")
    done = run(environment | {"IMAGE_TOOL": str(tool)}, "build", "some/image:dev", "--no-cache")
    known = yaml.safe_load((ROOT / "metadata.yaml").read_text(encoding="utf-8"))["data"]
    lines = done.stdout.splitlines()
    assert lines[:4] + lines[-1:] == ["up", "build", ".", "some/image:dev", "--no-cache"]
    assert lines[4:-1:2] == ["--label"] * 7
    labels = dict(line.split("=", 1) for line in lines[5:-1:2])
    assert re.fullmatch("[0-9a-f]{40}", labels.pop("org.opencontainers.image.revision"))
    assert labels == {
        "io.airbyte.name": known["dockerRepository"],
        "io.airbyte.version": known["dockerImageTag"],
        "org.opencontainers.image.title": known["dockerRepository"],
        "org.opencontainers.image.description": metadata("airbyte-source-listrak")["Summary"],
        "org.opencontainers.image.version": known["dockerImageTag"],
        "org.opencontainers.image.licenses": known["license"],
    }


def test_a_command_finds_the_engine_of_the_tool(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tool = script(tmp_path / "tool", '[ "$1" != env ] || echo export DOCKER_HOST=unix:///engine')
    done = run(environment | {"IMAGE_TOOL": str(tool)}, "exec", "printenv", "DOCKER_HOST")
    assert done.stdout == "unix:///engine\n"


def test_a_daemon_is_used_where_it_answers(environment: dict[str, str], tmp_path: Path) -> None:
    script(tmp_path / "docker", 'echo "$@"')
    assert run(environment, "available").returncode == 0
    done = run(environment, "exec", "docker", "run", "some/image:dev", "spec")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run --network=host some/image:dev spec\n"
