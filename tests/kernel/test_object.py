"""The compiled program in the package: that it is the source's, and what it asks of a kernel."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from rtpproxy_tw.media.kernel import elf
from rtpproxy_tw.media.kernel.program import MAPS, OBJECT

SOURCE = OBJECT.with_suffix(".c")

NEWEST_HELPER = 155
"""bpf_redirect_peer, of Linux 5.10."""

CALL = 0x85
ATOMIC = 0xDB
ATOMIC_SHORT = 0xC3
ADD_ONLY = 0

NEEDED = set(MAPS)


def compiled() -> elf.Object:
    """What the package has."""
    return elf.read(OBJECT.read_bytes())


def test_it_was_compiled_from_the_source_beside_it() -> None:
    assert compiled().texts["source"] == hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def test_its_licence_is_the_projects() -> None:
    assert compiled().texts["license"] == "BSD-2-Clause"


def test_it_has_a_program_for_each_kind_of_device() -> None:
    programs = compiled().programs
    assert set(programs) == {"ethernet", "bare"}
    for program in programs.values():
        assert {name for _, name in program.maps} == NEEDED


def test_it_needs_nothing_newer_than_linux_5_10() -> None:
    for program in compiled().programs.values():
        for at in range(0, len(program.code), elf.INSTRUCTION):
            operation, registers = program.code[at], program.code[at + 1]
            value = int.from_bytes(program.code[at + 4 : at + 8], "little")
            if operation in (ATOMIC, ATOMIC_SHORT):
                assert value == ADD_ONLY, "an atomic operation with a result is of Linux 5.12"
            if operation == CALL:
                assert registers >> 4 == 0, "functions of its own would need BTF"
                assert value <= NEWEST_HELPER


def test_compiled_again_it_is_the_same(tmp_path: Path) -> None:
    clang, make = shutil.which("clang"), shutil.which("make")
    if clang is None or make is None:
        pytest.skip("no clang or make here")
    headers = Path("/usr/include/linux/bpf.h")
    if not headers.exists():
        pytest.skip("no interface headers of the kernel here (linux-libc-dev)")
    again = tmp_path / "relay.bpf.o"
    subprocess.run(
        [make, "-s", "-C", str(OBJECT.parent), "-B", f"OUT={again}"], check=True, timeout=60
    )
    new, old = elf.read(again.read_bytes()), compiled()
    if new.texts["compiler"] != old.texts["compiler"]:
        pytest.skip(f"compiled by {old.texts['compiler']}; here is {new.texts['compiler']}")
    assert new == old


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\x7fELF", OBJECT.read_bytes()[:4000], b"\x7fELF\x01" + OBJECT.read_bytes()[5:]],
    ids=["nothing", "a beginning", "cut short", "of 32 bits"],
)
def test_a_damaged_object_is_told_from_a_whole_one(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"object|ELF"):
        elf.read(damaged)
