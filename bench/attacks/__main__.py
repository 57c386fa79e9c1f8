"""``python -m bench.attacks``, from the project's root."""

from __future__ import annotations

import sys

from bench.attacks.command import main

if __name__ == "__main__":
    sys.exit(main())
