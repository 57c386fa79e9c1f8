"""Reads the world that ``examine`` judges. Raises nothing: what cannot be had is not known."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from rtpproxy_tw import hostcheck
from rtpproxy_tw.checkup.contents import read_contents
from rtpproxy_tw.checkup.facts import Account, Bound, Kernel, Place, Unit, World
from rtpproxy_tw.checkup.network import endpoints
from rtpproxy_tw.checkup.places import paths
from rtpproxy_tw.checkup.sockets import Entry, Owners, table, unix_table
from rtpproxy_tw.checkup.units import last
from rtpproxy_tw.configuration.settings import INET_KINDS, Settings
from rtpproxy_tw.host_networks import own_interfaces

UNIT = "rtpproxy-tw.service"

UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
"""Where systemd looks, the first one found being taken."""

PATIENCE = 5.0
"""Seconds that systemctl may take."""


def read_world(
    settings: Settings,
    root: Path = Path("/"),
    try_kernel: Callable[[], Kernel] | None = None,
    now: float | None = None,
) -> World:
    """What matters of this host to a relay with these ``settings``.

    ``root`` is where the file systems of the kernel are; ``try_kernel`` proves the fast path, and
    is called where that is wanted; ``now`` is the time in seconds since the epoch.
    """
    proc = root / "proc"
    unit = _unit(root)
    wanted = _interesting(settings, proc)
    listening = unix_table(_text(proc / "net/unix"))
    named = {path: listening[path] for path in paths(settings) if path in listening}
    owners = Owners([*(entry.inode for entry in wanted), *named.values()], proc)
    return World(
        machine=hostcheck.read_facts(root),
        addresses=_addresses(),
        nonlocal_bind=_text(proc / "sys/net/ipv4/ip_nonlocal_bind") == "1",
        ephemeral=_range(_text(proc / "sys/net/ipv4/ip_local_port_range")),
        bound=tuple(
            Bound(each.kind, each.host, each.port, *owners.owner(each.inode)) for each in wanted
        ),
        account=_account(settings, unit),
        places={path: _place(path, named, owners) for path in paths(settings)},
        clock=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
        or None,
        synchronised=_synchronised(root),
        kernel=None if settings.fast_path == "none" or try_kernel is None else try_kernel(),
        memory=_memory(_text(proc / "meminfo")),
        unit=unit,
        contents=read_contents(settings, time.time() if now is None else now),
        most_files=_whole(_text(proc / "sys/fs/nr_open")),
    )


def prove_kernel() -> Kernel:
    """Try the fast path on loopback."""
    from rtpproxy_tw.media.kernel.check import check

    verdict = check()
    return Kernel(verdict.works, verdict.sentence, verdict.remedy)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def _addresses() -> frozenset[str] | None:
    try:
        return frozenset(str(each.ip) for each in own_interfaces())
    except OSError:
        return None


def _range(text: str) -> tuple[int, int] | None:
    words = text.split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and text[0].isdecimal() else None


def _interesting(settings: Settings, proc: Path) -> list[Entry]:
    """The sockets that may be in the way."""
    ports = {each.port for each in settings.control if each.kind in INET_KINDS}
    ports.update(each.port for _, each in endpoints(settings) if each.kind in INET_KINDS)
    media = range(settings.min_port, settings.max_port + 2)
    found = []
    for kind in ("udp", "tcp"):
        for suffix in ("", "6"):
            for entry in table(kind, _text(proc / "net" / f"{kind}{suffix}")):
                if entry.port in ports or (kind == "udp" and entry.port in media):
                    found.append(entry)
    return found


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _account(settings: Settings, unit: Unit | None) -> Account:
    """Who the relay becomes, or whom the unit makes it, or who asks."""
    uid = os.geteuid()
    name = settings.user
    if name is None and uid == 0 and unit is not None:
        name = last(unit, "User")
    try:
        entry = pwd.getpwnam(name) if name is not None else pwd.getpwuid(uid)
        groups = set(os.getgrouplist(entry.pw_name, entry.pw_gid))
        if settings.group is not None:
            groups.add(grp.getgrnam(settings.group).gr_gid)
        return Account(entry.pw_name, entry.pw_uid, frozenset(groups))
    except (KeyError, OSError):
        return Account(name or str(uid), uid, frozenset(os.getgroups()))


def _place(path: str, sockets: dict[str, int], owners: Owners) -> Place:
    try:
        found = os.stat(path)
    except OSError:
        return Place("none")
    kind = "file"
    free = 0
    if stat.S_ISDIR(found.st_mode):
        kind = "directory"
        try:
            system = os.statvfs(path)
            free = system.f_bavail * system.f_frsize
        except OSError:
            free = 0
    elif stat.S_ISSOCK(found.st_mode):
        kind = "socket"
    owner, ours = owners.owner(sockets[path]) if path in sockets else ("", False)
    if path in sockets and not owner:
        owner = "another program"
    mode = stat.S_IMODE(found.st_mode)
    return Place(kind, mode, found.st_uid, found.st_gid, found.st_dev, free, owner, ours)


def _synchronised(root: Path) -> bool | None:
    """What systemd's or chrony's presence tells; None where neither is there."""
    if (root / "run/systemd/timesync/synchronized").exists():
        return True
    return True if (root / "run/chrony").is_dir() else None


def _memory(text: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return None


def _unit(root: Path) -> Unit | None:
    path = next(
        (root / folder / UNIT for folder in UNIT_FOLDERS if (root / folder / UNIT).is_file()), None
    )
    if path is None:
        return None
    # Of drop-ins of one name only the first is read, all of them in the order of their names.
    further: dict[str, Path] = {}
    for folder in UNIT_FOLDERS:
        for each in sorted((root / folder / f"{UNIT}.d").glob("*.conf")):
            further.setdefault(each.name, each)
    texts = (_text(path), *(_text(further[name]) for name in sorted(further)))
    shipped = resources.files(__package__).joinpath(UNIT).read_text(encoding="utf-8")
    return Unit(str(path), texts, shipped, _stale() if root == Path("/") else False)


def _stale() -> bool:
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        asked = subprocess.run(
            ["systemctl", "show", "--property=NeedDaemonReload", "--value", UNIT],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.stdout.strip() == "yes"
