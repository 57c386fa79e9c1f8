"""The RTPproxy control language: bytes to commands, replies to bytes. No state, no I/O.

``COMMAND[modifiers] arguments [&& sub-command]…``, one line. What is wrong with a line is looked
for in this order: words and limits (E5), the command (E0), its number of arguments (E1),
modifiers where there are none (E2), sub-commands where there are none (E3), the command's own
modifiers and arguments, then the sub-commands (E3).
"""

from __future__ import annotations

from typing import NamedTuple

from rtpproxy_tw.commands import (
    Command,
    Copy,
    Delete,
    DeleteAll,
    Feature,
    Info,
    Lookup,
    NotifyTarget,
    Play,
    Query,
    Record,
    Reply,
    Statistics,
    StopPlay,
    StopRecord,
    SubCommand,
    Update,
    Version,
    WithResults,
)
from rtpproxy_tw.control.escape import token
from rtpproxy_tw.control.modifiers import media_options
from rtpproxy_tw.control.remote import remote
from rtpproxy_tw.control.render import MAX_REPLY, fit, render, too_long
from rtpproxy_tw.control.subcommands import sub_command
from rtpproxy_tw.control.tokens import integer, split, text, url_decode
from rtpproxy_tw.errors import CommandError


class _Form(NamedTuple):
    """What a command looks like: how many words, the command's own included; what else."""

    least: int
    most: int
    modifiers: bool = True
    subs: bool = False


_FORMS = {
    b"U": _Form(5, 8, subs=True),
    b"L": _Form(5, 6, subs=True),
    b"D": _Form(3, 4),
    b"P": _Form(5, 6),
    b"S": _Form(3, 4, modifiers=False),
    b"R": _Form(3, 4),
    b"C": _Form(4, 5),
    b"N": _Form(3, 4),
    b"Q": _Form(3, 15, subs=True),
    b"I": _Form(1, 1),
    b"G": _Form(1, 23),
    b"V": _Form(1, 1, modifiers=False),
    b"VF": _Form(2, 2, modifiers=False),
    b"X": _Form(1, 1, modifiers=False),
}


class RtpproxyDialect:
    """Reads and writes the language. ``bridging``: whether ``e`` and ``i`` mean anything here."""

    def __init__(self, *, bridging: bool = False) -> None:
        self._bridging = bridging

    def parse(self, command: bytes) -> Command:
        """One command without its cookie. Raises CommandError, and nothing else, for any bytes."""
        main, *rest = split(command)
        verb = main[0][:2].upper()
        if verb != b"VF":
            verb = verb[:1]
        form = _FORMS.get(verb)
        if form is None:
            raise CommandError(0, f"unknown command {token(main[0])}")
        modifiers = main[0][len(verb) :]
        if not form.least <= len(main) <= form.most:
            raise CommandError(
                1, f"{token(main[0])} has {len(main)} words, not {form.least} to {form.most}"
            )
        if modifiers and not form.modifiers:
            raise CommandError(2, f"{token(main[0])}: this command takes no modifiers")
        if rest and not form.subs:
            raise CommandError(3, f"{token(main[0])}: nothing can follow '&&' here")
        words = [text(word) for word in main[1:]]
        match verb:
            case b"U":
                return self._update(modifiers, main, words, rest)
            case b"L":
                return self._lookup(modifiers, main, words, rest)
            case b"Q":
                return self._query(modifiers, words, rest)
            case _:
                return _plain(verb, modifiers.lower(), words)

    def render(self, reply: Reply, cookie: bytes | None = None) -> bytes:
        """The line that tells ``reply``, at most ``MAX_REPLY`` octets with the cookie in front."""
        return self.tell(reply, cookie)[1]

    def tell(self, reply: Reply, cookie: bytes | None = None) -> tuple[Reply, bytes]:
        """``reply`` as it can be told, and the line that tells it.

        Where it would be too long with the cookie, that is an error.
        """
        room = MAX_REPLY if cookie is None else MAX_REPLY - len(cookie) - 1
        if isinstance(reply, WithResults):
            reply = fit(reply, room)
        line = render(reply)
        if len(line) > room:
            reply = too_long(reply)
            line = render(reply)
        return reply, line if cookie is None else cookie + b" " + line

    def _update(
        self, modifiers: bytes, main: list[bytes], words: list[str], rest: list[list[bytes]]
    ) -> Update:
        call_id, _, _, from_tag = words[:4]
        # Six words end with the to-tag, seven with a notify socket and its tag, eight with all.
        to_tag = words[4] if len(words) in (5, 7) else None
        notify = NotifyTarget(words[-2], url_decode(main[-1])) if len(words) > 5 else None
        options = media_options(modifiers, bridging=self._bridging)
        return Update(
            call_id,
            from_tag,
            to_tag,
            remote(main[2], main[3], options.family),
            options,
            notify,
            self._subs(rest, both_tags=to_tag is not None),
        )

    def _lookup(
        self, modifiers: bytes, main: list[bytes], words: list[str], rest: list[list[bytes]]
    ) -> Lookup:
        call_id, _, _, from_tag = words[:4]
        options = media_options(modifiers, bridging=self._bridging)
        return Lookup(
            call_id,
            from_tag,
            _second(words, 4),
            remote(main[2], main[3], options.family),
            options,
            self._subs(rest, both_tags=False),
        )

    def _query(self, modifiers: bytes, words: list[str], rest: list[list[bytes]]) -> Query:
        letters = modifiers.lower()
        wrong = letters.translate(None, b"v")[:1]
        return Query(
            words[0],
            words[1],
            _second(words, 2),
            tuple(words[3:]),
            verbose=b"v" in letters,
            bad_modifier=text(wrong) if wrong else None,
            subs=self._subs(rest, both_tags=False),
        )

    def _subs(self, rest: list[list[bytes]], *, both_tags: bool) -> tuple[SubCommand, ...]:
        return tuple(
            sub_command(words, both_tags=both_tags, bridging=self._bridging) for words in rest
        )


def _plain(verb: bytes, modifiers: bytes, words: list[str]) -> Command:
    # The commands without sub-commands; their modifiers are letters without parameters.
    match verb:
        case b"D":
            _only(b"w", modifiers, 8)
            return Delete(words[0], words[1], _second(words, 2), weak=bool(modifiers))
        case b"P":
            return _play(modifiers, words)
        case b"S":
            return StopPlay(words[0], words[1], _second(words, 2))
        case b"R":
            _recording(b"s", modifiers)
            return Record(words[0], words[1], _second(words, 2), single=bool(modifiers))
        case b"C":
            _recording(b"sp", modifiers)
            return Copy(
                words[0],
                words[1],
                words[2],
                _second(words, 3),
                single=b"s" in modifiers,
                show_port=b"p" in modifiers,
            )
        case b"N":
            if modifiers[:1] not in (b"", b"a"):
                raise CommandError(7, f"N takes the modifier 'a' only, not {token(modifiers)}")
            if len(modifiers) > 1:
                raise CommandError(6, f"N takes a single modifier, not {token(modifiers)}")
            return StopRecord(words[0], words[1], _second(words, 2), both=bool(modifiers))
        case b"G":
            _only(b"v", modifiers, 9)
            return Statistics(tuple(words), verbose=bool(modifiers))
        case b"I":
            _only(b"bl", modifiers, 18)
            return Info(load=b"l" in modifiers)
        case b"VF":
            return Feature(words[0])
        case b"X":
            return DeleteAll()
        case _:
            return Version()


def _play(modifiers: bytes, words: list[str]) -> Play:
    count = integer(modifiers) if modifiers else 1
    if count is None:
        raise CommandError(17, f"P wants a number of repetitions, got {token(modifiers)}")
    call_id, prompt, codecs, from_tag = words[:4]
    wanted = None if codecs == "session" else codecs
    return Play(call_id, prompt, wanted, from_tag, _second(words, 4), count)


def _second(words: list[str], at: int) -> str | None:
    """The optional to-tag."""
    return words[at] if len(words) > at else None


def _only(known: bytes, modifiers: bytes, code: int) -> None:
    unknown = modifiers.translate(None, known)
    if unknown:
        raise CommandError(code, f"unknown modifier {token(unknown[:1])} in {token(modifiers)}")


def _recording(known: bytes, modifiers: bytes) -> None:
    # 'p' belongs to C alone and has a number of its own.
    wrong = modifiers.translate(None, known)[:1]
    if wrong:
        raise CommandError(
            6 if wrong == b"p" else 7, f"modifier {token(wrong)} in {token(modifiers)} is unknown"
        )
