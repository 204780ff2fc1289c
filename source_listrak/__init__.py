"""Airbyte source connector for the Listrak email marketing platform."""

from source_listrak.source import SourceListrak

__all__ = ["SourceListrak"]
