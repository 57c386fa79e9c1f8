"""Two parties' packets become sound, each at its place and on its side."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ElementTree
from array import array
from collections.abc import Sequence

import pytest

from rtpproxy_tw.recording.codecs import Codec
from rtpproxy_tw.recording.decoding import Decoding
from rtpproxy_tw.recording.extraction import Extracted, clues, extract
from rtpproxy_tw.recording.picture import picture
from rtpproxy_tw.recording.readback import Packet
from rtpproxy_tw.recording.sources import Party, Source, as_pcap, parted
from tests.recording.talking import EPOCH, Heard, Talker, disturbed, power, rtp

ANSWERER, ORIGINATOR = Party.ANSWERER, Party.ORIGINATOR


def packets(heard: Sequence[Heard], port: int = 40000, host: str = "192.0.2.1") -> list[Packet]:
    return [Packet(when, (host, 5004), ("192.0.2.9", port), data) for when, data in heard]


def extracted(
    answerer: Sequence[Heard], originator: Sequence[Heard] = (), *, together: bool = True
) -> Extracted:
    parties = {ANSWERER: packets(answerer), ORIGINATOR: packets(originator)}
    with Decoding(("/nonexistent",)) as decoding:
        return extract(parties, decoding, together=together)


def samples(found: Extracted, party: Party) -> array[int]:
    return array("h", found.pcm[party])


def test_each_party_is_on_its_side() -> None:
    found = extracted(Talker(400).send(100), Talker(700, ssrc=2).send(100))
    sound = found.stereo()
    assert (sound.rate, sound.channels, sound.seconds) == (8000, 2, 2.0)
    both = array("h", sound.samples)
    assert power(both[0::2], 400, 8000) > 0.99
    assert power(both[1::2], 700, 8000) > 0.99


def test_a_mix_has_both_parties() -> None:
    found = extracted(Talker(400).send(100), Talker(700, ssrc=2).send(100))
    both = array("h", found.mixed().samples)
    assert len(both) == 16000
    assert power(both, 400, 8000) == pytest.approx(0.5, abs=0.02)
    assert power(both, 700, 8000) == pytest.approx(0.5, abs=0.02)


def test_who_begins_later_is_heard_later() -> None:
    found = extracted(Talker(400, start=1.5).send(50), Talker(700).send(50))
    late = samples(found, ANSWERER)
    assert not any(late[:12000])
    assert power(late[12000:], 400, 8000) > 0.99
    assert found.seconds == 2.5


def test_unless_both_are_to_begin_at_the_beginning() -> None:
    found = extracted(Talker(400, start=1.5).send(50), Talker(700).send(50), together=False)
    assert len(samples(found, ANSWERER)) == len(samples(found, ORIGINATOR)) == 8000


def test_lost_packets_are_silent() -> None:
    sent = Talker(400).send(100)
    found = samples(extracted(sent[:40] + sent[50:]), ANSWERER)
    assert len(found) == 16000
    assert not any(found[6400:8000])
    assert power(found[8000:], 400, 8000) > 0.99


def test_a_party_that_says_nothing_is_silent() -> None:
    found = extracted([], Talker(700).send(50))
    assert found.stereo().seconds == 1.0
    assert not any(array("h", found.stereo().samples)[0::2])


def test_without_any_packet_there_is_nothing() -> None:
    found = extracted([])
    assert found.empty
    assert found.seconds == 0


def test_keys_are_silence() -> None:
    sent = Talker(400).send(60)
    keys = [
        (when, rtp(65_500 + n, 2**32 - 4000 + 20 * 160, b"\1\0\0\xa0", payload_type=101))
        for n, (when, _) in enumerate(sent[20:30], 20)
    ]
    found = extracted(sent[:20] + keys + sent[30:])
    assert found.complete
    assert "payload type 101 looks like TELEPHONE-EVENT/8000" in found.notes[0]
    assert not any(samples(found, ANSWERER)[3200:4800])


def loudness(found: array[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in found) / len(found))


def noisy(payload: bytes, payload_type: int) -> list[Heard]:
    """Half a second of speech, a second of which only the beginning is described, and speech."""
    sent = Talker(400).send(75)
    silence = rtp(65_500 + 25, 2**32 - 4000 + 25 * 160, payload, payload_type=payload_type)
    again = [
        (when, rtp(65_501 + n, 2**32 - 4000 + n * 160, Talker(400).payload(n)))
        for n, (when, _) in enumerate(sent)
    ]
    return [*sent[:25], (sent[25][0], silence), *((when, b) for when, b in again[50:])]


def test_comfort_noise_lasts_until_the_party_speaks_again() -> None:
    """RFC 3389: 50 dB below the loudest."""
    found = samples(extracted(noisy(b"\x32", 13)), ANSWERER)
    assert len(found) == 75 * 160
    assert loudness(found[4000:8000]) == pytest.approx(32767 * 10 ** (-50 / 20), rel=0.1)
    assert power(found[:4000], 400, 8000) > 0.98
    assert power(found[8000:], 400, 8000) > 0.98


def test_noise_is_no_substitute_for_a_party_that_has_gone() -> None:
    found = samples(extracted(noisy(b"\x32", 13)[:26]), ANSWERER)
    assert len(found) <= 26 * 160


def test_noise_of_g729_lasts_until_the_next_packet() -> None:
    pytest.importorskip("av", reason="PyAV, which decodes, is not installed")
    speech = bytes(range(20))
    sid = (12 << 1).to_bytes(2, "big")  # 28 dB, at half the scale of samples
    sent = [
        (EPOCH, rtp(1, 0, speech, payload_type=18)),
        (EPOCH + 0.02, rtp(2, 160, bytes(range(10)) + sid, payload_type=18)),
        (EPOCH + 0.54, rtp(3, 160 + 4160, sid, payload_type=18)),
        (EPOCH + 1.04, rtp(4, 160 + 8160, speech, payload_type=18)),
    ]
    with Decoding() as decoding:
        found = extract({ANSWERER: packets(sent)}, decoding)
    assert found.complete
    heard = samples(found, ANSWERER)
    assert len(heard) == 160 + 8160 + 160
    for begin in range(240, 8000, 800):
        assert loudness(heard[begin : begin + 800]) == pytest.approx(2 * 10 ** (28 / 20), rel=0.2)


def test_an_unknown_codec_is_told_and_the_rest_is_heard() -> None:
    odd = [
        (when, rtp(n, n * 160, b"\xff" * (50 + n % 7), payload_type=120))
        for n, (when, _) in enumerate(Talker().send(50))
    ]
    found = extracted(odd, Talker(700).send(50))
    assert not found.complete
    assert any("payload type 120" in note and "not known" in note for note in found.notes)
    assert power(samples(found, ORIGINATOR), 700, 8000) > 0.99


def test_a_decoder_that_cannot_be_started_is_told() -> None:
    odd = [
        (when, rtp(n, n * 160, bytes(160), payload_type=9))
        for n, (when, _) in enumerate(Talker().send(10))
    ]
    with Decoding(("/nonexistent/decoder",)) as decoding:
        found = extract({ANSWERER: packets(odd)}, decoding)
    assert not found.complete
    assert "G722" in found.notes[0]


def test_a_change_to_a_codec_with_more_samples_keeps_both() -> None:
    pytest.importorskip("av", reason="PyAV, which decodes, is not installed")
    first = Talker(400).send(50)
    later = [
        (
            EPOCH + 1 + n * 0.02,
            rtp(65_550 + n, 2**32 - 4000 + 8000 + n * 160, bytes(160), payload_type=9),
        )
        for n in range(50)
    ]
    with Decoding() as decoding:
        found = extract({ANSWERER: packets(first + later)}, decoding)
    assert found.rate == 16000
    assert found.seconds == pytest.approx(2.0, abs=0.001)
    assert power(samples(found, ANSWERER)[:16000], 400, 16000) > 0.95


def test_a_codec_can_be_named() -> None:
    sent = [
        (when, rtp(n, n * 160, Talker(400).payload(n), payload_type=96))
        for n, (when, _) in enumerate(Talker().send(50))
    ]
    with Decoding() as decoding:
        found = extract({ANSWERER: packets(sent)}, decoding, named={96: Codec("PCMU", 8000)})
    assert power(samples(found, ANSWERER), 400, 8000) > 0.99
    assert found.codecs[ANSWERER] == ["PCMU/8000"]


def test_what_is_a_day_later_is_left_out() -> None:
    sent = Talker(400).send(10)
    later = [
        (when + 200_000, rtp(n, n * 160, bytes(160), ssrc=9)) for n, (when, _) in enumerate(sent)
    ]
    found = extracted(sent + later)
    assert found.seconds < 1
    assert not found.complete


def test_clues_are_those_of_packets_in_a_row() -> None:
    heard = [(n * 0.02, rtp(n, n * 960, b"%d" % n, payload_type=96)) for n in (0, 1, 2, 5, 6)]
    (sample,) = clues(heard, {0}).values()
    assert sample.ticks == 960
    assert sample.seconds == pytest.approx(0.02)
    assert sample.payloads == [b"1", b"2", b"6"]


def test_a_file_with_both_parties_is_parted_by_the_ports_they_sent_to() -> None:
    one = packets(Talker().send(5), 40000, "192.0.2.1")
    other = packets(Talker(ssrc=2).send(5), 50000, "198.51.100.2")
    moved = packets(Talker(ssrc=2, start=1).send(5), 50002, "198.51.100.2")
    reports = [Packet(EPOCH, ("192.0.2.9", 40001), ("192.0.2.1", 5005), b"\x80\xc8" + bytes(26))]
    found = parted([*one, *reports, *other, *moved])
    assert found == {ANSWERER: one, ORIGINATOR: other + moved}
    found = parted([*one, *other, *moved], {40000: ORIGINATOR, 50000: ANSWERER})
    assert found == {ORIGINATOR: one, ANSWERER: other + moved}


def test_a_capture_made_of_a_recording_reads_back() -> None:
    made = packets(Talker().send(5))
    assert [each[1:] for each in Source.read("x", as_pcap(made)).packets] == [
        each[1:] for each in made
    ]


def test_figures_are_those_of_the_original() -> None:
    sent = Talker(sequence=10).send(20)
    source = Source("x", packets([*sent[:5], sent[4], *sent[7:]]))
    assert source.lines()[:2] == [
        "pcount=18, min_seq=10, max_seq=29, seq_offset=0, ssrc=0x00000001, duplicates=1",
        "ssrc_changes=1, psent=20, precvd=18, plost=2",
    ]
    assert Source("x", []).lines() == [
        "pcount=0, min_seq=0, max_seq=0, seq_offset=0, ssrc=0x00000000, duplicates=0",
        "ssrc_changes=0, psent=0, precvd=0, plost=0",
    ]


def test_the_picture_has_both_parties_and_every_loss() -> None:
    sent = Talker(400).send(100)
    found = extracted(sent[:40] + sent[50:], disturbed(Talker(700).send(100), random.Random(1)))
    drawing = ElementTree.fromstring(picture(found))
    svg = "{http://www.w3.org/2000/svg}"
    texts = [element.text or "" for element in drawing.iter(f"{svg}text")]
    assert any("answerer: PCMU/8000; 90 packets, 10 lost (10.0%)" in text for text in texts)
    assert any("originator: PCMU/8000; 100 packets, 0 lost" in text for text in texts)
    losses = [each for each in drawing.iter(f"{svg}rect") if each.get("class") == "loss"]
    assert [each[0].text for each in losses] == ["10 packets lost at 0.80 s"]
    assert len(list(drawing.iter(f"{svg}polygon"))) == 2


def test_a_picture_of_nothing_can_be_drawn() -> None:
    ElementTree.fromstring(picture(extracted([])))
