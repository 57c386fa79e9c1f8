"""What was observed, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from rtpproxy_tw.addresses import is_private
from rtpproxy_tw.advertising import policy_of
from rtpproxy_tw.checkup.findings import Finding, error, ok, warning
from rtpproxy_tw.configuration.settings import Settings
from rtpproxy_tw.doctor.observed import Observed, ranges

NAMED = 8
"""How many of many ranges or ports are named."""

ETHERNET = 1500
"""Octets of the longest IP packet of an ordinary network."""

LONG_RTP = 1300
"""Octets that some video and RTCP packets have."""


def diagnose(seen: Observed, settings: Settings) -> list[Finding]:
    """Everything that is to be said of one media address."""
    subject = seen.configured
    return [
        *_binding(subject, seen),
        *_mapping(subject, seen, settings),
        *_arriving(subject, seen, settings),
        *_icmp(subject, seen),
        *_mtu(subject, seen),
        *_routes(subject, seen),
        *_container(subject, seen),
    ]


def _binding(subject: str, seen: Observed) -> Iterator[Finding]:
    if seen.taken:
        yield warning(
            f"{subject}: ports",
            f"{len(seen.taken)} are taken by other programs: {_some(seen.taken, seen.taken)}",
            "rtpproxy-ctl check tells by which",
        )


def _mapping(subject: str, seen: Observed, settings: Settings) -> Iterator[Finding]:
    name = f"{subject}: address outside"
    if not seen.asked:
        yield warning(name, "not looked at", "--stun SERVER or --from RELAY")
        return
    if not seen.mapped:
        yield error(
            name,
            f"nobody answered: {seen.asked} packets to {_other(seen)} or their answers were lost",
            "let UDP out from the media ports, or see that the other end is reached",
        )
        return
    hosts = sorted({host for host, _ in seen.mapped.values()})
    if len(hosts) > 1:
        yield error(
            name,
            f"packets come from several: {', '.join(hosts)}",
            "have the NAT use one address for this host (a pool would break calls)",
        )
        return
    yield from _told(name, seen, hosts[0])
    yield from _rewriting(subject, seen, settings)


def _told(name: str, seen: Observed, outside: str) -> Iterator[Finding]:
    told = seen.advertised
    learnt = policy_of(told) is not None
    if learnt:
        yield ok(name, f"{outside}, which {told} finds, too" if told != "auto" else outside)
    elif told is not None and told != outside:
        yield error(
            name,
            f"replies name {told}, but packets come from {outside}",
            f"-l {seen.host}={outside}",
        )
    elif told is None and outside != seen.host:
        word = "auto" if is_private(seen.host) else "stun"
        yield error(
            name,
            f"a NAT makes {seen.host} {outside}, and replies name {seen.host}",
            f"-l {seen.host}={outside}, or ={word} --stun-server SERVER",
        )
    else:
        how = "no NAT" if outside == seen.host else f"a NAT makes {seen.host} that, as it is told"
        yield ok(name, f"{outside}: {how}")


def _rewriting(subject: str, seen: Observed, settings: Settings) -> Iterator[Finding]:
    name = f"{subject}: ports outside"
    changed = seen.rewritten
    if not changed:
        yield ok(name, f"the same as inside ({len(seen.mapped)} of them asked)")
        return
    port, other = next(iter(changed.items()))
    yield error(
        name,
        f"a NAT rewrites them: {len(changed)} of {len(seen.mapped)}, such as {port} to {other};"
        " parties send to the port in the SDP, where nothing is",
        f"a 1:1 NAT for {seen.host} without changed ports (nft: snat to the address alone, not"
        f" masquerade random), and UDP {settings.min_port}-{settings.max_port + 1} forwarded to it",
    )


def _arriving(subject: str, seen: Observed, settings: Settings) -> Iterator[Finding]:
    name = f"{subject}: packets from outside"
    if seen.asked and not seen.mapped:
        return
    if seen.probed is None:
        yield warning(
            name,
            "whether the ports are open was not proved",
            "--from URL of another relay's HTTP interface, on the other side of the firewall",
        )
        return
    if not seen.closed:
        yield ok(name, f"came to all {len(seen.probed)} ports that were tried")
        return
    low, high = settings.min_port, settings.max_port + 1
    if not seen.arrived:
        nat = seen.outside is not None and seen.outside != seen.host
        where = f"forward UDP {low}-{high} at the NAT to {seen.host}, and " if nat else ""
        found = f"came to none of {len(seen.probed)} ports"
        if seen.misrouted:
            found += ", as the kernel dropped them for the way they came by"
            yield error(name, found, _loose(seen))
            return
        yield error(name, found, f"{where}let UDP {low}-{high} in (nft: {_rule(low, high)})")
        return
    closed = ranges(seen.closed, seen.probed)
    told = ", ".join(f"{first}-{last}" for first, last in closed[:NAMED])
    more = f" and {len(closed) - NAMED} ranges more" if len(closed) > NAMED else ""
    rule = f"{closed[0][0]}-{closed[0][1]}" if len(closed) == 1 else f"{low}-{high}"
    yield error(
        name,
        f"came to {len(seen.arrived)} of {len(seen.probed)} ports; closed: {told}{more}",
        f"let UDP {rule} in (nft: {_rule(*map(int, rule.split('-')))}),"
        " or keep to the open ports with -m and -M",
    )


def _rule(low: int, high: int) -> str:
    return f"udp dport {low}-{high} accept"


def _icmp(subject: str, seen: Observed) -> Iterator[Finding]:
    name = f"{subject}: ICMP"
    if seen.icmp is False:
        yield warning(
            name,
            f"no error came from a closed port of {_other(seen)}: parties that are gone are"
            " noticed late, and nothing tells of packets too long for the path",
            "let ICMP destination-unreachable in (nft: icmp type destination-unreachable accept;"
            " ICMPv6 too)",
        )
    elif seen.icmp:
        yield ok(name, "errors come through")


def _mtu(subject: str, seen: Observed) -> Iterator[Finding]:
    name = f"{subject}: longest packet"
    if seen.longest_out is None:
        return
    ways = [("out", seen.longest_out)]
    if seen.longest_in is not None:
        ways.append(("in", seen.longest_in))
    short = [(way, size) for way, size in ways if size < ETHERNET]
    if not short:
        yield ok(name, f"{ETHERNET} octets pass in one piece, both ways")
        return
    found = ", ".join(f"{size} octets {way}" for way, size in short)
    if seen.longest_out < ETHERNET and not seen.too_big:
        found += "; longer ones vanish, and no ICMP error says so"
    least = min(size for _, size in short)
    if least >= LONG_RTP:
        yield warning(name, found, f"set the MTU of the device to {least} where that can be")
    else:
        yield error(
            name,
            f"{found}: video and long RTCP packets are lost",
            f"ip link set dev {seen.device_out or 'DEVICE'} mtu {max(least, 576)}, and let ICMP"
            " fragmentation-needed (ICMPv6 packet-too-big) through",
        )


def _routes(subject: str, seen: Observed) -> Iterator[Finding]:
    name = f"{subject}: routes"
    if seen.misrouted:
        yield error(
            name,
            f"the kernel dropped {seen.misrouted} packets that came by another device than the"
            " one they would be answered by (rp_filter)",
            _loose(seen),
        )
    elif seen.device_in and seen.device_out and seen.device_in != seen.device_out:
        yield warning(
            name,
            f"packets leave by {seen.device_out} and come by {seen.device_in}: firewalls that"
            " remember connections may drop half of a call",
            f"ip rule add from {seen.host} table 100; ip route add default via GATEWAY dev"
            f" {seen.device_in} table 100",
        )
    elif seen.device_out and seen.device_in:
        yield ok(name, f"out and in by {seen.device_out}")


def _loose(seen: Observed) -> str:
    return (
        f"ip rule add from {seen.host} table 100 with a default route by the device they come by,"
        " or sysctl net.ipv4.conf.all.rp_filter=2"
    )


def _container(subject: str, seen: Observed) -> Iterator[Finding]:
    if seen.container == "kubernetes":
        yield warning(
            f"{subject}: container",
            "a pod's own network: ranges of UDP ports cannot be published",
            "hostNetwork: true and dnsPolicy: ClusterFirstWithHostNet in the pod's spec",
        )
    elif seen.container is not None:
        yield warning(
            f"{subject}: container",
            f"{seen.container}'s own network: each published port costs a process or a rule, and"
            " sources are changed",
            f"{'podman' if seen.container == 'podman' else 'docker'} run --network host"
            " (network_mode: host in compose files)",
        )


def _other(seen: Observed) -> str:
    return "nobody" if seen.other is None else f"{seen.other[0]} port {seen.other[1]}"


def _some(ports: list[int], among: list[int]) -> str:
    found = ranges(ports, among)
    told = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found[:NAMED])
    return told + (" …" if len(found) > NAMED else "")
