"""Every protocol extension that VF affirms is there: a demonstration of each, by its date."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from rtpproxy_tw.addresses import LocalAddress, LocalAddresses
from rtpproxy_tw.commands import Failed, Origin
from rtpproxy_tw.control.features import FEATURES
from rtpproxy_tw.control.render import render
from rtpproxy_tw.control.rtpproxy import RtpproxyDialect
from rtpproxy_tw.errors import CommandError
from rtpproxy_tw.reporting.acct_record import COLUMNS, record
from rtpproxy_tw.reporting.notify import Notifier, TimeoutObserver
from rtpproxy_tw.session import Ending, NotifySocket
from tests.contracts import rtp
from tests.fakes import Bench
from tests.media.playing import CALLEE, CALLER, FACING_CALLEE, FACING_CALLER
from tests.media.test_dtmf import press
from tests.recording.test_copies import Copying

U = "U c 127.0.0.1 5000 f"
L = "L c 127.0.0.1 6000 f t"


class Talk:
    """Commands and replies as text, to a relay of fakes that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench = Bench(prompts=[str(folder)], notify=["unix:/n"])

    def ask(self, line: str) -> str:
        """The reply without its newline."""
        try:
            reply = self.bench.do(RtpproxyDialect().parse(line.encode()))
        except CommandError as error:
            reply = Failed(error.code)
        return render(reply).decode().removesuffix("\n")

    def call(self) -> Talk:
        """Offer and answer."""
        assert self.ask(U) == "40000 127.0.0.1"
        assert self.ask(L) == "40002 127.0.0.1"
        return self

    def caller_says(self, *datagrams: bytes) -> list[bytes]:
        """What the callee hears of it."""
        for datagram in datagrams:
            self.bench.host.deliver(datagram, CALLER, FACING_CALLER)
        return [datagram for datagram, _ in self.bench.host.sent(FACING_CALLEE)]

    def prompt(self) -> list[int]:
        """The octets of each packet the caller hears in the next half second."""
        for _ in range(500):
            self.bench.clock.advance(0.001)
        return [len(datagram) - 12 for datagram, _ in self.bench.host.sent(FACING_CALLER)]


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    """With a prompt, ``p``."""
    (tmp_path / "p.0").write_bytes(bytes(320))
    return Talk(tmp_path)


def base(talk: Talk) -> None:
    assert talk.ask("V") == "20040107"
    talk.call()
    assert talk.caller_says(rtp(1)) == [rtp(1)]
    assert talk.ask("D c f t") == "0"


def several_streams_and_music(talk: Talk) -> None:
    ports = {talk.ask(f"U c 127.0.0.1 {5000 + n} f;{n}") for n in (1, 2)}
    assert len(ports) == 2
    assert talk.ask("D c f") == "0"
    assert len(talk.bench.registry) == 0
    talk.bench = Bench(prompts=[str(talk.folder)])
    talk.call()
    assert talk.ask("P2 c p 0 f t") == "0"
    assert talk.prompt() == [80] * 8
    assert talk.ask("P-1 c p 0 f t") == "0"
    assert talk.ask("S c f t") == "0"
    assert talk.prompt() == []


def asking_for_extensions(talk: Talk) -> None:
    assert talk.ask("VF 20060704") == "1"
    assert talk.ask("VF 20170313") == "0"


def repacketisation(talk: Talk) -> None:
    talk.ask(U.replace("U", "Uz40", 1))
    talk.ask(L)
    (out,) = talk.caller_says(rtp(1, payload=bytes(160)), rtp(2, payload=bytes(160)))
    assert len(out) == 12 + 320


def copying(talk: Talk) -> None:
    relay = Copying(talk.folder, directory=True)
    relay.copy("udp:127.0.0.1:9998")
    relay.host.deliver(rtp(1), CALLER, FACING_CALLER)
    assert relay.copies(40004) == [(rtp(1), ("127.0.0.1", 9998))]
    relay.recorders.stop(relay.session.caller)
    relay.copy("file")
    relay.host.deliver(rtp(1), CALLER, FACING_CALLER)
    relay.recorders.ended(relay.session, Ending.DELETED)
    assert relay.writer.stop()
    assert rtp(1) in (talk.folder / "file.rtp").read_bytes()


def querying(talk: Talk) -> None:
    talk.call().caller_says(rtp(1))
    assert talk.ask("Q c f t") == "60 1 0 1 0"


def codec_lists(talk: Talk) -> None:
    talk.ask(U.replace("U", "Uc8,0", 1))
    talk.ask(L.replace("L", "Lz20", 1))
    assert talk.ask("P c p session f t") == "0"
    assert talk.prompt() == [160, 160]


def timeout_notices(talk: Talk) -> None:
    assert talk.ask(f"{U} t unix:/n a%20tag") == "40000 127.0.0.1"
    (session,) = talk.bench.registry
    TimeoutObserver(talk.bench.notifier).ended(session, Ending.TIMEOUT)
    assert talk.bench.notifier.told == [(NotifySocket("unix", "unix:/n"), b"a tag")]
    talk.bench = Bench()
    assert talk.ask("VF 20081224") == "0"
    assert talk.ask(f"{U} t unix:/n a%20tag") == "E75"


def automatic_bridging(talk: Talk) -> None:
    assert talk.ask(U.replace("U", "Ul127.0.0.2", 1)) == "40000 127.0.0.2"
    assert talk.ask(L.replace("L", "Lr127.0.0.9", 1)) == "40002 127.0.0.1"


def load_report(talk: Talk) -> None:
    assert talk.ask("Il").splitlines()[5] == "average load: 0.000000"
    assert len(talk.ask("I").splitlines()) == 5


def connect_time(talk: Talk) -> None:
    talk.bench.clock.advance(7)
    talk.call()
    talk.bench.clock.advance(3)
    (session,) = talk.bench.registry
    text = record(session, node="n", pid=1, uid=1, now=talk.bench.clock.seconds(), epoch=0.0)
    told = dict(zip(COLUMNS, next(csv.reader([text])), strict=True))
    assert (told["setup_ts"], told["teardown_ts"]) == ("7.000000", "10.000000")


def global_counters(talk: Talk) -> None:
    talk.call().caller_says(rtp(1))
    assert talk.ask("Gv nsess_created npkts_relayed") == "nsess_created=1 npkts_relayed=1"


def new_ports(talk: Talk) -> None:
    talk.call()
    assert talk.ask(U.replace("U", "Un", 1)) == "40004 127.0.0.1"
    assert talk.ask(L.replace("L", "Ln", 1)) == "40006 127.0.0.1"


def packet_counters(talk: Talk) -> None:
    talk.call().caller_says(rtp(1), rtp(2), rtp(2), b"no rtp")
    names = "rtpa_nsent rtpa_nrcvd rtpa_ndups rtpa_perrs"
    assert talk.ask(f"Q c f t {names}") == "2 2 1 1"


def wildcard_notification(talk: Talk) -> None:
    spec = "tcp:%%CC_SELF%%:9999"
    notifier = Notifier(reactor=MemoryReactorClock(), allowed=[spec])
    found = notifier.resolve(spec, Origin("udp", peer="192.0.2.7"))
    assert found is not None
    assert (found.address, found.port) == ("192.0.2.7", 9999)


def sub_commands(talk: Talk) -> None:
    assert talk.ask(f"{U} t && S ttl=30 && C nocall x y") == "40000 127.0.0.1 && 0 && -1"


def stop_recording(talk: Talk) -> None:
    talk.call()
    assert [talk.ask(line) for line in ("R c f t", "N c f t", "N c f t")] == ["0", "0", "E50"]


def losses_and_hidden_keys(talk: Talk) -> None:
    assert talk.ask(f"{U} t unix:/n tag && M3:1 Dx 101 h") == "40000 127.0.0.1"
    talk.ask(L)
    assert talk.caller_says(rtp(1), rtp(3), *press(5, 1000)) == [rtp(1), rtp(3)]
    assert [line for _, line in talk.bench.notifier.told] == [b"Dx 5 10 480 0"]
    talk.bench = Bench()
    talk.call().caller_says(rtp(1), rtp(3))
    assert talk.ask("Q c f t rtpa_nlost") == "1"


def last_figures(talk: Talk) -> None:
    talk.call()
    assert talk.ask("Q c f t && D") == "60 0 0 0 0"
    assert talk.ask("Q c f t") == "E50"


def gaps_and_jitter(talk: Talk) -> None:
    talk.call().caller_says(rtp(1))
    talk.bench.clock.advance(0.5)
    talk.caller_says(rtp(2))
    gap, *jitter = talk.ask("Q c f t longest_ipi rtpa_jlast rtpa_jmax rtpa_javg").split()
    assert gap == "0.500000"
    assert float(jitter[0]) > 100


def port_of_a_copy(talk: Talk) -> None:
    reply = Copying(talk.folder).copy("udp:127.0.0.1:9998", show_port=True)
    assert render(reply) == b"40004 127.0.0.1\n"


def ttl_and_tos(talk: Talk) -> None:
    talk.call()
    assert talk.ask(f"{U} t && S ttl=30 && S tos=40 && Sr tos=80") == "40000 127.0.0.1"
    assert talk.ask("Q c f t ttl") == "30"
    assert talk.bench.host.ports[FACING_CALLER].tos == 40
    assert talk.bench.host.ports[FACING_CALLEE].tos == 80


def labels(talk: Talk) -> None:
    addresses = (LocalAddress("127.0.0.1"), LocalAddress("127.0.0.2", label="two"))
    talk.bench = Bench(addresses=LocalAddresses(addresses))
    assert talk.ask(U.replace("U", "Ul{two}", 1)) == "40000 127.0.0.2"
    assert talk.ask("Ul{three} d 127.0.0.1 5000 f") == "E31"


def lookup_within_update(talk: Talk) -> None:
    assert talk.ask(f"{U} t && L 127.0.0.1 6000") == "40000 127.0.0.1 && 40002 127.0.0.1"
    assert talk.caller_says(rtp(1)) == [rtp(1)]


def outlets(talk: Talk) -> None:
    talk.call()
    assert talk.ask("U d 127.0.0.1 7000 df dt && L 127.0.0.1 8000 && C c f t").count("&&") == 1
    talk.caller_says(rtp(1))
    sent = [to for port in talk.bench.host.ports.values() for _, to in port.sent if to != CALLEE]
    assert len(sent) == 1


DEMONSTRATIONS: dict[str, Callable[[Talk], None]] = {
    "20040107": base,
    "20050322": several_streams_and_music,
    "20060704": asking_for_extensions,
    "20071116": repacketisation,
    "20071218": copying,
    "20080403": querying,
    "20081102": codec_lists,
    "20081224": timeout_notices,
    "20090810": automatic_bridging,
    "20140323": load_report,
    "20140617": connect_time,
    "20141004": global_counters,
    "20150330": new_ports,
    "20150420": packet_counters,
    "20150617": wildcard_notification,
    "20191015": sub_commands,
    "20200226": stop_recording,
    "20230205": losses_and_hidden_keys,
    "20230314": last_figures,
    "20230424": gaps_and_jitter,
    "20250523": port_of_a_copy,
    "20251015": ttl_and_tos,
    "20260306": labels,
    "20260308": lookup_within_update,
    "20260309": outlets,
}


@pytest.mark.parametrize("date", FEATURES)
def test_what_vf_affirms_is_so(talk: Talk, date: str) -> None:
    assert talk.ask(f"VF {date}") == "1"
    DEMONSTRATIONS[date](talk)


def test_nothing_is_demonstrated_that_vf_denies() -> None:
    assert set(DEMONSTRATIONS) == set(FEATURES)
