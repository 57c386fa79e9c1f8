"""Addresses and ports: are they here, and are they free?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from rtpproxy_tw.addresses import LocalAddress, is_loopback, is_private
from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.checkup.facts import Bound, World
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.configuration.settings import INET_KINDS, ControlAddress, Settings
from rtpproxy_tw.http_sockets import taken_apart

WILDCARDS = ("0.0.0.0", "::")

SMALL = 8
"""Pairs; fewer than four calls of one medium are rather a mistake than a wish."""

NAMED = 3
"""How many of many are named."""


def addresses(settings: Settings, world: World) -> Iterator[Finding]:
    """Every address that media is taken on."""
    for local in settings.addresses.all():
        subject = f"media address {local.host}"
        yield (_wildcard(subject, local) if local.wildcard else _concrete(subject, local, world))


def _wildcard(subject: str, local: LocalAddress) -> Finding:
    if local.advertised is not None:
        return ok(subject, f"every address of this host, told as {local.advertised}")
    return warning(
        subject,
        "replies name no address, so the SIP proxy puts its own into the SDP",
        "name it where the relay is on another host: -l ADDRESS, or -A ADDRESS",
    )


def _concrete(subject: str, local: LocalAddress, world: World) -> Finding:
    absent = _absence(local.host, world)
    if absent is not None:
        return Finding(absent.level, subject, absent.found, absent.remedy)
    if is_loopback(local.host):
        return warning(subject, "only this host can reach it", "-l with an address of a network")
    if local.advertised is not None:
        how = "learnt" if policy_of(local.advertised) else "told"
        return ok(subject, f"on this host; {how}: {local.advertised}")
    if is_private(local.host):
        return ok(
            subject,
            "on this host, private; if parties are outside a NAT, add its address:"
            f" -l {local.host}=ADDRESS, or =auto",
        )
    return ok(subject, "on this host")


def _absence(host: str, world: World) -> Finding | None:
    known = world.addresses
    if known is None or host in known or is_loopback(host):
        return None
    if world.nonlocal_bind:
        return warning("", "not on this host now", "see that it comes (VRRP?) before calls do")
    have = ", ".join(sorted(each for each in known if not is_loopback(each)))
    return error(
        "",
        "no interface of this host has it",
        f"choose one of {have or 'none'}; behind a NAT it is -l OWN=PUBLIC",
    )


def control(settings: Settings, world: World) -> Iterator[Finding]:
    """Every control socket that is an address: is it here and free?"""
    for address in settings.control:
        if address.kind not in INET_KINDS:
            continue
        subject = f"control socket {address.text}"
        absent = None if address.host in WILDCARDS else _absence(address.host, world)
        if absent is not None:
            yield Finding(absent.level, subject, absent.found, absent.remedy)
            continue
        yield _taken(subject, address, world, "-s")
        if settings.min_port <= address.port <= settings.max_port + 1:
            yield warning(
                subject,
                "its port is one of the media ports",
                "choose one outside -m and -M, so that no call is short of it",
            )


def endpoints(settings: Settings) -> Iterator[tuple[str, ControlAddress]]:
    """HTTP endpoints, each with where it is; those that describe nothing are left out."""
    for text in settings.http:
        try:
            words = taken_apart(text)
            if words.kind == "unix":
                yield text, ControlAddress("unix", words.values[0])
                continue
            if words.kind not in ("tcp", "ssl"):
                continue
            port = int(words.named.get("port", "") or words.values[0])
            host = str(ip_address(words.named.get("interface", "") or WILDCARDS[0]))
        except (ValueError, IndexError):
            continue
        yield text, ControlAddress("tcp6" if ":" in host else "tcp", host, port)


def http(settings: Settings, world: World) -> Iterator[Finding]:
    """Every HTTP endpoint that is an address: is it here and free?"""
    for text, address in endpoints(settings):
        if address.kind not in INET_KINDS:
            continue
        absent = None if address.host in WILDCARDS else _absence(address.host, world)
        if absent is not None:
            yield Finding(absent.level, f"HTTP at {text}", absent.found, absent.remedy)
        else:
            yield _taken(f"HTTP at {text}", address, world, "--http")


def _taken(subject: str, address: ControlAddress, world: World, option: str) -> Finding:
    kind = "udp" if address.kind.startswith("udp") else "tcp"
    holders = [
        each
        for each in world.bound or ()
        if (each.kind, each.port) == (kind, address.port) and _meet(each.host, address.host)
    ]
    if not holders or not address.port:
        return ok(subject, "free")
    if all(each.ours for each in holders):
        return ok(subject, "a relay that runs has it")
    return error(
        subject,
        f"{holders[0].told} has it",
        f"end that program, or choose another port with {option}",
    )


def _meet(one: str, other: str) -> bool:
    """Whether the same port at both cannot be had."""
    wild = [host for host in (one, other) if host in WILDCARDS]
    same = (":" in one) == (":" in other)
    return one == other or (bool(wild) and (same or "::" in wild))


def media_ports(settings: Settings, world: World) -> Iterator[Finding]:
    """The range of media ports."""
    low, high = settings.min_port, settings.max_port + 1
    pairs = (high - low + 1) // 2
    subject = f"media ports {low}-{high}"
    if pairs < SMALL:
        yield warning(subject, f"{pairs} pairs; a call takes two", "widen it with -m and -M")
    if low < 1024 and world.account.uid != 0:
        yield error(
            subject, f"{world.account.name} may not have ports below 1024", "raise -m to 1024"
        )
    yield _ephemeral(subject, (low, high), world)
    yield from _occupied(subject, settings, world)


def _ephemeral(subject: str, ports: tuple[int, int], world: World) -> Finding:
    low, high = ports
    if world.ephemeral is None:
        return ok(subject, f"{(high - low + 1) // 2} pairs")
    first, last = max(low, world.ephemeral[0]), min(high, world.ephemeral[1])
    reserved = world.machine.reserved or ()
    if first > last:
        return ok(subject, "apart from the ports of outgoing connections")
    if any(one <= first and last <= other for one, other in reserved):
        return ok(subject, "kept from outgoing connections by ip_local_reserved_ports")
    return warning(
        subject,
        f"outgoing connections of other programs take {first}-{last} of them"
        f" (ip_local_port_range is {world.ephemeral[0]}-{world.ephemeral[1]})",
        f"sysctl net.ipv4.ip_local_reserved_ports={low}-{high}, kept in /etc/sysctl.d",
    )


def _occupied(subject: str, settings: Settings, world: World) -> Iterator[Finding]:
    if world.bound is None:
        return
    hosts = [local.host for local in settings.addresses.all()]
    strangers = [
        each
        for each in world.bound
        if each.kind == "udp"
        and settings.min_port <= each.port <= settings.max_port + 1
        and not each.ours
        and any(_meet(each.host, host) for host in hosts)
    ]
    if not strangers:
        yield ok(subject, "no other program has any of them")
        return
    pairs = (settings.max_port - settings.min_port) // 2 + 1
    gone = len({each.port // 2 for each in strangers})
    found = f"{gone} of {pairs} pairs are taken: {_some(strangers)}"
    remedy = "move the range with -m and -M, or that program"
    yield (error if gone >= pairs else warning)(subject, found, remedy)


def _some(bound: list[Bound]) -> str:
    named = [f"{each.port} by {each.told}" for each in bound[:NAMED]]
    return ", ".join(named) + (" …" if len(bound) > NAMED else "")
