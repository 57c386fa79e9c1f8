"""What anything that takes recordings must do."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rtpproxy_tw.recording.sinks import Sink


class SinkContract(ABC):
    """Subclassed for the fake and for the real one."""

    @abstractmethod
    def opened(self, name: str, header: bytes) -> Sink:
        """A new sink."""

    @abstractmethod
    def content(self, name: str) -> bytes:
        """What is in the file, once all is written."""

    def test_a_file_is_its_header_and_the_records_in_order(self) -> None:
        sink = self.opened("a", b"header ")
        sink.write(b"one ")
        sink.write(b"two")
        sink.close()
        assert self.content("a") == b"header one two"
        assert not sink.failed

    def test_a_file_without_records_is_its_header(self) -> None:
        self.opened("a", b"header").close()
        assert self.content("a") == b"header"

    def test_nothing_is_written_after_the_end(self) -> None:
        sink = self.opened("a", b"")
        sink.write(b"before")
        sink.close()
        sink.write(b"after")
        sink.close()
        assert self.content("a") == b"before"

    def test_files_are_kept_apart(self) -> None:
        one, other = self.opened("a", b""), self.opened("b", b"")
        one.write(b"1")
        other.write(b"2")
        one.write(b"3")
        one.close()
        other.close()
        assert (self.content("a"), self.content("b")) == (b"13", b"2")

    def test_a_name_used_again_begins_a_new_file(self) -> None:
        first = self.opened("a", b"")
        first.write(b"a long first recording")
        first.close()
        second = self.opened("a", b"")
        second.write(b"second")
        second.close()
        assert self.content("a") == b"second"
