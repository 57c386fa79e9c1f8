"""Files and sockets that other processes may have: theirs stay as they are."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher

from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.tools.paths import PidFile, claim_socket_path, own_socket

NOBODY = 4_194_304
"""One more than the kernel's greatest process id."""


@contextmanager
def listening(path: Path, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A live socket at ``path``."""
    with socket.socket(socket.AF_UNIX, kind) as made:
        made.bind(str(path))
        if kind == socket.SOCK_STREAM:
            made.listen(1)
        yield made


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """What is logged meanwhile."""
    events: list[LogEvent] = []
    observer = cast(ILogObserver, events.append)
    globalLogPublisher.addObserver(observer)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observer)


def test_a_free_path_needs_no_claim(tmp_path: Path) -> None:
    claim_socket_path(str(tmp_path / "free.sock"))


def test_a_dead_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with listening(path):
        pass
    claim_socket_path(str(path))
    assert not path.exists()


def test_a_live_socket_is_left_alone_and_its_owner_named(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with listening(path):
        with pytest.raises(ConfigError) as refused:
            claim_socket_path(str(path))
        assert path.is_socket()
    assert str(refused.value) == f"{path}: this socket is in use by process {os.getpid()}"


def test_a_live_socket_too_busy_to_answer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    with listening(path):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
        results = [client.connect_ex(str(path)) for client in waiting]
        assert errno.EAGAIN in results
        with pytest.raises(ConfigError, match="in use by another process"):
            claim_socket_path(str(path))
        assert path.is_socket()
        for client in waiting:
            client.close()


def test_a_socket_of_another_type_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "datagrams.sock"
    with listening(path, socket.SOCK_DGRAM):
        with pytest.raises(ConfigError, match="cannot be told"):
            claim_socket_path(str(path))
        assert path.is_socket()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file, folder, pipe, link = (tmp_path / name for name in ("file", "folder", "pipe", "link"))
    file.write_text("precious")
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nowhere")
    for path in (file, folder, pipe, link):
        with pytest.raises(ConfigError, match=f"{path}: is there already, and is not a socket"):
            claim_socket_path(str(path))
        assert os.path.lexists(path)


def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory"):
        claim_socket_path(str(tmp_path / "file" / "x.sock"))


@pytest.mark.parametrize(
    "group, mode, expected", [(False, None, 0o660), (False, 0o777, 0o660), (True, 0o600, 0o600)]
)
def test_the_mode_of_a_socket_is_the_operators_only_with_a_group(
    tmp_path: Path, group: bool, mode: int | None, expected: int
) -> None:
    path = tmp_path / "own.sock"
    with listening(path):
        own_socket(str(path), None, _own_group() if group else None, mode)
        assert path.stat().st_mode & 0o7777 == expected


def test_a_socket_can_be_given_to_a_user(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give files away")
    path = tmp_path / "own.sock"
    with listening(path):
        own_socket(str(path), "daemon", None, None)
        assert path.stat().st_uid != 0
        assert path.stat().st_gid != 0
        own_socket(str(path), "root", "root", None)
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


def test_a_socket_cannot_be_given_to_nobody_known(tmp_path: Path) -> None:
    path = tmp_path / "own.sock"
    with listening(path), pytest.raises(ConfigError, match=f"{path}: cannot set owner"):
        own_socket(str(path), "no-such-user", None, None)


def _own_group() -> str:
    import grp

    return grp.getgrgid(os.getgid()).gr_name


def test_a_pid_file_tells_the_process_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    file = PidFile(str(path), named=True)
    file.check()
    assert not path.exists()
    file.write()
    assert path.read_bytes() == b"%d\n" % os.getpid()
    file.remove()
    assert not path.exists()
    file.remove()


def test_no_pid_file_is_no_file() -> None:
    file = PidFile(None, named=True)
    file.check()
    file.write()
    file.remove()


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"12", b"9" * 40, b"1\n2\n"])
def test_an_old_pid_file_is_overwritten_wholly(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pid"
    path.write_bytes(content)
    PidFile(str(path), named=True).write()
    assert path.read_bytes().split(b"\n")[0] == b"%d" % os.getpid()
    assert path.read_bytes() == b"%d\n" % os.getpid()


@pytest.mark.parametrize("other, state", [(NOBODY, "does not run"), (1, "runs")])
def test_overwriting_the_id_of_another_process_is_warned_of(
    tmp_path: Path, other: int, state: str
) -> None:
    path = tmp_path / "x.pid"
    path.write_text(f"{other}\n")
    with logged() as events:
        PidFile(str(path), named=True).write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert [(event["log_level"], event["other"]) for event in events] == [(LogLevel.warn, other)]
    assert state in events[0]["state"]


def test_a_pid_file_that_names_another_process_now_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    file = PidFile(str(path), named=True)
    file.write()
    path.write_text("1\n")
    file.remove()
    assert path.read_text() == "1\n"


def test_a_pid_file_never_written_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    path.write_text(f"{os.getpid()}\n")
    PidFile(str(path), named=True).remove()
    assert path.exists()


def test_a_default_pid_file_of_a_running_process_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    path.write_text("1\n")
    with logged() as events:
        file = PidFile(str(path), named=False)
        file.check()
        file.write()
        file.remove()
    assert path.read_text() == "1\n"
    assert len(events) == 1


def test_a_default_pid_file_that_cannot_be_had_is_done_without(tmp_path: Path) -> None:
    with logged() as events:
        file = PidFile(str(tmp_path / "no" / "x.pid"), named=False)
        file.write()
        file.remove()
    assert len(events) == 1


def test_a_named_pid_file_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.pid"
    with pytest.raises(ConfigError, match=f"-p/--pid-file {path}: No such file"):
        PidFile(str(path), named=True).write()


@pytest.mark.parametrize("named", [True, False])
def test_pipes_and_directories_are_no_pid_files_and_stay(tmp_path: Path, named: bool) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        file = PidFile(str(path), named=named)
        if named:
            with pytest.raises(ConfigError, match="is not a regular file"):
                file.check()
            with pytest.raises(ConfigError, match="is not a regular file"):
                file.write()
        else:
            file.write()
        file.remove()
        assert path.exists()


def test_a_link_in_place_of_a_pid_file_is_refused(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    target.write_text("precious\n")
    link.symlink_to(target)
    file = PidFile(str(link), named=True)
    with pytest.raises(ConfigError, match="is not a regular file"):
        file.write()
    assert target.read_text() == "precious\n"


@pytest.fixture
def written_by_root() -> Iterator[Path]:
    """A pid file in a folder of root's, seen by a user who may only read it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name, "x.pid")
        path.write_text("1\n")
        os.chmod(path, 0o644)
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield path
        finally:
            os.seteuid(0)


def test_a_successor_that_may_not_write_a_named_pid_file_does_not_take_over(
    written_by_root: Path,
) -> None:
    """The file would go on naming a process that is gone: the start fails, the old one goes on."""
    file = PidFile(str(written_by_root), named=True)
    file.check()
    with pytest.raises(ConfigError, match=r"x\.pid: Permission denied"):
        file.write(1)
    file.remove()
    assert written_by_root.read_text() == "1\n"


def test_a_successor_that_may_not_write_a_default_pid_file_does_without(
    written_by_root: Path,
) -> None:
    file = PidFile(str(written_by_root), named=False)
    with logged() as events:
        file.write(1)
        file.remove()
    assert [event["why"] for event in events] == ["Permission denied"]
    assert written_by_root.read_text() == "1\n"


def test_the_pid_file_is_the_users_whom_the_relay_becomes(tmp_path: Path) -> None:
    """So a successor, which has his rights only, can tell its id there, too."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path, link = tmp_path / "x.pid", tmp_path / "link"
    PidFile(str(path), named=True).write(None, "nobody")
    nobody = pwd.getpwnam("nobody").pw_uid
    assert path.stat().st_uid == nobody
    os.chown(path, 0, 0)
    link.hardlink_to(path)
    PidFile(str(path), named=True).write(None, "nobody")
    assert path.stat().st_uid == 0  # it may be a file of root's under another name
    link.unlink()
    PidFile(str(path), named=True).write(None, "no such user")
    assert path.stat().st_uid == 0
