"""Which parties are being recorded, and into which files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import AddressUnusable, NoPortsLeft, RecordingRefused
from rtpproxy_tw.interfaces import IRecorders, ISessionObserver, ITap
from rtpproxy_tw.recording import adhoc, names, pcap
from rtpproxy_tw.recording.copies import CopySink, CopyTap, Outlet
from rtpproxy_tw.recording.sinks import Place, Sink, Sinks
from rtpproxy_tw.recording.taps import AdhocTap, PcapTap
from rtpproxy_tw.session import Component, Ending, Leg, Session, Stream


@dataclass(slots=True, eq=False)
class Files:
    """What is written together: a file for each component, or ``single``, one for all."""

    names: tuple[str, ...]
    sinks: tuple[Sink, ...]
    single: bool
    parties: int = 0
    """How many legs are recorded into it."""

    def sink(self, component: Component) -> Sink:
        """Where packets of ``component`` go."""
        return self.sinks[0] if self.single else self.sinks[component - 1]

    @property
    def failed(self) -> bool:
        """Whether some of it can no longer be written."""
        return any(sink.failed for sink in self.sinks)


@dataclass(slots=True, eq=False)
class Recording:
    """One leg being recorded or copied."""

    files: Files
    taps: tuple[tuple[Stream, ITap], ...]

    def attach(self) -> None:
        """Begin to hear packets."""
        for stream, tap in self.taps:
            stream.taps += (tap,)

    def detach(self) -> None:
        """Hear no more."""
        for stream, tap in self.taps:
            stream.taps = tuple(other for other in stream.taps if other is not tap)


@implementer(IRecorders, ISessionObserver)
class FileRecorders:
    """Records into files of a directory; without one it refuses.

    ``directory`` and ``spool`` are where recordings end up and, if that is elsewhere, where
    they grow (on the same file system); ``pcap`` chooses the format, ``rtcp`` whether RTCP is
    recorded too, ``everything`` records both parties of each session from its creation.
    ``wall`` gives seconds since the epoch, ``local_host`` the local address that routes to a
    remote host, for sockets bound to all addresses; it may raise OSError. ``outlet`` opens a pair
    of ports from which copies reach a host; it may raise NoPortsLeft or AddressUnusable.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        directory: str | None,
        spool: str | None,
        pcap: bool,
        rtcp: bool,
        everything: bool,
        writer: Sinks,
        wall: Callable[[], float],
        local_host: Callable[[str], str],
        outlet: Callable[[str], Outlet] | None = None,
    ) -> None:
        self._outlet = outlet
        self._place = None if directory is None else _place(directory, spool)
        self._pcap = pcap
        self._rtcp = rtcp
        self._everything = everything
        self._writer = writer
        self._wall = wall
        self._local_host = local_host
        self._identify = count()
        self._recordings: dict[Leg, Recording] = {}
        self._names: set[str] = set()

    def record(self, leg: Leg, target: str | None, single: bool) -> None:
        """Record what the party of ``leg`` sends, unless that is being done already.

        ``single`` has a meaning in pcap format only. Raises RecordingRefused without a
        directory, where the disk does not keep up, and where a single file is asked for and the
        party is being recorded already.
        """
        if self._place is None:
            raise RecordingRefused("there is no directory for recordings")
        single = single and self._pcap
        for either in leg.session.legs:
            self._forget_failed(either)
        if leg in self._recordings:
            if single:
                raise RecordingRefused("this party is being recorded already")
            return
        other = self._recordings.get(leg.opposite)
        if single and other is not None and other.files.single:
            # Whatever name was asked for this time: the point is to have both in one file.
            files = other.files
        else:
            files = self._open(self._place, leg, target, single)
        self._begin(leg, files)

    def copy(self, leg: Leg, target: Address) -> Address:
        """See IRecorders."""
        if self._outlet is None:
            raise RecordingRefused("copies are not made here")
        try:
            outlet = self._outlet(target[0])
        except (NoPortsLeft, AddressUnusable) as error:
            raise RecordingRefused(str(error)) from error
        self._forget_failed(leg)
        if leg in self._recordings:
            # As the original has it: the answer names a pair of ports that is closed at once.
            outlet.close()
            return outlet.address
        sinks = tuple(CopySink(outlet, component, target) for component in Component)
        streams = leg.streams if self._rtcp else (leg.rtp,)
        taps = tuple((stream, CopyTap(sinks[stream.component - 1])) for stream in streams)
        recording = self._recordings[leg] = Recording(Files((), sinks, False, parties=1), taps)
        recording.attach()
        return outlet.address

    def stop(self, leg: Leg) -> bool:
        """End the recording or copy of ``leg``; False when there was none."""
        recording = self._recordings.pop(leg, None)
        if recording is None:
            return False
        recording.detach()
        files = recording.files
        files.parties -= 1
        if not files.parties:
            self._close(files)
        return True

    def created(self, session: Session) -> None:
        """Record both parties, if everything is to be recorded."""
        if not self._everything:
            return
        for leg in session.legs:
            try:
                self.record(leg, None, single=True)
            except RecordingRefused as error:
                self._log.error("a session is not recorded: {error}", error=error)
                return

    def completed(self, session: Session) -> None:
        """Nothing: taps are attached whether or not a leg has sockets."""

    def ended(self, session: Session, why: Ending) -> None:
        """Close what the session has."""
        for leg in session.legs:
            self.stop(leg)

    def _forget_failed(self, leg: Leg) -> None:
        """A recording the disk has ended shall not stand in the way of a new one."""
        recording = self._recordings.get(leg)
        if recording is not None and recording.files.failed:
            self.stop(leg)

    def _open(self, place: Place, leg: Leg, target: str | None, single: bool) -> Files:
        if target is None:
            stem = names.session_stem(leg.session.key)
            endings = names.session_endings(leg.side, rtcp=self._rtcp, single=single)
        else:
            stem = names.target_stem(target)
            endings = names.target_endings(rtcp=self._rtcp, single=single)
        chosen = names.unused(stem, endings, self._names)
        sinks = self._open_all(place, chosen)
        self._names.update(chosen)
        self._log.info("recording into {name}", name=chosen[0])
        return Files(chosen, sinks, single)

    def _open_all(self, place: Place, chosen: tuple[str, ...]) -> tuple[Sink, ...]:
        """All of them or none. Raises RecordingRefused."""
        header = pcap.header() if self._pcap else adhoc.header()
        sinks: list[Sink] = []
        try:
            for name in chosen:
                sinks.append(self._writer.open(place, name, header))
        except RecordingRefused:
            for sink in sinks:
                sink.close()
            raise
        return tuple(sinks)

    def _begin(self, leg: Leg, files: Files) -> None:
        streams = leg.streams if self._rtcp else (leg.rtp,)
        taps = tuple((stream, self._tap(stream, files)) for stream in streams)
        recording = self._recordings[leg] = Recording(files, taps)
        files.parties += 1
        recording.attach()

    def _tap(self, stream: Stream, files: Files) -> ITap:
        sink = files.sink(stream.component)
        if not self._pcap:
            return AdhocTap(sink, self._wall)
        return PcapTap(
            sink,
            self._wall,
            local_host=self._local_host,
            identify=self._identify,
            relayed=files.single and stream.component is Component.RTCP,
        )

    def _close(self, files: Files) -> None:
        for sink in files.sinks:
            sink.close()
        self._names.difference_update(files.names)


def _place(directory: str, spool: str | None) -> Place:
    """Both as absolute paths: a daemon changes its working directory."""
    return Place(os.path.abspath(directory), None if spool is None else os.path.abspath(spool))
