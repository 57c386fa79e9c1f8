"""``rtpproxy-ctl --redis URL fleet``: the nodes, asked of Redis itself, with no relay's help."""

from __future__ import annotations

from typing import Any

from rtpproxy_tw.cluster.location import read_location
from rtpproxy_tw.cluster.redis import RedisStore
from rtpproxy_tw.clustering import read_nodes

PATIENCE = 3.0
"""Seconds."""


def ask(url: str) -> dict[str, Any]:
    """What is known of the nodes. Raises ValueError for the URL, OSError where Redis is not there.

    Runs the reactor, so it can be called once.
    """
    from twisted.internet import reactor

    runner: Any = reactor
    store = RedisStore(read_location(url), reactor, PATIENCE)
    found: list[Any] = []

    def begin() -> None:
        store.nodes().addBoth(found.append).addBoth(lambda _: runner.stop())

    runner.callWhenRunning(begin)
    runner.run()
    store.close()
    if not isinstance(found[0], dict):
        raise OSError(found[0].getErrorMessage())
    return {"nodes": read_nodes(found[0]), "store": None}
