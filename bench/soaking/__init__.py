"""Calls by the hundred thousand, and what happens to calls: ``python -m bench soak``.

``plan`` says what happens to a call, by chance but the same each time; ``party`` sends and hears
its media; ``caller`` is the SIP proxy, and ``pipeline`` what carries its commands; ``faults`` are
what goes wrong; ``watch`` looks at the relay from outside; ``curves`` draws and ``report`` tells.
The command is ``command``.
"""
