"""The relay's error codes in words, for people who have to find out what went wrong."""

from __future__ import annotations

MEANINGS = {
    0: "unknown command",
    1: "wrong number of arguments",
    2: "this command takes no modifiers",
    3: "sub-command unknown, malformed or not allowed here; command not taken on this socket",
    5: "empty or malformed command",
    6: "modifier not allowed in R or N",
    7: "unknown modifier of R, C or N",
    8: "unknown modifier of D",
    9: "unknown modifier of G",
    10: "the notification tag is not URL-encoded",
    11: "no external address: the relay does not bridge",
    12: "no internal address: the relay does not bridge",
    13: "bad packet length for z",
    14: "bad list of codecs for c",
    15: "bad local address for l",
    16: "bad remote address for r",
    17: "the repetitions of P are not a number",
    18: "unknown modifier of I",
    19: "unknown modifier of Q",
    25: "the reply to G would be too long",
    26: "the reply to Q would be too long",
    31: "the local address for l is none of the relay's",
    32: "no route to the remote address for r",
    35: "unknown modifier, or no codecs known to play with",
    36: "no media address of this family (IPv4 or IPv6) on the relay",
    37: "the media address is not a numeric one of this family",
    50: "no such session",
    60: "the prompt cannot be played",
    62: "Q does not know that counter",
    65: "the recording or copy cannot be started",
    68: "G does not know that counter",
    71: "no free media ports for this session",
    72: "no free media ports for a new session",
    75: "the relay was started without a notification socket (-n)",
    81: "a fault of the relay itself, to be found in its log",
    98: "the relay is overloaded and takes no new sessions",
    99: "the relay is shutting down and takes no new sessions",
}
"""What each code means; the numbers are the protocol's."""


class Refused(Exception):
    """The relay answered a command with an error; ``code`` is -1 where it is not a number."""

    def __init__(self, command: str, reply: str) -> None:
        digits = reply.removeprefix("E")
        self.code = int(digits) if digits.isascii() and digits.isdecimal() else -1
        super().__init__(f"the command {command} was refused: {reply} ({meaning_of(self.code)})")


def meaning_of(code: int) -> str:
    """What ``code`` stands for, in words."""
    return MEANINGS.get(code, "an unknown error")
