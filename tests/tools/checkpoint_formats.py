"""Number formats of checkpoints, written down once more: for the test files only, and with the standard library only.

Values go in as Python floats. Each encode function gives the stored bytes, each decode function what they mean.
"""

import math
import struct


def round_even(x):
    """Nearest integer, ties to even (Python's own rule)."""
    return round(x)


def bf16_bits(x):
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def bf16_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def f32_value(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def f16_bytes(x):
    return struct.pack("<e", x)


def small_float_value(code, exponent_bits, fraction_bits, bias):
    """A finite code of an 8-bit float."""
    sign = -1.0 if code >> (exponent_bits + fraction_bits) else 1.0
    exponent = (code >> fraction_bits) & ((1 << exponent_bits) - 1)
    fraction = code & ((1 << fraction_bits) - 1)
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias - fraction_bits)
    return sign * math.ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits)


def e4m3_value(code):
    assert code & 0x7F != 0x7F, "NaN"
    return small_float_value(code, 4, 3, 7)


def e5m2_value(code):
    assert (code >> 2) & 0x1F != 0x1F, "infinity or NaN"
    return small_float_value(code, 5, 2, 15)


def nearest_code(x, codes, value):
    """The code whose value is nearest; ties to the even code."""
    return min(codes, key=lambda code: (abs(value(code) - x), code & 1))


E4M3_CODES = [c for c in range(256) if c & 0x7F != 0x7F]
E5M2_CODES = [c for c in range(256) if (c >> 2) & 0x1F != 0x1F]


def q8_0_block(values):
    """ggml Q8_0: a half-precision scale and 32 signed bytes. Returns (bytes, meaning)."""
    assert len(values) == 32
    scale_bytes = f16_bytes(max(abs(v) for v in values) / 127)
    (scale,) = struct.unpack("<e", scale_bytes)
    codes = [0 if scale == 0 else max(-128, min(127, round_even(v / scale))) for v in values]
    return scale_bytes + struct.pack("<32b", *codes), [f32_value(scale * c) for c in codes]


def q4_0_block(values):
    """ggml Q4_0: a half-precision scale and 32 nibbles, value (nibble - 8) x scale; low nibbles first."""
    assert len(values) == 32
    largest = max(values, key=abs)
    scale_bytes = f16_bytes(largest / -8)
    (scale,) = struct.unpack("<e", scale_bytes)
    codes = [8 if scale == 0 else max(0, min(15, math.floor(v / scale + 8.5))) for v in values]
    packed = bytes(codes[i] | codes[i + 16] << 4 for i in range(16))
    return scale_bytes + packed, [f32_value(scale * (c - 8)) for c in codes]


E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]


def mxfp4_block(values):
    """ggml MXFP4: a power-of-two scale 2^(byte - 127) and 32 E2M1 nibbles; low nibbles first."""
    assert len(values) == 32
    largest = max(abs(v) for v in values)
    exponent = (math.frexp(largest)[1] - 1 - 2 if largest > 0 else -127) + 127
    scale = math.ldexp(1.0, exponent - 127)

    def value(code):
        return (-1.0 if code & 8 else 1.0) * E2M1[code & 7] * scale

    codes = [nearest_code(v, range(16), value) for v in values]
    packed = bytes(codes[i] | codes[i + 16] << 4 for i in range(16))
    return bytes([exponent]) + packed, [value(c) for c in codes]


class Numbers:
    """Repeatable numbers: a linear congruential generator (Knuth's MMIX)."""

    def __init__(self, seed):
        self.state = seed

    def unit(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 11) / (1 << 53)

    def between(self, low, high):
        return low + (high - low) * self.unit()

    def normal(self):
        """Nearly normal: the sum of twelve uniform numbers. No function of the C library, so equal everywhere."""
        return sum(self.unit() for _ in range(12)) - 6
