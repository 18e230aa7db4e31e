#!/usr/bin/env python3
"""Writes the small GGUF files that tests read, and what their tensors hold (expected_gguf.json).

    tests/tools/write_gguf.py FOLDER

Independent of the reader under test: standard library only, after ggml-org/ggml docs/gguf.md. tests/cli checks that
the files of tests/support/weights are what this writes.
"""

import json
import pathlib
import struct
import sys

import checkpoint_formats as formats

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q", I64: "<q", F64: "<d"}
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "I8": 24, "I32": 26, "F64": 28, "BF16": 30, "MXFP4": 39}
BLOCKS = {"Q8_0": formats.q8_0_block, "Q4_0": formats.q4_0_block, "MXFP4": formats.mxfp4_block}


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def item(kind, value):
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(item(inner, v) for v in values)
    return struct.pack(PACK[kind], value)


def write(path, metadata, tensors, version=3, alignment=32):
    """tensors: [(name, type, shape with the slowest dimension first, stored bytes)]."""
    head = struct.pack("<IIQQ", 0x46554747, version, len(tensors), len(metadata))
    for key, kind, value in metadata:
        head += text(key) + struct.pack("<I", kind) + item(kind, value)
    data = b""
    for name, kind, shape, stored in tensors:
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", TYPES[kind] if isinstance(kind, str) else kind, len(data))
        data += stored + bytes(-len(stored) % alignment)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % alignment) + data)


def encode(kind, values):
    """Stored bytes and what they mean."""
    if kind in BLOCKS:
        stored, meaning = b"", []
        for i in range(0, len(values), 32):
            block, values_of_block = BLOCKS[kind](values[i : i + 32])
            stored += block
            meaning += values_of_block
        return stored, meaning
    if kind == "Q4_K":
        return bytes(len(values) // 256 * 144), None
    if kind == "BF16":
        bits = [formats.bf16_bits(v) for v in values]
        return struct.pack(f"<{len(bits)}H", *bits), [formats.bf16_value(b) for b in bits]
    pack = {"F32": "<f", "F64": "<d", "F16": "<e", "I8": "<b", "I32": "<i"}[kind]
    stored = b"".join(struct.pack(pack, v) for v in values)
    return stored, [struct.unpack_from(pack, stored, i * struct.calcsize(pack))[0] for i in range(len(values))]


METADATA = [
    ("general.architecture", STRING, "testmoe"),
    ("general.alignment", U32, 64),
    ("a.u8", U8, 200),
    ("a.i8", I8, -100),
    ("a.u16", U16, 60000),
    ("a.i16", I16, -30000),
    ("a.u32", U32, 4000000000),
    ("a.i32", I32, -2000000000),
    ("a.f32", F32, 0.25),
    ("a.bool", BOOL, True),
    ("a.u64", U64, 2**63 + 5),
    ("a.i64", I64, -(2**62)),
    ("a.f64", F64, 1e300),
    ("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "", "h\u00e9"])),
    ("a.numbers", ARRAY, (I16, [1, -2, 3])),
    ("a.lists", ARRAY, (ARRAY, [(U8, [1, 2]), (STRING, ["x"])])),
]


def write_types(folder):
    numbers = formats.Numbers(4)
    tensors, expected = [], {}
    for kind, shape in (
        ("F32", [2, 3]),
        ("F16", [5]),
        ("BF16", [3, 2, 2]),
        ("Q8_0", [2, 64]),
        ("Q4_0", [3, 32]),
        ("MXFP4", [2, 32]),
        ("Q4_K", [1, 256]),
        ("I8", [7]),
        ("I32", [2, 2]),
        ("F64", [3]),
    ):
        count = 1
        for n in shape:
            count *= n
        values = [2 * numbers.normal() for _ in range(count)]
        if kind[0] == "I":
            values = [int(10 * v) for v in values]
        stored, meaning = encode(kind, values)
        tensors.append((kind.lower(), kind, shape, stored))
        expected[kind.lower()] = {"type": kind, "shape": shape, "values": meaning}
    tensors.append(("unheard", 77, [4], b""))
    expected["unheard"] = {"type": "type 77", "shape": [4], "values": None}
    write(folder / "types.gguf", METADATA, tensors, alignment=64)
    write(folder / "version2.gguf", [], [tensors[0]], version=2)
    return expected


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"types": write_types(folder)}
    (folder / "expected_gguf.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
