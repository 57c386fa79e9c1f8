"""Files and directories: are they there, may the relay use them, is there room?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from rtpproxy_tw.checkup.facts import Place, World
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.checkup.network import endpoints
from rtpproxy_tw.configuration.settings import UNIX_KINDS, ControlAddress, Settings
from rtpproxy_tw.configuration.switches import spelled

LITTLE = 10
"""Times what recordings leave free; less than that is gone soon."""

NOTHING = Place("none")


def directories(settings: Settings) -> Iterator[tuple[str, str]]:
    """The directories that are written to, each with its option."""
    for name, path in (
        ("record_dir", settings.record_dir),
        ("spool_dir", settings.spool_dir),
    ):
        if path is not None:
            yield name, path
    if settings.record_calls is not None:
        yield "record_calls", os.path.dirname(settings.record_calls)


def files(settings: Settings) -> Iterator[tuple[str, str]]:
    """The files that are read, each with its option."""
    for name, path in (
        ("tls_cert", settings.tls_cert),
        ("tls_key", settings.tls_key),
        ("tls_ca", settings.tls_ca),
        ("http_token_file", settings.http_token_file),
        ("http_client_ca", settings.http_client_ca),
    ):
        if path is not None:
            yield name, path


def paths(settings: Settings) -> set[str]:
    """Everything that should be looked at."""
    found = {path for _, path in (*directories(settings), *files(settings))}
    found.update(settings.prompt_dirs)
    found.update(settings.record_command[:1])
    for path in (settings.webhook_spool, settings.record_calls, settings.pid_file):
        if path is not None:
            found.update((path, os.path.dirname(path)))
    for address in _unix(settings).values():
        found.update((address.host, os.path.dirname(address.host)))
    return found


def _unix(settings: Settings) -> dict[str, ControlAddress]:
    """All UNIX sockets, by what they are called in a finding."""
    found = {f"control socket {each.text}": each for each in settings.control}
    found.update((f"HTTP at {text}", each) for text, each in endpoints(settings))
    return {subject: each for subject, each in found.items() if each.kind in UNIX_KINDS}


def examine(settings: Settings, world: World) -> Iterator[Finding]:
    """All of them."""
    for name, path in directories(settings):
        yield _directory(name, path, settings, world)
    yield from _same_system(settings, world)
    for name, path in files(settings):
        yield _file(name, path, world)
    yield from _calls(settings, world)
    yield from _spool(settings, world)
    yield from _command(settings, world)
    for path in settings.prompt_dirs:
        if world.places.get(path, NOTHING).kind != "directory":
            yield warning(f"{spelled('prompt_dir')} {path}", "no directory", "make it")
    yield from _sockets(settings, world)
    yield from _pid_file(settings, world)


def _directory(name: str, path: str, settings: Settings, world: World) -> Finding:
    subject, place = f"{spelled(name)} {path}", world.places.get(path, NOTHING)
    who = world.account
    if place.kind != "directory":
        return error(subject, "is not a directory", f"install -d -o {who.name} -m 750 {path}")
    if not who.may(place, 3):
        return error(subject, f"{who.name} may not write there", f"chown {who.name} {path}")
    least = settings.record_min_free << 20
    free = f"{place.free >> 20} MiB free"
    if name in ("record_dir", "spool_dir") and place.free < least:
        return error(
            subject,
            f"{free}, and recordings leave {settings.record_min_free} MiB: none would begin",
            "free some, or lower --record-min-free",
        )
    if place.free < LITTLE * max(least, 1 << 20):
        return warning(subject, free, "a minute of a call of G.711 takes 2 MiB: free some")
    return ok(subject, f"writable, {free}")


def _same_system(settings: Settings, world: World) -> Iterator[Finding]:
    if settings.spool_dir is None or settings.record_dir is None:
        return
    one = world.places.get(settings.spool_dir, NOTHING)
    other = world.places.get(settings.record_dir, NOTHING)
    if not (one.there and other.there):
        return
    subject = f"{spelled('spool_dir')} {settings.spool_dir}"
    if one.device == other.device:
        yield ok(subject, "on the file system of the recordings")
    else:
        yield error(
            subject,
            "on another file system than the recordings, to which none could be moved",
            f"choose a directory on the file system of {settings.record_dir}",
        )


def _file(name: str, path: str, world: World) -> Finding:
    subject, place = f"{spelled(name)} {path}", world.places.get(path, NOTHING)
    if place.kind != "file":
        return error(subject, "is not a file", "give the path of one")
    if not world.account.may(place, 4):
        return error(
            subject, f"{world.account.name} may not use it", f"chgrp {world.account.name} {path}"
        )
    if name in ("tls_key", "http_token_file") and place.mode & 0o004:
        return error(subject, "every user of this host can read it", f"chmod o-r {path}")
    return ok(subject, "readable")


def _calls(settings: Settings, world: World) -> Iterator[Finding]:
    path = settings.record_calls
    if path is not None and world.places.get(path, NOTHING).kind not in ("none", "file"):
        yield error(
            f"{spelled('record_calls')} {path}", "is not a regular file", "give the path of a file"
        )


def _spool(settings: Settings, world: World) -> Iterator[Finding]:
    """The directory of web hooks, which the relay makes where it can."""
    path = settings.webhook_spool
    if path is None:
        return
    place, folder = (world.places.get(each, NOTHING) for each in (path, os.path.dirname(path)))
    if place.there or folder.kind != "directory" or not world.account.may(folder, 3):
        yield _directory("webhook_spool", path, settings, world)
    else:
        yield ok(f"{spelled('webhook_spool')} {path}", "is not there, and will be made")


def _command(settings: Settings, world: World) -> Iterator[Finding]:
    """The program that is told of recordings; the relay starts without it."""
    for path in settings.record_command[:1]:
        subject, place = f"{spelled('record_command')} {path}", world.places.get(path, NOTHING)
        if place.kind != "file":
            yield warning(subject, "is not a file: it will not be run", "give the path of one")
        elif not place.mode & 0o111 or not world.account.may(place, 1):
            yield warning(
                subject,
                f"{world.account.name} may not run it",
                f"chmod a+x {path}",
            )
        else:
            yield ok(subject, "can be run")


def _sockets(settings: Settings, world: World) -> Iterator[Finding]:
    for subject, address in _unix(settings).items():
        place = world.places.get(address.host, NOTHING)
        folder = os.path.dirname(address.host)
        # It is bound before the user is changed.
        starter = world.account if settings.user is None else None
        if world.places.get(folder, NOTHING).kind != "directory":
            yield error(subject, f"{folder} is not a directory", f"install -d -m 755 {folder}")
        elif starter is not None and not starter.may(world.places[folder], 3):
            yield error(
                subject, f"{starter.name} may not write to {folder}", "choose another folder"
            )
        elif place.kind in ("none", "socket") and not place.owner:
            yield ok(subject, "free")
        elif place.ours:
            yield ok(subject, "a relay that runs has it")
        elif place.kind == "socket":
            yield error(
                subject, f"{place.owner} has it", "end that program, or choose another path"
            )
        else:
            yield error(subject, "there is a file, not a socket", "move it, or choose another path")


def _pid_file(settings: Settings, world: World) -> Iterator[Finding]:
    path = settings.pid_file
    if path is None or not settings.pid_file_named:
        return
    folder = os.path.dirname(path)
    place = world.places.get(folder, NOTHING)
    subject = f"{spelled('pid_file')} {path}"
    if place.kind != "directory":
        yield error(subject, f"{folder} is not a directory", f"install -d -m 755 {folder}")
    elif settings.user is None and not world.account.may(place, 3):
        yield error(subject, f"{world.account.name} may not write there", "-p elsewhere")
    elif world.places.get(path, NOTHING).kind not in ("none", "file"):
        yield error(subject, "is not a regular file", "-p elsewhere, or -p /dev/null for none")
    else:
        yield ok(subject, "can be written")
