"""The input files, as a person or a platform writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.inputs import read_catalog, read_config

CONFIG = {"username": "me", "password": "secret-value"}


def test_a_configuration_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    values = {**CONFIG, "password": "pässword", "other": [1]}
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    assert read_config(str(path)) == values


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_written_by_windows_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "config.json"
    values = {**CONFIG, "password": "pässword"}
    path.write_text(json.dumps(values, ensure_ascii=False), encoding=encoding)
    assert read_config(path) == values


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"type": "CATALOG", "catalog": {"streams": []}}', "contains the output of discover, not"),
        ('{"type": "LOG"}\n{"type": "CATALOG"}\n', "is not valid JSON. It contains several values"),
    ],
)
def test_the_output_of_a_command_is_named_where_a_catalog_is_expected(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AirbyteTracedException, match=f"^The catalog file {sentence}") as caught:
        read_catalog(path)
    assert caught.value.failure_type is FailureType.config_error


@pytest.mark.parametrize("content", ["7", "null", "true", '"catalog"', "[]", '{"streams": [1]}'])
def test_a_file_that_holds_no_catalog_is_a_config_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content, encoding="utf-8")
    expected = "^The catalog file does not contain a configured catalog: Schema validation failed"
    with pytest.raises(AirbyteTracedException, match=expected) as caught:
        read_catalog(path)
    assert caught.value.failure_type is FailureType.config_error


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'["secret-value"]', "The configuration is not a JSON object."),
        (b'"secret-value"', "The configuration is not a JSON object."),
        (b"", "The configuration file is not valid JSON."),
        (b'{"password": "secret-value"', "The configuration file is not valid JSON."),
        (b'{"password": "\xff"}', "The configuration file is not valid JSON."),
        (b"[" * 100_000, "The configuration file is not valid JSON."),
    ],
)
def test_a_file_that_holds_no_configuration_is_a_config_error(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(AirbyteTracedException) as caught:
        read_config(path)
    assert caught.value.failure_type is FailureType.config_error
    assert caught.value.message == sentence


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(AirbyteTracedException) as caught:
        read_config(path)
    assert caught.value.message == (
        f"Cannot read the configuration file {path}: No such file or directory."
    )
    assert caught.value.failure_type is FailureType.config_error
