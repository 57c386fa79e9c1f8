"""Which parties are being recorded, and into which files."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from twisted.logger import Logger
from zope.interface import implementer

from rtpproxy_tw.addresses import Address
from rtpproxy_tw.errors import AddressUnusable, NoPortsLeft, RecordingRefused
from rtpproxy_tw.interfaces import IRecorders, ISessionObserver, ITap
from rtpproxy_tw.recording import adhoc, names, pcap
from rtpproxy_tw.recording.copies import CopySink, CopyTap, Outlet
from rtpproxy_tw.recording.counts import RecordingCounts
from rtpproxy_tw.recording.files import Earlier, Files, Finished, PartyState, Tell, event
from rtpproxy_tw.recording.sinks import Note, Place, Sink, Sinks
from rtpproxy_tw.recording.space import SUFFIX
from rtpproxy_tw.recording.taps import AdhocTap, PcapTap
from rtpproxy_tw.session import Component, Ending, Leg, Session, Stream


@dataclass(slots=True, eq=False)
class Recording:
    """One leg being recorded, or copied if there are no ``files``."""

    files: Files | None
    taps: tuple[tuple[Stream, ITap], ...]

    outlet: Outlet | None = None
    target: Address | None = None
    """Where a copy goes."""

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

    With ``resume`` a recording that is stopped is paused, and goes on in the same files when it is
    asked for again before the session ends. ``tell`` is told of the life of recordings, ``export``
    of a session's that are complete, ``note`` of what belongs into a session's diary.
    ``settle`` is called when nothing is recorded, so that a clock may be set. ``unique`` gives what
    a recording is known by, and no other one ever.
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
        resume: bool = False,
        tell: Tell = lambda event: None,
        export: Callable[[Finished], None] = lambda finished: None,
        note: Callable[[Leg, str], None] = lambda leg, text: None,
        settle: Callable[[], None] = lambda: None,
        unique: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._unique = unique
        self._settle = settle
        self._resume = resume
        self._tell = tell
        self._export = export
        self._note = note
        self._paused: dict[Leg, Recording] = {}
        self._ending: dict[Session, list[Files]] = {}
        self._of_session: dict[Session, list[Files]] = {}
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
        self._open_files: dict[Files, None] = {}
        self.counts = RecordingCounts()
        """What metrics tell; its packets are as of the latest tick."""

    def record(
        self, leg: Leg, target: str | None, single: bool, *, earlier: Earlier | None = None
    ) -> None:
        """Record what the party of ``leg`` sends, unless that is being done already.

        ``single`` has a meaning in pcap format only. ``earlier``: another process has recorded it
        until now, perhaps into the same directory, and no file is written over. Raises
        RecordingRefused without a directory, where the disk does not keep up, and where a single
        file is asked for and the party is being recorded already.
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
        if self._resume and self.resume(leg):
            return
        other = self._recordings.get(leg.opposite) or self._paused.get(leg.opposite)
        if single and other is not None and other.files is not None and other.files.single:
            # Whatever name was asked for this time: the point is to have both in one file.
            files = other.files
        else:
            files = self._open(self._place, leg, target, single, earlier)
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
        recording = self._recordings[leg] = Recording(None, taps, outlet, target)
        recording.attach()
        return outlet.address

    def stop(self, leg: Leg) -> bool:
        """End the recording or copy of ``leg``, or pause it; False when there was none."""
        if leg not in self._recordings:
            return False
        return (self._resume and self.pause(leg)) or self._end(leg)

    def pause(self, leg: Leg) -> bool:
        """Record the party no further until :meth:`resume`; False when nothing is recorded."""
        recording = self._recordings.get(leg)
        if recording is None or recording.files is None or recording.files.failed:
            return False
        del self._recordings[leg]
        recording.detach()
        self._paused[leg] = recording
        recording.files.pause(leg, self._wall())
        leg.recording = PartyState(recording.files, paused=True)
        return True

    def resume(self, leg: Leg) -> bool:
        """Go on in the same files, with silence between; False when nothing is paused."""
        recording = self._paused.pop(leg, None)
        if recording is None or recording.files is None:
            return False
        recording.files.resume(leg, self._wall())
        self._recordings[leg] = recording
        recording.attach()
        leg.recording = PartyState(recording.files)
        return True

    def _end(self, leg: Leg) -> bool:
        recording = self._recordings.pop(leg, None) or self._paused.pop(leg, None)
        if recording is None:
            return False
        recording.detach()
        files = recording.files
        if files is None:
            if recording.outlet is not None:
                recording.outlet.close()
            return True
        leg.recording = None
        files.parties -= 1
        if not files.parties:
            self._close(files)
        return True

    def of(self, session: Session) -> Sequence[Files]:
        """All files of ``session``."""
        return self._of_session.get(session, ())

    def parties(self, session: Session) -> list[tuple[Leg, Recording, bool]]:
        """Who of ``session`` is recorded or copied, how, and whether that is paused."""
        return [
            (leg, recording, leg in self._paused)
            for leg in session.legs
            if (recording := self._recordings.get(leg) or self._paused.get(leg)) is not None
        ]

    def adopt(self, leg: Leg, files: Files, *, paused: bool, rtcp: bool) -> None:
        """Go on recording the party of ``leg`` into ``files``, which another process has begun."""
        if not any(files is each for each in self._of_session.setdefault(leg.session, [])):
            self._of_session[leg.session].append(files)
            self._open_files[files] = None
            self.counts.adopt()
            self._names.update((*files.names, files.sidecar))
        files.parties += 1
        streams = leg.streams if rtcp and (files.single or len(files.sinks) > 1) else (leg.rtp,)
        taps = tuple((stream, self._tap(stream, files)) for stream in streams)
        recording = Recording(files, taps)
        (self._paused if paused else self._recordings)[leg] = recording
        if not paused:
            recording.attach()
        leg.recording = PartyState(files, paused=paused)

    def tick(self) -> None:
        """Look whether disks fail recordings or lose packets, and tell. To be called often."""
        self.counts.look(self._open_files)
        for leg, recording in (*self._recordings.items(), *self._paused.items()):
            files = recording.files
            if files is None:
                continue
            if files.failed and not files.failure_told:
                files.failure_told = True
                self._note(leg, "recording failed")
                self._tell(event("failed", files))
            elif files.lost and not (files.loss_told or files.failure_told):
                files.loss_told = True
                self._note(leg, "recording loses packets, the call does not")

    def created(self, session: Session) -> None:
        """Record both parties, if everything is to be recorded."""
        if not self._everything:
            return
        for leg in session.legs:
            try:
                self.record(leg, None, single=True)
            except RecordingRefused as error:
                self._log.error("a session is not recorded: {error}", error=error)
                self._note(leg, "recording refused")
                return
            self._note(leg, "recording begins")

    def completed(self, session: Session) -> None:
        """Have what was not known before in the sidecars, should the process be killed."""
        for files in self._of_session.get(session, ()):
            if files.ended is None:
                self._sidecar(files)

    def ended(self, session: Session, why: Ending) -> None:
        """Close what the session has."""
        for leg in session.legs:
            self._end(leg)
        files = self._of_session.pop(session, None)
        if files:
            self._ending[session] = files
            self._is_complete(session)

    def _forget_failed(self, leg: Leg) -> None:
        """A recording the disk has ended shall not stand in the way of a new one."""
        recording = self._recordings.get(leg) or self._paused.get(leg)
        if recording is not None and recording.files is not None and recording.files.failed:
            self._end(leg)

    def _open(
        self, place: Place, leg: Leg, target: str | None, single: bool, earlier: Earlier | None
    ) -> Files:
        if target is None:
            stem = names.session_stem(leg.session.key)
            endings = names.session_endings(leg.side, rtcp=self._rtcp, single=single)
        else:
            stem = names.target_stem(target)
            endings = names.target_endings(rtcp=self._rtcp, single=single)
        if not self._names:
            self._settle()
        used = self._names if earlier is None else InUse(self._names, place)
        taken = names.unused(stem, (*endings, endings[0] + SUFFIX), used)
        chosen = taken[:-1]
        sinks = self._open_all(place, chosen)
        self._names.update(taken)
        self._log.info("recording into {name}", name=chosen[0])
        files = Files(leg.session, chosen, sinks, single, self._pcap, self._wall())
        files.target = target
        files.recording, part = earlier or Earlier(self._unique(), 0)
        files.part = part + 1
        self._of_session.setdefault(leg.session, []).append(files)
        self._open_files[files] = None
        self.counts.begin()
        return files

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
        files.join(leg)
        recording.attach()
        leg.recording = PartyState(files)
        self._sidecar(files)
        self._tell(event("started", files))

    def _sidecar(self, files: Files) -> None:
        self._writer.note(Note(self._place_of(files), files.sidecar, files.as_json))

    def _place_of(self, files: Files) -> Place:
        place = files.place or self._place
        assert place is not None, "nothing is recorded without a place"
        return place

    def _tap(self, stream: Stream, files: Files) -> ITap:
        sink = files.sink(stream.component)
        heard = files.heard if stream.component is Component.RTP else None
        if not files.is_pcap:
            return AdhocTap(sink, self._wall, heard)
        return PcapTap(
            sink,
            self._wall,
            local_host=self._local_host,
            identify=self._identify,
            relayed=files.single and stream.component is Component.RTCP,
            heard=heard,
        )

    def _close(self, files: Files) -> None:
        files.ended = self._wall()
        for sink in files.sinks:
            sink.close()
        self._names.difference_update((*files.names, files.sidecar))
        self._writer.note(
            Note(
                self._place_of(files),
                files.sidecar,
                files.as_json,
                True,
                lambda: self._written(files),
            )
        )

    def _written(self, files: Files) -> None:
        """All of ``files`` is where it belongs, as far as it could be written."""
        files.finished = True
        del self._open_files[files]
        self.counts.complete(files)
        if files.failed and not files.failure_told:
            files.failure_told = True
            self._tell(event("failed", files))
        if not files.failed:
            self._tell(event("finished", files))
        self._is_complete(files.session)

    def _is_complete(self, session: Session) -> None:
        """Have a session that has ended exported, once all its files are written."""
        files = self._ending.get(session)
        if files is not None and self._place is not None and all(each.finished for each in files):
            del self._ending[session]
            self._export(Finished(session, self._place.directory, tuple(files)))


class InUse:
    """Names that are recorded into, and those that files have already."""

    def __init__(self, names: Container[str], place: Place) -> None:
        self._names = names
        self._directories = [each for each in (place.directory, place.spool) if each is not None]

    def __contains__(self, name: object) -> bool:
        return name in self._names or any(
            os.path.lexists(os.path.join(each, str(name))) for each in self._directories
        )


def _place(directory: str, spool: str | None) -> Place:
    """Both as absolute paths: a daemon changes its working directory."""
    return Place(os.path.abspath(directory), None if spool is None else os.path.abspath(spool))
