"""Damage a DICOM file where it hurts: at its elements, lengths, sequences, character sets and deflated bytes.

Random bytes rarely get past the first element.  Every mutation here knows where the elements lie and keeps the lengths
of the sequences around it right, unless a wrong length is the point.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    b"1.2.840.10008.1.2",
    b"1.2.840.10008.1.2.1",
    b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.1.99",
)
SYNTAXES = (IMPLICIT, EXPLICIT, BIG, DEFLATED, b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.90", b"1.2.3", b"")
VRS = (b"AT", b"CS", b"DS", b"DT", b"FD", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"UI", b"UL", b"UN", b"US", b"UT",
       b"ZZ", b"??", b"\0\0", b"sq")  # fmt: skip
LENGTHS = (0, 1, 2, 3, 7, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
VALUES = (
    b"", b" ", b"\0\0", b"0", b"-1", b"1e999", b"-1e-400", b"nan", b"inf", b"0x10", b"1_0", b"9" * 300, b"1" * 5000,
    b"1\\2", b"\\\\\\\\", b"1\\nan\\3", b"0\\0\\0\\0\\0\\0", b"1e308\\1e308\\1e308", b"ISO_IR 192", b"\\ISO 2022 IR 87",
    b"ISO 2022 IR 149\\ISO 2022 IR 58", b"GB18030", b"GBK", b"utf_7", b"ISO_IR 999", b"idna", b"\x1b$B\x1b(J\xff",
    b"\x1b", b"\x1b$)C\xb0=\x1b(B^=\xff", b"\xff\xfe\xfd", b"\xed\xa0\x80", b"a=b=c=d=e", b"=" * 200, b"^" * 300,
    b"20269999", b"20260229", b"00010101", b"99991231", b"250000", b"115960.9999999999", b"20260101120000+9999",
    b"20260101120000-0000", b"../../../etc/passwd\0", b"1.2.3", b"1" * 64, b"1" * 65, b".", b"LOCALIZER", b"ATTN",
    b"{}{0}%s%n", b"\x7f\xf8\0\0\0\0\0\0", b"\0\0\xc0\x7f", b"\xff\xff\xff\xff", b"1.2.840.10008.1.3.10",
)  # fmt: skip
TAGS = (0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00080060, 0x00280010, 0x00280011, 0x00280100,
        0x00280008, 0x00200032, 0x00540016, 0x00090010, 0x0009100D, 0x70530010, 0x70531000, 0x70531009, 0x7FE00010,
        0x7FE00008, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFEE000, 0x00020010, 0x00020003, 0x30060039, 0x52009230)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spot:
    """One element of the data set: where it begins, where its length and value stand, where it ends.

    ``around``: places and sizes of the lengths that count this element's bytes.
    """

    at: int
    length_at: int
    length_size: int
    value: int
    end: int
    around: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _File:
    head: bytes
    data: bytes
    syntax: bytes
    spots: list[Spot]

    @property
    def explicit(self) -> bool:
        return self.syntax != IMPLICIT

    @property
    def order(self) -> str:
        return "big" if self.syntax == BIG else "little"

    def number(self, value: int, size: int) -> bytes:
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, self.order)  # type: ignore[arg-type]

    def element(self, tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        stated = len(value) if length is None else length
        out = self.number(tag >> 16, 2) + self.number(tag, 2)
        if not self.explicit or tag >> 16 == 0xFFFE:
            return out + self.number(stated, 4) + value
        if vr in LONG:
            return out + vr + b"\0\0" + self.number(stated, 4) + value
        return out + vr + self.number(stated, 2) + value


def mutate(data: bytes, random: Random, most: int = 1 << 20) -> bytes:
    """The file with one to four wounds, at most ``most`` bytes long."""
    file = _open(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        file.spots = _spots(file)
        file.data = random.choice(WOUNDS)(file, random)[:most]
    out = _close(file)
    if random.random() < 0.1:
        return _anywhere(out, random)
    return out[:most]


def _open(data: bytes) -> _File:
    """Meta header and data set, inflated where it is deflated; without a meta header all of it is data set."""
    at = 132 if data[128:132] == b"DICM" else 0
    syntax = EXPLICIT
    while at and data[at : at + 2] == b"\x02\0" and at < 4096:
        long = data[at + 4 : at + 6] in LONG
        size = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        value = at + (12 if long else 8)
        if data[at + 2 : at + 4] == b"\x10\0":
            syntax = data[value : value + size].rstrip(b"\0")
        at = value + size
    body = data[at:]
    if syntax == DEFLATED:
        try:
            body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, 1 << 20)
        except zlib.error:
            syntax = EXPLICIT
    return _File(data[:at], body, syntax, [])


def _close(file: _File) -> bytes:
    if file.syntax != DEFLATED:
        return file.head + file.data
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return file.head + packer.compress(file.data) + packer.flush()


def _spots(file: _File) -> list[Spot]:
    """All elements of all levels, as far as they can be followed."""
    found: list[Spot] = []
    work: list[tuple[int, int, tuple[tuple[int, int], ...], bool]] = [(0, len(file.data), (), False)]
    data, order = file.data, file.order
    while work and len(found) < 2000:
        at, end, around, items = work.pop()
        while at + 8 <= end and len(found) < 2000:
            tag = int.from_bytes(data[at : at + 2], order) << 16 | int.from_bytes(data[at + 2 : at + 4], order)  # type: ignore[arg-type]
            vr = data[at + 4 : at + 6]
            if not file.explicit or tag >> 16 == 0xFFFE:
                length_at, size = at + 4, 4
            else:
                length_at, size = (at + 8, 4) if vr in LONG else (at + 6, 2)
            length = int.from_bytes(data[length_at : length_at + size], order)  # type: ignore[arg-type]
            value = length_at + size
            undefined = length == 0xFFFFFFFF and size == 4
            stop = min(end, value if undefined else value + length)
            found.append(Spot(at, length_at, size, value, stop, around))
            if items or vr == b"SQ" or tag == 0xFFFEE000:
                inner = around if undefined else (*around, (length_at, size))
                work.append((value, end if undefined else stop, inner, tag != 0xFFFEE000))
            if undefined:
                break
            at = stop
    return found


def _put(file: _File, spot: Spot, new: bytes, start: int, end: int) -> bytes:
    """``data[start:end]`` becomes ``new``; the lengths around it follow."""
    data = bytearray(file.data)
    for place, size in spot.around:
        length = int.from_bytes(data[place : place + size], file.order) + len(new) - (end - start)  # type: ignore[arg-type]
        data[place : place + size] = file.number(length, size)
    data[start:end] = new
    return bytes(data)


def _any(file: _File, random: Random) -> Spot:
    return random.choice(file.spots) if file.spots else Spot(0, 0, 0, 0, min(8, len(file.data)), ())


def _remove(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    return _put(file, spot, b"", spot.at, spot.end)


def _repeat(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    times = random.choice((1, 1, 2, 100))
    return _put(file, spot, file.data[spot.at : spot.end] * times, spot.at, spot.at)


def _move(file: _File, random: Random) -> bytes:
    """An element of one place at another, where it does not belong."""
    one, other = _any(file, random), _any(file, random)
    return _put(file, other, file.data[one.at : one.end], other.at, other.end)


def _lie_about_length(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    length = spot.end - spot.value
    lie = random.choice((*LENGTHS, length + 1, length - 1, length * 2, len(file.data)))
    data = bytearray(file.data)
    data[spot.length_at : spot.length_at + spot.length_size] = file.number(lie, spot.length_size)
    return bytes(data)


def _other_vr(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    return file.data[: spot.at + 4] + random.choice(VRS) + file.data[spot.at + 6 :]


def _other_value(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    value = random.choice(VALUES)
    value += b" " * (len(value) % 2)
    if not spot.length_size:
        return file.data
    counted = replace(spot, around=(*spot.around, (spot.length_at, spot.length_size)))
    return _put(file, counted, value, spot.value, spot.end)


def _add(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    tag = random.choice((*TAGS, random.getrandbits(32)))
    length = random.choice((None, None, None, *LENGTHS))
    return _put(file, spot, file.element(tag, random.choice(VRS), random.choice(VALUES), length), spot.at, spot.at)


def _nest(file: _File, random: Random) -> bytes:
    """Sequences inside each other."""
    spot, undefined = _any(file, random), random.random() < 0.5
    tag, value = random.choice((0x00091010, 0x00540016, 0x52009230)), b""
    for _ in range(random.choice((1, 2, 10, 31, 32, 33, 34, 200))):
        if undefined:
            item = file.element(0xFFFEE000, b"", value, 0xFFFFFFFF) + file.element(0xFFFEE00D, b"", b"")
            value = file.element(tag, b"SQ", item, 0xFFFFFFFF) + file.element(0xFFFEE0DD, b"", b"")
        else:
            value = file.element(tag, b"SQ", file.element(0xFFFEE000, b"", value))
    return _put(file, spot, value, spot.at, spot.at)


def _many_items(file: _File, random: Random) -> bytes:
    spot = _any(file, random)
    inside = random.choice((b"", file.element(0x00080100, b"SH", b"x ")))
    item = file.element(0xFFFEE000, b"", inside)
    sequence = file.element(random.choice((0x00540016, 0x00091010)), b"SQ", item * random.choice((1, 100, 5000)))
    return _put(file, spot, sequence, spot.at, spot.at)


def _private(file: _File, random: Random) -> bytes:
    """Private blocks: the creators we know and others, at places right and wrong."""
    spot, group = _any(file, random), random.choice((0x7053, 0x0009, 0x0011))
    block = random.choice((0x10, 0x11, 0xFF))
    creator = random.choice((b"Philips PET Private Group ", b"GEMS_PETD_01", b"X ", b"\xff" * 80, b""))
    new = file.element(group << 16 | block, random.choice((b"LO", b"UN", b"SQ")), creator)
    new += file.element(
        group << 16 | block << 8 | random.choice((0, 9, 0x0D)), random.choice(VRS), random.choice(VALUES)
    )
    return _put(file, spot, new, spot.at, spot.at)


def _other_syntax(file: _File, random: Random) -> bytes:
    """The same data set under another transfer syntax: its bytes then mean something else."""
    new = random.choice(SYNTAXES)
    new += b"\0" * (len(new) % 2)
    at = file.head.find(b"\x02\0\x10\0UI")
    if at >= 0:
        old = int.from_bytes(file.head[at + 6 : at + 8], "little")
        file.head = file.head[: at + 6] + len(new).to_bytes(2, "little") + new + file.head[at + 8 + old :]
        file.syntax = new.rstrip(b"\0")
    return file.data


def _meta_again(file: _File, random: Random) -> bytes:
    """Group 2 elements behind the meta header, as if the data set began with a meta header of its own."""
    number, value = random.choice(((2, b"1.2.3\0"), (3, b"1.2.3\0"), (0x10, IMPLICIT + b"\0"), (0x102, b"private ")))
    new = b"\x02\0" + number.to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value
    file.head += new
    return file.data


def _bomb(file: _File, random: Random) -> bytes:
    """Zeros without end behind the data set, or in place of its pixels; deflated they are small."""
    return file.data + bytes(random.choice((1 << 12, 1 << 19)))


def _cut(file: _File, random: Random) -> bytes:
    return file.data[: random.randrange(len(file.data) + 1)]


def _scratch(file: _File, random: Random) -> bytes:
    return _anywhere(file.data, random)


def _anywhere(data: bytes, random: Random) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(random.choice((1, 2, 8))):
        out[random.randrange(len(out))] = random.getrandbits(8)
    return bytes(out)


WOUNDS: tuple[Callable[[_File, Random], bytes], ...] = (
    _remove, _repeat, _move, _lie_about_length, _lie_about_length, _other_vr, _other_value, _other_value, _other_value,
    _add, _add, _nest, _many_items, _private, _other_syntax, _meta_again, _bomb, _cut, _scratch,
)  # fmt: skip
