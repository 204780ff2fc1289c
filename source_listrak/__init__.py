"""Airbyte source connector for the Listrak email marketing platform."""

from source_listrak.source import Settings, SourceListrak

__all__ = ["Settings", "SourceListrak"]
