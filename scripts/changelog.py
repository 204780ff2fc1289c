"""Reads CHANGELOG.md, and prints the notes of one release.

python scripts/changelog.py VERSION    fails when the changelog does not describe that version
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


class Release(NamedTuple):
    """One section of the changelog."""

    version: str
    date: str
    """ISO 8601."""
    changes: tuple[str, ...]
    """The subjects, in Markdown, each on one line."""


def releases(changelog: str) -> list[Release]:
    """Return the releases that a changelog describes, the newest first."""
    sections = re.findall(
        r"^## (\S+) \((\d{4}-\d\d-\d\d)\)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return [
        Release(version, date, tuple(re.findall(r"^- (.+)$", body, re.MULTILINE)))
        for version, date, body in sections
    ]


def main() -> int:
    """Print the notes of the version that the command line names."""
    (wanted,) = sys.argv[1:]
    for release in releases(CHANGELOG.read_text(encoding="utf-8")):
        if release.version == wanted:
            print("\n".join(f"- {change}" for change in release.changes))
            return 0
    print(f"CHANGELOG.md has no section for version {wanted}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
