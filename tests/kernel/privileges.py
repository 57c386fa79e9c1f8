"""Threads with fewer powers: capabilities are each thread's own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rtpproxy_tw.media.kernel import capabilities
from tests.kernel.network import Namespace

EVERY_NEEDED = (
    capabilities.BPF,
    capabilities.NET_ADMIN,
    capabilities.PERFMON,
    capabilities.SYS_ADMIN,
)


def in_thread(work: Callable[[], None], namespace: Namespace | None = None) -> None:
    """Run ``work`` in a thread of its own, in a namespace that it need not be able to leave."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if namespace is not None:
                namespace.enter()
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
