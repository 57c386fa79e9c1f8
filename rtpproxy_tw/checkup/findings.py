"""What a look at one thing came to."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """The relay would start; something will go wrong or worse than it need."""
    ERROR = "error"
    """It would not start, or strangers could do harm."""


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what to do about it."""

    level: Level
    subject: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.level.value:<7} {self.subject}: {self.found}"
        return f"{line} -> {self.remedy}" if self.remedy else line

    def view(self) -> dict[str, str]:
        """As JSON has it."""
        return {
            "level": self.level.value,
            "subject": self.subject,
            "found": self.found,
            "remedy": self.remedy,
        }


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, remedy: str) -> Finding:
    """The relay would start."""
    return Finding(Level.WARNING, subject, found, remedy)


def error(subject: str, found: str, remedy: str) -> Finding:
    """It would not, or should not."""
    return Finding(Level.ERROR, subject, found, remedy)


def passed(findings: Iterable[Finding]) -> bool:
    """Whether nothing is an error."""
    return all(finding.level is not Level.ERROR for finding in findings)
