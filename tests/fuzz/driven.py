"""One target driven by atheris, in a process of its own: ``python -m tests.fuzz.driven NAME …``.

Everything after the name is for libFuzzer.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # an extra


def main() -> None:
    """Does not return: libFuzzer ends the process, with a status other than 0 after a finding."""
    name = sys.argv[1]
    with atheris.instrument_imports(include=["rtpproxy_tw"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
