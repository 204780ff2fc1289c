"""The input files, as a person or a platform writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.inputs import read_config

CONFIG = {"username": "me", "password": "secret-value"}


def test_a_configuration_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    values = {**CONFIG, "password": "pässword", "other": [1]}
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    assert read_config(str(path)) == values


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
    with pytest.raises(AirbyteTracedException, match="No such file") as caught:
        read_config(tmp_path / "config.json")
    assert caught.value.failure_type is FailureType.config_error
