"""Descriptors, buffers, processors, memory, clock and kernel."""

from __future__ import annotations

from collections.abc import Iterator

from rtpproxy_tw import hostcheck
from rtpproxy_tw.capacity import capacity
from rtpproxy_tw.checkup.facts import World
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.checkup.units import open_files
from rtpproxy_tw.configuration.settings import Settings

PER_SESSION = 25 * 1024
"""Octets: what a session takes of the process and of the kernel."""

SLOW_CLOCKS = frozenset({"hpet", "acpi_pm", "jiffies", "pit", "refined-jiffies"})
"""Clock sources that a program cannot read without a system call, or that are coarse."""

USUAL = 1000
"""Calls for which buffers and queues are judged where nobody says how many there are to be."""

OWN = {"net.ipv4.ip_local_reserved_ports", "open files", "media ports"}
"""What hostcheck looks at and we see in more detail."""


def examine(settings: Settings, world: World, calls: int | None = None) -> Iterator[Finding]:
    """All of that; ``calls`` is how many there are to be at once, None: not said."""
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    most = capacity(pairs, _descriptors(settings, world), settings.max_sessions)
    wanted = calls or settings.max_sessions or min(most.calls, USUAL)
    yield _capacity(settings, world, calls)
    for advice in hostcheck.advise(
        world.machine, max(wanted, 1), (settings.min_port, settings.max_port + 1)
    ):
        if advice.subject in OWN:
            continue
        if advice.fine:
            yield ok(advice.subject, advice.found)
        else:
            yield warning(advice.subject, f"{advice.found}: {advice.why}", advice.how)
    yield from _memory(most.calls, world)
    yield from _clock(world)
    yield from _kernel(settings, world)


def _descriptors(settings: Settings, world: World) -> int:
    """The limit the relay will have."""
    if settings.nofile is not None:
        return settings.nofile
    unit = None if world.unit is None else open_files(world.unit)
    found = unit if unit is not None else world.machine.descriptors
    return found if found is not None else 1 << 30


def _capacity(settings: Settings, world: World, calls: int | None) -> Finding:
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    limit = _descriptors(settings, world)
    subject = "descriptors and ports"
    hard = world.machine.descriptors
    most = world.most_files
    if settings.nofile is not None and most is not None and settings.nofile > most:
        return error(
            subject,
            f"-L {settings.nofile} is beyond fs.nr_open, {most}, which holds for root, too",
            f"a lower -L, or sysctl fs.nr_open={settings.nofile}",
        )
    if (
        settings.nofile is not None
        and world.account.uid
        and hard is not None
        and settings.nofile > hard
    ):
        return error(
            subject,
            f"-L {settings.nofile} is beyond the hard limit of {hard}",
            f"LimitNOFILE={settings.nofile} in the unit",
        )
    found = capacity(pairs, limit, settings.max_sessions)
    by_ports = capacity(pairs, 1 << 30, settings.max_sessions)
    told = f"{found.calls} calls at once, {found.why.partition(';')[0]}"
    remedy = found.why.partition("; ")[2]
    if not found.calls:
        return error(subject, told, remedy)
    if found.calls < (calls or by_ports.calls):
        return warning(subject, told, remedy)
    return ok(subject, told)


def _memory(calls: int, world: World) -> Iterator[Finding]:
    if world.memory is None:
        return
    wanted = calls * PER_SESSION
    found = f"{world.memory >> 20} MiB can be had, {wanted >> 20} needed for {calls} calls"
    if wanted > world.memory:
        yield warning("memory", found, "--max-sessions with what there is memory for")
    else:
        yield ok("memory", found)


def _clock(world: World) -> Iterator[Finding]:
    if world.clock in SLOW_CLOCKS:
        yield warning(
            "clock source",
            f"{world.clock}: each look at the time costs a system call or is coarse",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource,"
            " or what the hypervisor offers (kvm-clock)",
        )
    elif world.clock is not None:
        yield ok("clock source", world.clock)
    if world.synchronised is False:
        yield warning(
            "wall clock",
            "follows no other clock, so stamps of records and recordings may be wrong",
            "run chrony or systemd-timesyncd",
        )


def _kernel(settings: Settings, world: World) -> Iterator[Finding]:
    if settings.fast_path == "none":
        yield ok("fast path", "not wanted; every packet goes through the process")
    elif world.kernel is not None:
        sentence = world.kernel.sentence
        if world.kernel.works:
            yield ok("fast path", sentence)
        elif settings.fast_path == "ebpf":
            yield error("fast path", sentence, world.kernel.remedy or "--fast-path auto")
        else:
            yield warning("fast path", sentence, world.kernel.remedy or "--fast-path none")
