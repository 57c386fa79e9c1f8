"""What follows recordings, wired: commands, web hooks, exports, and what a crash left."""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

from twisted.application.service import IService
from twisted.logger import Logger

from rtpproxy_tw.configuration.options import version
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.insight import Around, Thread
from rtpproxy_tw.recording.afterwards import Command, Exporter, Recovery, environment
from rtpproxy_tw.recording.files import Event, Finished, Tell
from rtpproxy_tw.recording.helpers import Helpers
from rtpproxy_tw.recording.recovery import set_aside
from rtpproxy_tw.recording.sinks import Place
from rtpproxy_tw.reporting.spooled import SpoolDirectory
from rtpproxy_tw.reporting.webhooks import Webhook, treq_post
from rtpproxy_tw.views.text import to_json


class Afterwards:
    """Made from the settings. Raises ConfigError where something asked for cannot be."""

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._settings = settings
        self._helpers = Helpers(spawner=reactor, clock=reactor, environment=environment())
        self._listeners: list[Tell] = []
        self.services: list[IService] = [
            Around(start=self._recover, stop=self._helpers.stop),
        ]
        """To be started before recordings begin, and stopped after they are complete."""
        if settings.record_command:
            self._listeners.append(Command(self._helpers, settings.record_command))
        if settings.record_webhook is not None and settings.webhook_spool is not None:
            self._add_webhook(settings.record_webhook, settings.webhook_spool, reactor)
        self._exporter = (
            None
            if settings.record_export is None
            else Exporter(
                self._helpers,
                form=settings.record_export,
                mixed=settings.record_export_mixed,
                tell=self.tell,
            )
        )

    def tell(self, event: Event) -> None:
        """Something happened to a recording."""
        for listener in self._listeners:
            listener(event)

    def export(self, finished: Finished) -> None:
        """A session's recordings are complete."""
        if self._exporter is not None:
            self._exporter(finished)

    def _add_webhook(self, url: str, spool: str, reactor: Any) -> None:
        post = treq_post(url, reactor, f"rtpproxy-tw/{version()}")
        threads = Thread(reactor)
        folder = SpoolDirectory(os.path.join(spool, "recordings"))
        hook = Webhook(spool=folder, post=post, run=threads.run, clock=reactor)
        self._listeners.append(lambda event: hook.put(uuid4().hex, to_json(event)))
        # Stopped in reverse order, so the thread last.
        self.services += [
            Around(start=threads.start, stop=threads.stop),
            Around(start=hook.start, stop=hook.stop),
        ]

    def _recover(self) -> None:
        settings = self._settings
        if settings.record_dir is None:
            return
        place = Place(settings.record_dir, settings.spool_dir)
        try:
            if set_aside(place):
                self._log.warn("recordings were left unfinished; they are being finished")
                Recovery(self._helpers, place, self.tell).start()
        except OSError as error:
            self._log.error("unfinished recordings cannot be looked for: {error}", error=error)
