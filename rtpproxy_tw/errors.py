"""The exceptions of the relay; those a SIP proxy hears of carry the code it is sent."""

from __future__ import annotations


class RelayError(Exception):
    """Base of everything this package raises on purpose."""


class CommandError(RelayError):
    """A command that cannot be served.

    ``code`` is the number answered as ``E<code>`` (the original's numbering), ``reason`` a
    sentence for the log that names the offending token.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"E{code}: {reason}")
        self.code = code
        self.reason = reason


class NoPortsLeft(RelayError):
    """No free pair of ports is left in the configured range, or no descriptor for one."""


class AddressUnusable(RelayError):
    """The local address asked for cannot be bound on this host."""


class RecordingRefused(RelayError):
    """A recording could not be started; the text says why."""


class PromptRefused(RelayError):
    """A prompt could not be played; the text says why."""


class ConfigError(RelayError):
    """A setting is wrong; the text is the sentence shown to the operator."""
