"""Completion of ``rtpproxy-ctl`` for shells, made from its own parser."""

from __future__ import annotations

import argparse

BASH = """\
_rtpproxy_ctl() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="" each
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$each" in {commands_bar}) command="$each"; break;; esac
    done
    case "$command" in
        "") COMPREPLY=($(compgen -W "{options} {commands}" -- "$word"));;
{cases}    esac
}}
complete -o default -F _rtpproxy_ctl rtpproxy-ctl
"""

CASE = """\
        {name}) COMPREPLY=($(compgen -W "{words}{calls}" -- "$word"));;
"""

CALLS = " $(rtpproxy-ctl list --ids 2>/dev/null)"
"""Completes call-ids, as far as shells can: those that need no quoting."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """What ``eval`` of a shell takes; zsh runs bash's by way of bashcompinit."""
    commands = _commands(parser)
    bash = BASH.format(
        commands=" ".join(commands),
        commands_bar="|".join(commands),
        options=" ".join(_options(parser)),
        cases="".join(
            CASE.format(
                name=name,
                words=" ".join([*_options(command), *_choices(command)]),
                calls=CALLS if _takes_call(command) else "",
            )
            for name, command in commands.items()
        ),
    )
    if shell == "zsh":
        return "autoload -U +X bashcompinit && bashcompinit\n" + bash
    return bash


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # argparse has no other way to its own contents
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [
        name for action in parser._actions for name in action.option_strings if name[:2] == "--"
    ]


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    return [
        str(choice)
        for action in parser._actions
        if not action.option_strings and action.choices
        for choice in action.choices
    ]


def _takes_call(parser: argparse.ArgumentParser) -> bool:
    return any(action.metavar == "CALL" for action in parser._actions)
