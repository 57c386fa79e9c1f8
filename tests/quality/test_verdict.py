"""Every scenario that users could not explain, and what the relay says of it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from rtpproxy_tw.quality.verdict import CODES, LegVerdict, assess, code_of, final_code
from rtpproxy_tw.quality.words import SENTENCES
from tests.quality.scene import CALLEE, CALLER, POLICY, RELAY, STRANGER, Scene, rtp


def healthy() -> Scene:
    """Both parties speak."""
    scene = Scene()
    scene.run(5)
    return scene


def unanswered() -> Scene:
    """The callee has not answered; the caller sends already."""
    scene = Scene(complete=False)
    scene.run(2)
    return scene


def just_answered() -> Scene:
    """A second after the answer the callee's first packet is not there."""
    scene = Scene()
    scene.callee.sends = False
    scene.run(1)
    return scene


def silent_callee() -> Scene:
    """The callee never sends."""
    scene = Scene()
    scene.callee.sends = False
    scene.run(8)
    return scene


def nobody() -> Scene:
    """Neither sends: a firewall in front of the relay."""
    scene = Scene()
    scene.caller.sends = scene.callee.sends = False
    scene.run(8)
    return scene


def rtcp_only() -> Scene:
    """Only the odd port is open for the callee."""
    scene = Scene()
    scene.callee.sends = False
    for number in range(8):
        scene.run(1)
        report = struct.pack("!BBHIIIIII", 0x80, 200, 6, 0xB, 0, 0, 0, number, number)
        scene.relay.received(scene.session.callee.rtcp, report, (CALLEE[0], CALLEE[1] + 1))
    return scene


def handshake_only() -> Scene:
    """The callee repeats a STUN request and never gets to media."""
    scene = Scene()
    scene.callee.sends = False
    request = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    for _ in range(8):
        scene.run(1)
        scene.relay.received(scene.session.callee.rtp, request, CALLEE)
    return scene


def other_host() -> Scene:
    """The callee sends from a public address that its SDP does not name."""
    scene = Scene()
    scene.callee.at = STRANGER
    scene.run(8)
    return scene


def behind_nat() -> Scene:
    """The SDP has a private address, media comes from the NAT's."""
    scene = Scene(callee=("192.168.1.9", 4000))
    scene.callee.at = ("192.0.2.1", 31022)
    scene.run(8)
    return scene


def behind_nat_and_silent() -> Scene:
    """The SDP has a private address, and nothing comes that would tell the public one."""
    scene = Scene(callee=("192.168.1.9", 4000))
    scene.callee.sends = False
    scene.run(8)
    return scene


def stopped_midway() -> Scene:
    """The callee was heard and then was not."""
    scene = healthy()
    scene.callee.sends = False
    scene.run(9)
    return scene


def both_stopped() -> Scene:
    """Nobody hung up, nobody sends."""
    scene = healthy()
    scene.caller.sends = scene.callee.sends = False
    scene.run(9)
    return scene


def moved_without_a_word() -> Scene:
    """The callee's stream goes on from another host, as another stream."""
    scene = healthy()
    scene.callee.at, scene.callee.ssrc = STRANGER, 0xCC
    scene.run(9)
    return scene


def rtp_on_the_rtcp_port() -> Scene:
    """The callee adds one to the port."""
    scene = Scene()
    scene.callee.to = scene.session.callee.rtcp
    scene.run(8)
    return scene


def swapped_ports() -> Scene:
    """Each party was told the other one's port."""
    scene = Scene()
    scene.callee.to, scene.caller.to = scene.session.caller.rtp, scene.session.callee.rtp
    scene.run(8)
    return scene


def swapped_ports_on_one_host() -> Scene:
    """The same with both parties behind one address, so that the latch takes them."""
    scene = Scene(callee=(CALLER[0], 6000))
    scene.callee.to, scene.caller.to = scene.session.caller.rtp, scene.session.callee.rtp
    scene.run(8)
    return scene


def one_port_for_both() -> Scene:
    """The caller was told the callee's port, and the callee is silent."""
    scene = Scene()
    scene.caller.to, scene.callee.sends = scene.session.callee.rtp, False
    scene.run(8)
    return scene


def closed_port_and_media_from_elsewhere() -> Scene:
    """The address in the SDP is wrong: nobody is there, the party is somewhere else."""
    scene = Scene()
    scene.callee.at = STRANGER
    for _ in range(8):
        scene.run(1)
        scene.sampler.unreachable((RELAY, scene.session.callee.port), CALLEE)
    return scene


def looped_within() -> Scene:
    """The callee's SDP names the port told to the caller."""
    scene = Scene()
    scene.tell(scene.session.callee, (RELAY, scene.session.caller.port))
    scene.callee.sends = False
    scene.run(8)
    return scene


def looped_elsewhere() -> Scene:
    """The callee's SDP names the port of another session of this relay."""
    scene = Scene()
    other = Scene()
    other.session.caller.port, other.session.callee.port = 30000, 30002
    scene.sampler.sessions = [scene.session, other.session]
    scene.tell(scene.session.callee, (RELAY, 30000))
    scene.callee.sends = False
    scene.run(8)
    return scene


def refused_by_icmp() -> Scene:
    """The callee's port is closed."""
    scene = Scene()
    scene.callee.sends = False
    for _ in range(8):
        scene.run(1)
        scene.sampler.unreachable((RELAY, scene.session.callee.port), CALLEE)
    return scene


def heard_but_deaf() -> Scene:
    """The callee sends from one port and listens on none."""
    scene = Scene()
    for _ in range(8):
        scene.run(1)
        scene.sampler.unreachable((RELAY, scene.session.callee.port), CALLEE)
    return scene


def other_codec() -> Scene:
    """The callee sends PCMA although the caller offered PCMU alone."""
    scene = Scene()
    scene.session.caller.codecs = (0, 101)
    scene.callee.payload_type = 8
    scene.run(5)
    return scene


def comfort_noise_is_no_codec() -> Scene:
    """Comfort noise is sent without being offered, by many."""
    scene = Scene()
    scene.session.caller.codecs = (0, 101)
    scene.run(5)
    scene.callee.payload_type = 13
    scene.run(1)
    return scene


def flapping() -> Scene:
    """The callee's packets come from two ports by turns."""
    scene = healthy()
    for number in range(8):
        for _ in range(25):
            scene.callee.at = (CALLEE[0], 6000 + 2 * (number % 2))
            scene.run(0)
            scene.callee.frame()
            scene.callee.at = (CALLEE[0], 6002 - 2 * (number % 2))
            scene.callee.frame()
        scene.callee.at = CALLEE
        scene.run(1)
    return scene


def new_ssrc() -> Scene:
    """A transfer: the callee's media comes from another device by the same gateway."""
    scene = healthy()
    scene.callee.ssrc = 0xBB
    scene.callee.number = 9000
    scene.run(5)
    return scene


def long_after_a_new_ssrc() -> Scene:
    """The same half a minute later."""
    scene = new_ssrc()
    scene.run(31)
    return scene


def only_comfort_noise() -> Scene:
    """The callee's microphone is missing."""
    scene = Scene()
    scene.callee.payload_type = 13
    scene.callee.payload = b"\x40"
    scene.run(13)
    return scene


def digital_silence() -> Scene:
    """The callee's gateway has no input: all samples are zero."""
    scene = Scene()
    scene.callee.payload = b"\xff" * 160
    scene.run(13)
    return scene


def a_pause() -> Scene:
    """Nobody speaks for some seconds, which is no fault."""
    scene = healthy()
    scene.callee.payload = b"\xff" * 160
    scene.run(8)
    return scene


def hold() -> Scene:
    """The callee put the caller on hold, and both are silent."""
    scene = healthy()
    scene.session.callee.held = True
    scene.caller.sends = scene.callee.sends = False
    scene.run(9)
    return scene


def hold_with_music() -> Scene:
    """The callee put the caller on hold, and plays music from a third endpoint."""
    scene = healthy()
    scene.session.callee.held = True
    scene.caller.sends = False
    scene.callee.ssrc = 0xEE
    scene.run(35)
    return scene


def held_from_the_start() -> Scene:
    """A late offer with the null address."""
    scene = Scene()
    scene.session.caller.held = True
    scene.caller.sends = scene.callee.sends = False
    scene.run(8)
    return scene


def refused_medium() -> Scene:
    """The callee refused this medium with port 0."""
    scene = Scene()
    scene.tell(scene.session.callee, (CALLEE[0], 0))
    scene.callee.sends = False
    scene.run(8)
    return scene


def early_media_of_two_forks() -> Scene:
    """A second 183 with another SDP: the answering party is another one."""
    scene = healthy()
    scene.tell(scene.session.callee, STRANGER)
    scene.callee.at, scene.callee.ssrc, scene.callee.number = STRANGER, 0xB2, 5
    scene.run(40)
    return scene


def port_change() -> Scene:
    """A re-INVITE that changes the port alone."""
    scene = healthy()
    scene.tell(scene.session.callee, (CALLEE[0], 6010))
    scene.callee.at = (CALLEE[0], 6010)
    scene.run(5)
    return scene


def family_change() -> Scene:
    """A re-INVITE to IPv6."""
    scene = healthy()
    scene.tell(scene.session.callee, ("2001:db8::9", 6000))
    scene.callee.at = ("2001:db8::9", 6000)
    scene.run(5)
    return scene


def rejected_reinvite() -> Scene:
    """A re-INVITE told a new address, was rejected, and the callee stays where it was."""
    scene = healthy()
    scene.tell(scene.session.callee, STRANGER)
    scene.run(5)
    return scene


def repeated_reinvite() -> Scene:
    """Session timers: the same address again and again."""
    scene = healthy()
    for _ in range(5):
        scene.tell(scene.session.callee, CALLEE)
        scene.tell(scene.session.caller, CALLER)
        scene.run(1)
    return scene


def fax() -> Scene:
    """A switch to T.38, with audio of one party still arriving; UDPTL is no RTP."""
    scene = healthy()
    for number in range(20):
        datagram = struct.pack("!HBB", number, 6, 1) + bytes(30)
        scene.relay.received(scene.session.callee.rtp, datagram, CALLEE)
    scene.callee.sends = False
    scene.run(2)
    return scene


def hold_that_only_the_sdp_tells() -> Scene:
    """sendonly without the null address: for a relay the caller has stopped speaking."""
    scene = healthy()
    scene.caller.sends = False
    scene.run(9)
    return scene


def back_from_hold() -> Scene:
    """On hold for a while, and both speak again."""
    scene = hold()
    scene.session.callee.held = False
    scene.caller.sends = scene.callee.sends = True
    scene.run(9)
    return scene


def attended_transfer() -> Scene:
    """The callee's place is taken by another host: new address, new SSRC, numbers from anywhere."""
    scene = healthy()
    scene.tell(scene.session.callee, STRANGER)
    scene.callee.at, scene.callee.ssrc, scene.callee.number = STRANGER, 0xC0FFEE, 60000
    scene.run(40)
    return scene


def blind_transfer_behind_a_gateway() -> Scene:
    """The same place sends another stream, with a jump of its numbers."""
    scene = healthy()
    scene.callee.ssrc, scene.callee.number = 0xC0FFEE, scene.callee.number + 20_000
    scene.run(5)
    return scene


def late_offer() -> Scene:
    """An INVITE without SDP: the answer completes the session long after it was made."""
    scene = Scene(complete=False)
    scene.run(10)
    scene.tell(scene.session.callee, CALLEE)
    scene.complete()
    scene.run(6)
    return scene


def glare() -> Scene:
    """Both parties send a re-INVITE at the same time; each repeats what it had said."""
    scene = healthy()
    for _ in range(3):
        scene.tell(scene.session.caller, CALLER)
        scene.tell(scene.session.callee, CALLEE)
    scene.run(5)
    return scene


def medium_back_after_port_0() -> Scene:
    """A refused medium that a re-INVITE brings back."""
    scene = refused_medium()
    scene.tell(scene.session.callee, CALLEE)
    scene.callee.sends = True
    scene.run(5)
    return scene


def attacked() -> Scene:
    """Strangers spray the port of a healthy call."""
    scene = healthy()
    for number in range(200):
        datagram = rtp(number, ssrc=number)
        scene.relay.received(scene.session.callee.rtp, datagram, ("198.51.100.99", 1024 + number))
    scene.run(3)
    return scene


TABLE: list[tuple[Callable[[], Scene], str, str]] = [
    (healthy, "ok", "ok"),
    (unanswered, "learning", "learning"),
    (just_answered, "ok", "learning"),
    (silent_callee, "ok", "never-arrived"),
    (nobody, "never-arrived", "never-arrived"),
    (rtcp_only, "ok", "rtcp-only"),
    (handshake_only, "ok", "rtcp-only"),
    (other_host, "ok", "wrong-source"),
    (behind_nat, "ok", "ok"),
    (behind_nat_and_silent, "ok", "never-arrived"),
    (stopped_midway, "ok", "one-way"),
    (both_stopped, "stopped", "stopped"),
    (moved_without_a_word, "ok", "wrong-source"),
    (rtp_on_the_rtcp_port, "ok", "crossed-ports"),
    (swapped_ports, "crossed-ports", "crossed-ports"),
    (swapped_ports_on_one_host, "crossed-ports", "crossed-ports"),
    (one_port_for_both, "crossed-ports", "never-arrived"),
    (closed_port_and_media_from_elsewhere, "ok", "wrong-source"),
    (looped_within, "ok", "looped-to-us"),
    (looped_elsewhere, "ok", "looped-to-us"),
    (refused_by_icmp, "ok", "icmp-unreachable"),
    (heard_but_deaf, "ok", "icmp-unreachable"),
    (other_codec, "ok", "payload-never-negotiated"),
    (comfort_noise_is_no_codec, "ok", "ok"),
    (flapping, "ok", "source-flapping"),
    (new_ssrc, "ok", "ssrc-changed"),
    (long_after_a_new_ssrc, "ok", "ok"),
    (only_comfort_noise, "ok", "silence-only"),
    (digital_silence, "ok", "silence-only"),
    (a_pause, "ok", "ok"),
    (hold, "held", "held"),
    (hold_with_music, "held", "ok"),
    (held_from_the_start, "held", "held"),
    (refused_medium, "ok", "never-arrived"),
    (early_media_of_two_forks, "ok", "ok"),
    (port_change, "ok", "ok"),
    (family_change, "ok", "ok"),
    (rejected_reinvite, "ok", "ok"),
    (repeated_reinvite, "ok", "ok"),
    (fax, "ok", "ok"),
    (hold_that_only_the_sdp_tells, "one-way", "ok"),
    (back_from_hold, "ok", "ok"),
    (attended_transfer, "ok", "ok"),
    (blind_transfer_behind_a_gateway, "ok", "ssrc-changed"),
    (late_offer, "ok", "ok"),
    (glare, "ok", "ok"),
    (medium_back_after_port_0, "ok", "ok"),
    (attacked, "ok", "ok"),
]

SILENT = frozenset(
    (
        *("never-arrived", "one-way", "stopped", "rtcp-only", "wrong-source"),
        *("crossed-ports", "looped-to-us", "held"),
    )
)
"""Codes of parties of which nothing arrives where it should."""


@pytest.mark.parametrize("scenario, caller, callee", TABLE, ids=[r[0].__name__ for r in TABLE])
def test_each_scenario_has_its_verdict(
    scenario: Callable[[], Scene], caller: str, callee: str
) -> None:
    """The codes; and a sentence that says nothing arrived, where that is so."""
    scene = scenario()
    assert scene.codes() == (caller, callee)
    for verdict in scene.verdicts():
        assert verdict.code in CODES
        if verdict.code in SILENT:
            assert says_nothing_arrived(verdict), verdict.sentence
        assert verdict.hint or verdict.code in ("ok", "learning")
        assert 1 <= len(verdict.evidence) <= 12


@pytest.mark.parametrize("scenario, caller, callee", TABLE, ids=[r[0].__name__ for r in TABLE])
def test_the_end_of_a_call_does_not_change_what_is_said_of_it(
    scenario: Callable[[], Scene], caller: str, callee: str
) -> None:
    """The ports are closed by then; code and sentence are the same."""
    scene = scenario()
    before = [(verdict.code, verdict.sentence) for verdict in scene.verdicts()]
    scene.end()
    assert [(verdict.code, verdict.sentence) for verdict in scene.verdicts()] == before
    assert scene.kinds()[-1] == "end"


BELIEVED_BY_RTPPROXY: dict[Callable[[], Scene], tuple[str, str]] = {
    other_host: ("ok", "ok"),
    closed_port_and_media_from_elsewhere: ("ok", "ok"),
    one_port_for_both: ("crossed-ports", "crossed-ports"),
}
"""What differs where the first packet is good enough."""


@pytest.mark.parametrize("scenario, caller, callee", TABLE, ids=[r[0].__name__ for r in TABLE])
def test_the_other_latching_policy_is_explained_as_well(
    scenario: Callable[[], Scene], caller: str, callee: str
) -> None:
    """It believes strangers, and says so in the evidence."""
    token = POLICY.set("rtpproxy")
    try:
        scene = scenario()
    finally:
        POLICY.reset(token)
    assert scene.codes() == BELIEVED_BY_RTPPROXY.get(scenario, (caller, callee))
    if scenario is other_host:
        told = "the SDP said 192.0.2.9:6000, media comes from 192.0.2.66:7000"
        assert told in scene.verdicts()[1].evidence


def says_nothing_arrived(verdict: LegVerdict) -> bool:
    """In whichever of two ways."""
    return verdict.sentence.startswith(
        ("no RTP packet ever arrived", "nothing has arrived", "nothing arrives")
    )


def test_every_code_has_words_and_a_scenario() -> None:
    """None is missing from the table above, none has no sentence."""
    assert set(CODES) == set(SENTENCES)
    assert set(CODES) == {code for _, *codes in TABLE for code in codes}


def test_the_sentence_of_a_party_never_heard_names_both_places_and_what_was_sent() -> None:
    """What an operator would have to find out by three captures."""
    _, callee = silent_callee().verdicts()
    assert callee.sentence == (
        "no RTP packet ever arrived from the callee on 203.0.113.5:20110 although 400 were sent"
        " to 192.0.2.9:6000"
    )
    assert "firewall" in callee.hint


def test_a_silent_party_whose_port_is_closed_has_the_icmp_errors_as_evidence() -> None:
    """The sentence still says that nothing arrived."""
    _, callee = refused_by_icmp().verdicts()
    assert says_nothing_arrived(callee)
    assert "(8 ICMP errors)" in callee.sentence
    assert "8 ICMP errors, the last 0.0 s ago" in callee.evidence


def test_a_nat_is_told_in_the_evidence() -> None:
    """What the SDP said and what came."""
    _, callee = behind_nat().verdicts()
    assert "the SDP said 192.168.1.9:4000, media comes from 192.0.2.1:31022" in callee.evidence


def test_a_private_address_without_packets_has_its_own_hint() -> None:
    """The relay cannot send anywhere before the first packet came."""
    _, callee = behind_nat_and_silent().verdicts()
    assert "private" in callee.hint


def test_an_advertised_address_is_named_too() -> None:
    """Behind a 1:1 NAT the party knows that one only."""
    scene = Scene(advertised="198.51.100.1")
    scene.callee.sends = False
    scene.run(5)
    assert "on 203.0.113.5:20110, told as 198.51.100.1:20110" in scene.verdicts()[1].sentence


def test_both_parties_at_our_own_ports_is_a_loop_on_both_legs() -> None:
    """An SDP that went through the relay twice."""
    scene = Scene()
    scene.tell(scene.session.callee, (RELAY, scene.session.caller.port))
    scene.tell(scene.session.caller, (RELAY, scene.session.callee.port))
    scene.caller.sends = scene.callee.sends = False
    scene.run(2)
    assert scene.codes() == ("looped-to-us", "looped-to-us")


def test_icmp_errors_about_other_places_change_nothing() -> None:
    """Anybody can make some up."""
    scene = healthy()
    for _ in range(9):
        scene.sampler.unreachable((RELAY, 20110), STRANGER)
        scene.sampler.unreachable((RELAY, 9), CALLEE)
    assert scene.codes() == ("ok", "ok")


def test_verdicts_change_within_a_second_and_are_in_the_timeline() -> None:
    """What a party is said to be, when, and what happened around it."""
    scene = stopped_midway()
    texts = [entry.text for entry in scene.session.timeline if entry.kind == "verdict"]
    assert texts == ["caller: ok", "callee: ok", "callee: one-way"]
    scene.callee.sends = True
    scene.run(1)
    told = [(entry.kind, entry.text) for entry in scene.session.timeline][-2:]
    assert told == [
        ("silence", "callee: is heard again, after 10 s"),
        ("verdict", "callee: ok"),
    ]


def test_assessing_changes_nothing() -> None:
    """It may be done by anybody at any time."""
    scene = other_host()
    first = assess(scene.session, scene.clock.seconds())
    assert assess(scene.session, scene.clock.seconds()) == first


def test_the_verdict_at_the_end_is_the_same_for_everybody() -> None:
    """However long those who are told of it take."""
    scene = healthy()
    now, leg = scene.clock.seconds(), scene.session.caller
    assert final_code(leg, now) == "ok"
    assert code_of(leg, now + 60.0) == "stopped"
    assert final_code(leg, now + 60.0) == "ok"
