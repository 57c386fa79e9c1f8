"""The program that makes sound files of recordings."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import wave
from array import array
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.recording import adhoc, pcap
from rtpproxy_tw.tools.extractaudio import main
from rtpproxy_tw.tools.extractaudio_options import UsageError, asked_for
from rtpproxy_tw.tools.extractaudio_progress import Bar
from tests.recording.talking import Heard, Talker, disturbed, power, rtp

CALLER, CALLEE = ("192.0.2.1", 5004), ("198.51.100.2", 6004)


def as_adhoc(heard: Sequence[Heard], source: tuple[str, int] = CALLER) -> bytes:
    return b"".join(adhoc.record(data, source, when) for when, data in heard)


def record(folder: Path, name: str = "call") -> str:
    """A recording in two files: the caller says 400 Hz, the callee 700 Hz, 2 s each."""
    chance = random.Random(5)
    caller = disturbed(Talker(400).send(100), chance, late=0.05)
    callee = disturbed(Talker(700, ssrc=2).send(100), chance, late=0.05)
    (folder / f"{name}.o.rtp").write_bytes(as_adhoc(caller))
    (folder / f"{name}.a.rtp").write_bytes(as_adhoc(callee, CALLEE))
    return str(folder / name)


def channels(path: Path) -> tuple[int, list[array[int]]]:
    with wave.open(str(path)) as file:
        samples = array("h", file.readframes(file.getnframes()))
        count = file.getnchannels()
        return file.getframerate(), [samples[each::count] for each in range(count)]


def test_both_parties_in_one_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([record(tmp_path), str(tmp_path / "out.wav")]) == 0
    rate, (sound,) = channels(tmp_path / "out.wav")
    assert abs(len(sound) - 2 * rate) <= 0.02 * rate
    assert power(sound, 400, rate) > 0.4
    assert power(sound, 700, rate) > 0.4
    told = capsys.readouterr()
    assert told.out.count("pcount=100, min_seq=65500, max_seq=65599, seq_offset=65536") == 2
    assert "samples decoded: O: 16" in told.err


def test_one_party_a_side(tmp_path: Path) -> None:
    assert main(["-s", record(tmp_path), str(tmp_path / "out.wav")]) == 0
    rate, (left, right) = channels(tmp_path / "out.wav")
    assert power(left[:8000], 700, rate) > 0.98
    assert power(right[:8000], 400, rate) > 0.98


def test_links_are_made_and_inputs_deleted_on_demand(tmp_path: Path) -> None:
    out, link = tmp_path / "out.wav", tmp_path / "link.wav"
    assert main(["-d", record(tmp_path), str(out), str(link)]) == 0
    assert out.samefile(link)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.wav", "out.wav"]


@pytest.mark.parametrize("octets", [0, 4000])
def test_what_is_damaged_is_not_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], octets: int
) -> None:
    """Whatever it is, there may be no other copy of it."""
    party = Path(f"{record(tmp_path)}.o.rtp")
    party.write_bytes(party.read_bytes()[:octets] + b"What is this? " * 20)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["-d", str(tmp_path / "call"), str(tmp_path / "out.wav")]) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert "the recording is kept, as it is damaged" in capsys.readouterr().err


def test_files_of_both_parties_can_be_named(tmp_path: Path) -> None:
    name = record(tmp_path)
    out = str(tmp_path / "out.wav")
    assert main(["-s", "-A", f"{name}.o.rtp", "-B", f"{name}.a.rtp", out]) == 0
    rate, (left, _) = channels(Path(out))
    assert power(left[:8000], 400, rate) > 0.98


def test_one_party_alone_is_enough_unless_both_are_demanded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = record(tmp_path)
    os.unlink(f"{name}.a.rtp")
    assert main(["-e", name, str(tmp_path / "out.wav")]) == 1
    assert not (tmp_path / "out.wav").exists()
    assert main([name, str(tmp_path / "out.wav")]) == 0
    assert "call.a.rtp: No such file or directory; this party is silent" in capsys.readouterr().err


@pytest.mark.parametrize("sidecar", [False, True])
def test_a_capture_of_both_parties_is_parted(tmp_path: Path, sidecar: bool) -> None:
    rows = [(when, data, CALLER, 40000) for when, data in Talker(400).send(100)]
    rows += [(when + 0.001, data, CALLEE, 50000) for when, data in Talker(700, ssrc=2).send(100)]
    octets = pcap.header() + b"".join(
        pcap.record(data, source, ("192.0.2.9", port), when, 1)
        for when, data, source, port in sorted(rows)
    )
    (tmp_path / "call.pcap").write_bytes(octets)
    if sidecar:
        ports = {"ports": {"caller": [40000], "callee": [50000]}}
        (tmp_path / "call.pcap.json").write_text(json.dumps(ports))
    assert main(["-s", str(tmp_path / "call"), str(tmp_path / "out.wav")]) == 0
    rate, (left, right) = channels(tmp_path / "out.wav")
    if sidecar:
        left, right = right, left
    assert power(left, 400, rate) > 0.98
    assert power(right, 700, rate) > 0.98


def test_a_codec_nobody_knows_leaves_a_capture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [
        (when, rtp(n, n * 160, b"\xff" * (50 + n % 7), payload_type=120))
        for n, (when, _) in enumerate(Talker().send(50))
    ]
    (tmp_path / "call.o.rtp").write_bytes(as_adhoc(odd))
    assert main(["-d", str(tmp_path / "call"), str(tmp_path / "out.wav")]) == 2
    assert (tmp_path / "call.o.rtp").exists()
    assert (tmp_path / "out.wav.pcap").read_bytes()[:4] == pcap.header()[:4]
    assert "payload type 120 of the originator is not heard" in capsys.readouterr().err


def test_a_damaged_recording_gives_what_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = record(tmp_path)
    with open(f"{name}.o.rtp", "ab") as file:
        file.truncate(5000)
    assert main([name, str(tmp_path / "out.wav")]) == 0
    assert "damaged" in capsys.readouterr().err


SUITE = "AES_CM_128_HMAC_SHA1_32"
KEYS = {party: f"{SUITE}:{b64encode(bytes([n]) * 30).decode()}" for n, party in enumerate("ao")}


def record_encrypted(folder: Path) -> str:
    """As ``record``, each party's media encrypted with its own key."""
    pylibsrtp: Any = pytest.importorskip("pylibsrtp", reason="libsrtp, the peer, is not installed")
    pytest.importorskip("cryptography", reason="the library that decrypts is not installed")
    name = record(folder)
    for party, ssrc, number, source in (("a", 2, 0, CALLEE), ("o", 1, 1, CALLER)):
        policy = pylibsrtp.Policy(
            key=bytes([number]) * 30,
            ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
            srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
        )
        protect = pylibsrtp.Session(policy=policy).protect
        talker = Talker(700 if party == "a" else 400, ssrc=ssrc)
        sent = [(when, protect(datagram)) for when, datagram in talker.send(100)]
        Path(f"{name}.{party}.rtp").write_bytes(as_adhoc(sent, source))
    return name


def test_encrypted_media_is_heard_with_its_keys(tmp_path: Path) -> None:
    name, out = record_encrypted(tmp_path), tmp_path / "out.wav"
    keys = [f"--alice-crypto={KEYS['a']}", "--bob-crypto", KEYS["o"]]
    assert main(["-s", *keys, name, str(out)]) == 0
    rate, (left, right) = channels(out)
    assert power(left[:8000], 700, rate) > 0.98
    assert power(right[:8000], 400, rate) > 0.98


def test_a_wrong_key_is_told_and_leaves_a_capture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = record_encrypted(tmp_path), tmp_path / "out.wav"
    keys = [f"--alice-crypto={KEYS['o']}", f"--bob-crypto={KEYS['o']}"]
    assert main(["-d", "-s", *keys, name, str(out)]) == 2
    assert "100 of 100 packets of the answerer are not authentic" in capsys.readouterr().err
    assert (tmp_path / "out.wav.pcap").stat().st_size > 200 * 180
    assert Path(f"{name}.a.rtp").exists()
    rate, (left, right) = channels(out)
    assert not any(left)
    assert power(right[:8000], 400, rate) > 0.98


def test_without_rtp_no_file_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.o.rtp").write_bytes(b"")
    assert main([str(tmp_path / "call"), str(tmp_path / "out.wav")]) == 0
    assert not (tmp_path / "out.wav").exists()
    assert "no RTP" in capsys.readouterr().err


def test_scanning_counts_and_prints_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = record(tmp_path)
    assert main(["-S", name]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{name}.a.rtp: 100"
    assert told[2] == "ssrc_changes=1, psent=100, precvd=100, plost=0"
    assert told[3].startswith("last_jitter=")
    assert f"{name}.o.rtp: 100" in told
    assert main(["-S", f"{name}.o.rtp"]) == 0
    assert capsys.readouterr().out.startswith(f"{name}.o.rtp: 100\n")
    assert main(["-S", str(tmp_path / "other")]) == 1


def test_a_picture_on_demand(tmp_path: Path) -> None:
    picture = tmp_path / "call.svg"
    assert main([f"--picture={picture}", record(tmp_path), str(tmp_path / "o.wav")]) == 0
    assert picture.read_text().startswith("<svg ")


@pytest.mark.parametrize(
    "container, coding, octets",
    [("wav", "ulaw", b"RIFF"), ("au", "alaw", b".snd"), ("raw", None, b"")],
)
def test_other_files_can_be_asked_for(
    tmp_path: Path, container: str, coding: str | None, octets: bytes
) -> None:
    out = tmp_path / "out"
    more = ["-D", coding] if coding else []
    assert main(["-F", container, *more, record(tmp_path), str(out)]) == 0
    assert out.read_bytes().startswith(octets)


def test_mp3_by_the_ending(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV, which encodes, is not installed")
    assert main([record(tmp_path), str(tmp_path / "out.mp3")]) == 0
    assert (tmp_path / "out.mp3").stat().st_size > 5000


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "a name is missing"),
        (["x"], "a name is missing"),
        (["-Z", "x", "y"], "-Z"),
        (["-F", "xyz", "x", "y"], "files can be"),
        (["-D", "gsm", "x", "y"], "can be"),
        (["--codec", "96=mp3", "x", "y"], "96=mp3"),
        (["x", "y"], "there is no x.a.rtp"),
        (["--bob-crypto", "AES_CM_128_HMAC_SHA1_80:AA", "x", "y"], "--bob-crypto: the key"),
        (["-A", "/nonexistent", "y"], "neither of the files"),
    ],
)
def test_what_cannot_be_is_told(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options_are_bundled_as_the_original_takes_them() -> None:
    asked = asked_for(["-idsne", "-Fflac", "rdir", "out", "one", "two"])
    assert asked.idle
    assert asked.delete
    assert asked.stereo
    assert asked.both
    assert not asked.together
    assert (asked.container, asked.inputs, asked.out) == ("flac", ["rdir"], "out")
    assert asked.links == ["one", "two"]
    with pytest.raises(UsageError):
        asked_for(["--ster", "a", "b"])


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for option in ("-s", "-i", "-d", "-n", "-e", "-F", "-D", "-A", "-B", "-S", "--alice-crypto"):
        assert option in told


def test_it_runs_from_anywhere_and_within_limits(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rtpproxy_tw.tools.extractaudio", "-i"),
            *("--memory-limit=500", record(tmp_path), str(tmp_path / "out.wav")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_shows_a_bar_on_a_terminal() -> None:
    terminal, now = Terminal(), [0.0]
    with Bar(terminal, now=lambda: now[0]) as bar:
        bar(0.1)
        assert terminal.getvalue() == ""
        now[0] = 2.0
        bar(0.5)
        assert "50%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_nobody_else_gets_a_bar() -> None:
    for out, wanted in ((io.StringIO(), True), (Terminal(), False)):
        times = iter((0.0, 5.0, 5.0))
        with Bar(out, wanted, now=times.__next__) as bar:
            bar(0.5)
        assert out.getvalue() == ""


def test_all_parts_of_a_recording_are_heard_in_order(tmp_path: Path) -> None:
    """A crash between them is silence; whichever part is named."""
    talk = Talker(400).send(100)
    for number, (name, heard) in enumerate([("call~crashed", talk[:40]), ("call", talk[50:])], 1):
        (tmp_path / f"{name}.o.rtp").write_bytes(as_adhoc(heard))
        told: dict[str, Any] = {"state": "finished", "files": [{"name": f"{name}.o.rtp"}]}
        told |= {"recording": "one", "part": number}
        (tmp_path / f"{name}.o.rtp.json").write_text(json.dumps(told))
    lengths = []
    for name in ("call", "call~crashed"):
        assert main([str(tmp_path / name), str(tmp_path / "out.wav")]) == 0
        rate, (sound,) = channels(tmp_path / "out.wav")
        lengths.append(len(sound))
        assert max(map(abs, sound[int(0.82 * rate) : int(0.98 * rate)])) == 0
        assert power(sound[: int(0.8 * rate)], 400, rate) > 0.9
        assert power(sound[rate:], 400, rate) > 0.9
    assert lengths == 2 * [pytest.approx(2 * 8000, abs=200)]
    assert main(["-d", str(tmp_path / "call"), str(tmp_path / "out.wav")]) == 0
    assert list(tmp_path.glob("*.rtp")) == []
