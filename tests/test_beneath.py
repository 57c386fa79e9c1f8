"""Files are opened relative to their directory, and never by way of a link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rtpproxy_tw.beneath import is_at, open_file, read_file, replace_file
from rtpproxy_tw.errors import ConfigError
from rtpproxy_tw.recording.space import read_sidecar
from rtpproxy_tw.reporting.acct_files import CsvFile
from rtpproxy_tw.reporting.linefile import LineFile
from rtpproxy_tw.reporting.spooled import SpoolDirectory
from rtpproxy_tw.tools.paths import PidFile


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that somebody would like us to write to."""
    made = tmp_path / "victim"
    made.write_text("precious\n")
    return made


def appended(path: Path) -> None:
    LineFile(str(path)).stop()


def accounted(path: Path) -> None:
    CsvFile(str(path)).append("line\n")


def pid_told(path: Path) -> None:
    PidFile(str(path), named=True).write()


def opened(path: Path) -> None:
    os.close(open_file(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))


@pytest.mark.parametrize("write", [appended, accounted, pid_told, opened])
def test_a_link_in_place_of_a_file_is_not_followed(
    victim: Path, write: Callable[[Path], None]
) -> None:
    link = victim.with_name("link")
    link.symlink_to(victim)
    with pytest.raises((OSError, ConfigError)):
        write(link)
    dangling = victim.with_name("dangling")
    dangling.symlink_to(victim.with_name("nowhere"))
    with pytest.raises((OSError, ConfigError)):
        write(dangling)
    assert victim.read_text() == "precious\n"
    assert not victim.with_name("nowhere").exists()


@pytest.mark.parametrize("write", [appended, accounted, opened])
def test_a_directory_behind_a_link_is_the_operators_word(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "real")
    write(tmp_path / "way" / "file")
    assert (tmp_path / "real" / "file").is_file()


def test_neither_a_pipe_nor_a_device_keeps_us_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/null"):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(path, os.O_RDONLY)


def test_a_file_is_replaced_as_a_whole_and_a_planted_draft_is_not_written_into(
    victim: Path,
) -> None:
    path = victim.with_name("file")
    path.with_name(".file.new").symlink_to(victim)
    replace_file(str(path), b"one")
    assert path.read_bytes() == read_file(str(path)) == b"one"
    path.unlink()
    path.symlink_to(victim)
    replace_file(str(path), b"two")  # the link itself is replaced
    assert (path.read_bytes(), path.is_symlink()) == (b"two", False)
    assert victim.read_text() == "precious\n"
    assert sorted(each.name for each in victim.parent.iterdir()) == ["file", "victim"]


def test_a_file_that_was_renamed_or_linked_over_is_no_longer_at_its_name(victim: Path) -> None:
    fd = open_file(str(victim), os.O_RDONLY)
    assert is_at(fd, str(victim))
    victim.rename(victim.with_name("away"))
    assert not is_at(fd, str(victim))
    victim.symlink_to(victim.with_name("away"))
    assert not is_at(fd, str(victim))
    os.close(fd)


def test_spooled_records_and_sidecars_are_not_read_through_links(victim: Path) -> None:
    folder = victim.with_name("spool")
    spool = SpoolDirectory(str(folder))
    Path(spool.path, "x.json").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        spool.read("x")
    spool.close()
    victim.write_text('{"files": [], "state": "finished"}')
    assert read_sidecar(str(victim)) is not None
    link = victim.with_name("link")
    link.symlink_to(victim)
    assert read_sidecar(str(link)) is None
