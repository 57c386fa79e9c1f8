"""A distribution's kernel, started in a machine of its own, and the program tried there.

``python -m tests.kernel.stock_kernel PACKAGE.deb...`` takes Debian's packages of kernels
(``apt-get download linux-image-...``), starts each in qemu, on an emulated processor,
and runs there what ``COMMANDS`` has. The machine's only file system is in memory: busybox, this
Python with the modules that the commands use, and the kernel's own modules for ``clsact``.

Wanted: root, as the commands are tried here first to learn what they import; qemu-system-x86,
busybox-static, dpkg.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EMULATOR = "qemu-system-x86_64"
INSIDE = ("ip", "tc")
"""Tools that tests use in the machine, too."""
TOOLS = (EMULATOR, "busybox", "dpkg-deb", "ldd", *INSIDE)

MODULES = ("sch_ingress", "cls_bpf", "veth", "dummy")
"""Of the kernel; what is not among its files is built in, or missing."""

PATIENCE = 300
"""Seconds that a machine may take, most of which an emulated processor needs for Python."""

TESTS = (
    "tests/kernel/test_program.py",
    "tests/kernel/test_rtp_statistics.py",
    "tests/kernel/test_across.py::test_packets_go_right_to_the_other_end",
)

PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "-p", "pytest_timeout")

COMMANDS = {
    "check": "from rtpproxy_tw.tools.launcher import main; "
    "sys.argv[1:] = ['--check-fast-path']; sys.exit(main())",
    "tests": f"import pytest; sys.exit(pytest.main({[*PYTEST, *TESTS]}))",
}
"""In Python; the status of each is told by its name."""

_RECORD = """
import atexit, sys
def tell():
    with open({to!r}, "a") as file:
        for module in list(sys.modules.values()):
            print(getattr(module, "__file__", None) or "", file=file)
atexit.register(tell)
"""

_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp
mount -t devtmpfs dev /dev
for each in /modules/*.ko; do insmod $each; done
mkdir -p /run/netns
ip link set lo up
cd {root}
export HOME=/tmp PATH=/usr/sbin:/sbin:/usr/bin:/bin PYTHONPATH={path} PYTHONHOME={home}
export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
echo "kernel: $(uname -r)"
{commands}
echo o > /proc/sysrq-trigger
sleep 60
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a kernel said. ``statuses`` has that of each command which ended."""

    kernel: str
    statuses: dict[str, int]
    console: str


def missing() -> str | None:
    """Why no machine can be started here; None where one can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return None if os.geteuid() == 0 else "needs root"


def attempt(package: Path) -> Tried:
    """Start the kernel of a package and run the commands. Raises OSError, CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="stock-kernel-") as name:
        folder = Path(name)
        unpacked = folder / "package"
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        (image,) = unpacked.glob("boot/vmlinuz-*")
        memory = folder / "memory"
        _furnish(memory, unpacked, _imported(folder))
        archive = folder / "memory.cpio.gz"
        _pack(memory, archive)
        return _read(_start(image, archive))


def _imported(folder: Path) -> set[Path]:
    """The files of all modules that the commands import on this machine."""
    record = folder / "imported"
    for code in COMMANDS.values():
        program = f"import sys{_RECORD.format(to=str(record))}{code}"
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True
        )
    found = (Path(line) for line in record.read_text().splitlines() if line.startswith("/"))
    return {path for path in found if path.is_file()}


def _furnish(memory: Path, unpacked: Path, imported: Iterable[Path]) -> None:
    for name in ("bin", "dev", "proc", "sys", "tmp", "modules"):
        (memory / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", memory / "bin/busybox")
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.executable).resolve()
    files = {python, *imported, *_below(stdlib / "encodings"), *_below(stdlib, "*.py")}
    files |= _below(ROOT / "rtpproxy_tw") | _below(ROOT / "tests/kernel")
    files |= {path for path in ROOT.glob("tests/*.py")} | {ROOT / "setup.cfg"}
    files |= {Path(shutil.which(tool) or "") for tool in INSIDE}
    for about in _site().glob("*.dist-info"):
        files |= {path for path in about.iterdir() if path.is_file()}
    for path in files | _libraries(files):
        _copy(path, memory)
    for module in MODULES:
        for path in unpacked.glob(f"lib/modules/*/kernel/**/{module}.ko"):
            shutil.copy(path, memory / "modules")
    init = memory / "init"
    init.write_text(_script(python, stdlib))
    init.chmod(0o755)


def _script(python: Path, stdlib: Path) -> str:
    lines = []
    for name, code in COMMANDS.items():
        quoted = code.replace("'", '"')
        lines.append(f"{python} -c 'import sys; {quoted}'; echo \"status of {name}: $?\"")
    return _INIT.format(
        root=ROOT,
        path=f"{ROOT}:{_site()}",
        home=stdlib.parents[1],
        commands="\n".join(lines),
    )


def _site() -> Path:
    return Path(sysconfig.get_path("purelib"))


def _below(folder: Path, pattern: str = "**/*") -> set[Path]:
    found = (path for path in folder.glob(pattern) if path.is_file())
    return {path for path in found if "__pycache__" not in path.parts}


def _libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that executables and extension modules need."""
    binary = [path for path in files if path.suffix == ".so" or os.access(path, os.X_OK)]
    told = subprocess.run(["ldd", *binary], capture_output=True, text=True).stdout
    return {Path(name) for name in re.findall(r"(/\S+) \(0x", told)}


def _copy(path: Path, memory: Path) -> None:
    to = memory / path.relative_to("/")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)


def _pack(memory: Path, archive: Path) -> None:
    names = "\n".join(str(it.relative_to(memory)) for it in sorted(memory.rglob("*")))
    made = subprocess.run(
        ["busybox", "cpio", "-o", "-H", "newc"],
        cwd=memory,
        input=names.encode(),
        capture_output=True,
        check=True,
    )
    archive.write_bytes(gzip.compress(made.stdout, 1))


def _start(image: Path, archive: Path) -> str:
    """What the machine has written to its console when it ends, or is made to."""
    command = [
        *(EMULATOR, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-kernel", str(image), "-initrd", str(archive), "-nographic", "-no-reboot"),
        *("-nic", "none", "-append", "console=ttyS0 panic=-1 quiet"),
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    return said.decode(errors="replace").replace("\r", "")


def _read(console: str) -> Tried:
    kernel = re.search(r"^kernel: (\S+)", console, re.MULTILINE)
    statuses = re.findall(r"^status of (\w+): (\d+)", console, re.MULTILINE)
    return Tried(
        kernel[1] if kernel else "", {name: int(status) for name, status in statuses}, console
    )


def main(packages: Sequence[str]) -> int:
    """Try each package and print what it says; 1 where something failed."""
    why = missing()
    if why is not None:
        print(why, file=sys.stderr)
        return 2
    failed = False
    for package in packages:
        tried = attempt(Path(package))
        print(tried.console)
        failed |= tried.statuses != dict.fromkeys(COMMANDS, 0)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
