"""``python -m bench`` or ``python bench/__main__.py``, from the project's root."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    # Started as a file: the package is looked for beside this folder, and nothing inside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.command import main

if __name__ == "__main__":
    sys.exit(main())
