"""All looks, one after the other."""

from __future__ import annotations

from rtpproxy_tw.checkup import exposure, machine, network, places, units
from rtpproxy_tw.checkup.facts import World
from rtpproxy_tw.checkup.findings import Finding, warning
from rtpproxy_tw.configuration.configure import Configured


def examine(configured: Configured, world: World, calls: int | None = None) -> list[Finding]:
    """What is to be said of a relay with these settings in this ``world``.

    ``calls`` is how many there are to be at once; None: what ``--max-sessions`` or the ports say.
    """
    settings = configured.settings
    return [
        *(warning("configuration", note, "leave it out") for note in configured.notes),
        *network.addresses(settings, world),
        *network.control(settings, world),
        *exposure.control(settings, world),
        *exposure.http(settings),
        *network.http(settings, world),
        *world.contents,
        *network.media_ports(settings, world),
        *places.examine(settings, world),
        *machine.examine(settings, world, calls),
        *units.examine(settings, world),
    ]
