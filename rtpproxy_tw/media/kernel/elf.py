"""Reading a compiled BPF object: programs, the maps they refer to, and texts. Pure.

Only what clang writes for ``-target bpf`` is understood (ELF64, little-endian, no libraries): a
function per program, relocations that put a map's address into a 64-bit load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_RELOCATION = Struct("<QQ")

_SYMTAB = 2
_REL = 9
_FUNCTION = 2

INSTRUCTION = 8
"""Octets."""

_LOAD_64 = 0x18
_FROM_MAP_FD = 1


@dataclass(frozen=True, slots=True)
class Program:
    """One function: its instructions, and which of them load the address of which map."""

    code: bytes
    maps: tuple[tuple[int, str], ...]

    def linked(self, descriptors: Mapping[str, int]) -> bytes:
        """The instructions with file descriptors of maps in their places. Raises KeyError."""
        code = bytearray(self.code)
        for index, name in self.maps:
            at = index * INSTRUCTION
            code[at + 1] = code[at + 1] & 0x0F | _FROM_MAP_FD << 4
            code[at + 4 : at + 8] = descriptors[name].to_bytes(4, "little")
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Object:
    """A compiled file: programs by function, and the texts in sections ``text/NAME``."""

    programs: Mapping[str, Program]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    data: bytes
    link: int
    info: int


def read(data: bytes) -> Object:
    """Take an object file apart. Raises ValueError where it is none that we understand."""
    try:
        return _read(data)
    except (StructError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged object file: {error}") from None


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


def _sections(data: bytes) -> list[_Section]:
    header = _HEADER.unpack_from(data)
    if header[0][:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian ELF64 file")
    start, size, count, names = header[6], header[11], header[12], header[13]
    raw = [_SECTION.unpack_from(data, start + size * index) for index in range(count)]
    table = data[raw[names][4] : raw[names][4] + raw[names][5]]
    return [
        _Section(_text(table, it[0]), it[1], data[it[4] : it[4] + it[5]], it[6], it[7])
        for it in raw
    ]


def _read(data: bytes) -> Object:
    sections = _sections(data)
    symtab = next((it for it in sections if it.kind == _SYMTAB), None)
    if symtab is None:
        raise ValueError("no symbols")
    names = sections[symtab.link].data
    symbols = list(_SYMBOL.iter_unpack(symtab.data))
    programs = {}
    for name, info, _other, home, value, size in symbols:
        if info & 0x0F == _FUNCTION:
            code = sections[home].data[value : value + size]
            references = [
                ((at - value) // INSTRUCTION, _text(names, symbols[kind >> 32][0]))
                for it in sections
                if it.kind == _REL and it.info == home
                for at, kind in _RELOCATION.iter_unpack(it.data)
                if value <= at < value + size
            ]
            _check(code, references)
            programs[_text(names, name)] = Program(code, tuple(references))
    texts = {
        it.name.removeprefix("text/"): _text(it.data, 0)
        for it in sections
        if it.name.startswith("text/")
    }
    return Object(programs, texts)


def _check(code: bytes, references: list[tuple[int, str]]) -> None:
    for index, name in references:
        if code[index * INSTRUCTION] != _LOAD_64:
            raise ValueError(f"a reference to {name} that is no load of an address")
