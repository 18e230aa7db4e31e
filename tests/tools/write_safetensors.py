#!/usr/bin/env python3
"""Writes the small safetensors files that tests read, and what their tensors hold (expected.json).

    tests/tools/write_safetensors.py FOLDER

Independent of the reader under test: standard library only. tests/cli checks that the files of
tests/support/weights are what this writes.
"""

import json
import pathlib
import struct
import sys

import checkpoint_formats as formats

PACK = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B", "BOOL": "<?"}


def encode(dtype, values):
    """Stored bytes and what they mean."""
    if dtype == "BF16":
        bits = [formats.bf16_bits(v) for v in values]
        return struct.pack(f"<{len(bits)}H", *bits), [formats.bf16_value(b) for b in bits]
    if dtype == "F8_E4M3":
        codes = [formats.nearest_code(v, formats.E4M3_CODES, formats.e4m3_value) for v in values]
        return bytes(codes), [formats.e4m3_value(c) for c in codes]
    if dtype == "F8_E5M2":
        codes = [formats.nearest_code(v, formats.E5M2_CODES, formats.e5m2_value) for v in values]
        return bytes(codes), [formats.e5m2_value(c) for c in codes]
    if dtype == "OTHER":
        return bytes(len(values)), None
    data = b"".join(struct.pack(PACK[dtype], v) for v in values)
    return data, [struct.unpack_from(PACK[dtype], data, i * struct.calcsize(PACK[dtype]))[0] for i in range(len(values))]


def write(path, tensors, metadata=None, pad=8):
    """tensors: [(name, dtype, shape, stored bytes)], in the order of the data."""
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % pad)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, _, data in tensors))


def write_types(folder):
    """One tensor of each type; sizes are odd, so that most of them start at an odd byte."""
    numbers = formats.Numbers(1)
    tensors, expected = [], {}
    for dtype in ("U8", "F64", "F32", "I8", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "BOOL"):
        shape = [3, 5]
        if dtype == "BOOL":
            values = [i % 3 == 0 for i in range(15)]
        elif dtype[0] in "IU":
            low, high = (0, 255) if dtype == "U8" else (-100, 100)
            values = [int(numbers.between(low, high)) for _ in range(15)]
        else:
            values = [4 * numbers.normal() for _ in range(15)]
        data, meaning = encode(dtype, values)
        tensors.append((dtype.lower(), dtype, shape, data))
        expected[dtype.lower()] = {"type": dtype, "shape": shape, "values": meaning}
    data, meaning = encode("F32", [0.5])
    tensors.append(("scalar", "F32", [], data))
    expected["scalar"] = {"type": "F32", "shape": [], "values": meaning}
    tensors.append(("empty", "BF16", [0, 7], b""))
    expected["empty"] = {"type": "BF16", "shape": [0, 7], "values": []}
    tensors.append(("future", "U32", [2], bytes(8)))
    expected["future"] = {"type": "U32", "shape": [2], "values": None}
    write(folder / "types.safetensors", tensors, {"format": "pt", "made by": "write_safetensors.py"}, pad=1)
    return expected


def write_fp8(folder):
    """FP8 weights with one scale for each block of 128 x 128, ragged at the edges."""
    numbers = formats.Numbers(2)
    tensors, expected = [], {}
    for name, rows, columns, scales in (("w", 130, 3, [0.25, 3.0]), ("v", 2, 130, [5.0, 0.125])):
        data, codes = encode("F8_E4M3", [numbers.normal() for _ in range(rows * columns)])
        across = (columns + 127) // 128
        tensors.append((name + ".weight", "F8_E4M3", [rows, columns], data))
        tensors.append(
            (name + ".weight_scale_inv", "F32", [(rows + 127) // 128, across], encode("F32", scales)[0])
        )
        values = [v * scales[i // columns // 128 * across + i % columns // 128] for i, v in enumerate(codes)]
        expected[name + ".weight"] = {"shape": [rows, columns], "values": values}
    write(folder / "fp8.safetensors", tensors)
    return expected


def write_sharded(folder):
    numbers = formats.Numbers(3)
    expected, weight_map = {}, {}
    for shard in (1, 2):
        file = f"model-{shard:05}-of-00002.safetensors"
        tensors = []
        for layer in range(2 * shard - 2, 2 * shard):
            name = f"model.layers.{layer}.mlp.gate.weight"
            data, meaning = encode("BF16", [numbers.normal() for _ in range(8)])
            tensors.append((name, "BF16", [4, 2], data))
            expected[name] = {"shape": [4, 2], "values": meaning}
            weight_map[name] = file
        write(folder / "sharded" / file, tensors)
    index = {"metadata": {"total_size": 64}, "weight_map": weight_map}
    (folder / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return expected


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"types": write_types(folder), "fp8": write_fp8(folder), "sharded": write_sharded(folder)}
    (folder / "expected_safetensors.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
