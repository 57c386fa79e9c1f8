"""GSM 06.10 by the system's libgsm, where PyAV was built without it (as its wheels are)."""

from __future__ import annotations

import ctypes
import ctypes.util
from array import array
from collections.abc import Callable

SAMPLES = 160
"""Of one frame: 20 ms."""

OCTETS = 33
"""Of one frame, coded."""


def gsm_encoder() -> Callable[[array[int]], bytes] | None:
    """What encodes samples at 8 kHz, whole frames of them; None where there is no libgsm."""
    name = ctypes.util.find_library("gsm")
    if name is None:
        return None
    try:
        library = ctypes.CDLL(name)
        create, encode, destroy = library.gsm_create, library.gsm_encode, library.gsm_destroy
    except (OSError, AttributeError):
        return None
    create.restype = ctypes.c_void_p
    create.argtypes = ()
    encode.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
    destroy.argtypes = (ctypes.c_void_p,)

    def encoded(samples: array[int]) -> bytes:
        state = create()
        if not state:
            raise MemoryError("libgsm has no memory for its state")
        frame = ctypes.create_string_buffer(OCTETS)
        out = bytearray()
        try:
            for at in range(0, len(samples), SAMPLES):
                encode(state, samples[at : at + SAMPLES].tobytes(), frame)
                out += frame.raw
        finally:
            destroy(state)
        return bytes(out)

    return encoded
