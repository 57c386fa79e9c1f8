"""A guide as whoever follows it reads it: files to write and commands to run, in their order."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

GUIDES = Path(__file__).parent.parent.parent / "docs" / "guides"

SHELLS = ("sh", "bash")

_BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?P<options>(?:   :.*\n)*)\n"
    r"(?P<text>(?:(?:   .*)?\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One block of a guide.

    ``file`` is where the text is to be written; without it the text is commands. ``elsewhere``: it
    is marked as something that cannot be tried on a machine of its own (``:class: elsewhere``).
    ``caption`` is what stands above commands.
    """

    text: str
    file: str = ""
    elsewhere: bool = False
    caption: str = ""

    @property
    def script(self) -> str:
        """What does it, for a shell of root's."""
        if not self.file:
            return self.text
        place = shlex.quote(self.file)
        return f"mkdir -p $(dirname {place}) && printf %s {shlex.quote(self.text)} >{place}"


def steps_of(name: str) -> list[Step]:
    """The steps of the guide ``name``.

    Shell blocks are commands. Blocks whose caption is an absolute path are files. What else there
    is in blocks is only to be read.
    """
    found = []
    for block in _BLOCK.finditer((GUIDES / f"{name}.rst").read_text()):
        options = dict(re.findall(r":(\w+): *(.*)", block["options"]))
        caption = options.get("caption", "")
        text = re.sub(r"^   ", "", block["text"].rstrip(), flags=re.MULTILINE) + "\n"
        elsewhere = options.get("class") == "elsewhere"
        if caption.startswith("/"):
            found.append(Step(text, caption, elsewhere))
        elif block["language"] in SHELLS:
            found.append(Step(text, "", elsewhere, caption))
    return found


def names() -> list[str]:
    """Every guide."""
    return sorted(path.stem for path in GUIDES.glob("*.rst") if path.stem != "index")
