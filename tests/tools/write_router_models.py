#!/usr/bin/env python3
"""Writes tiny checkpoints with routers, inputs for them, and which experts those must choose (expected_routes.json).

    tests/tools/write_router_models.py FOLDER

The routers are computed here once more, in plain Python, after the formulas of the models: logits in double
precision, scores rounded to f32 after each operation, as the models compute them.
Standard library only. tests/cli checks that the files of tests/support/routers are what this writes.
"""

import json
import math
import pathlib
import struct
import sys

import checkpoint_formats as formats
import write_gguf
import write_safetensors

HIDDEN, TOKENS, VOCABULARY = 8, 12, 20


def numbers_of(numbers, count, scale=1.0):
    return [scale * numbers.normal() for _ in range(count)]


def encoded(dtype, values):
    return write_safetensors.encode(dtype, values)


def rows(values, width):
    return [values[i : i + width] for i in range(0, len(values), width)]


def logits_of(inputs, weight):
    return [[sum(x * w for x, w in zip(row, expert)) for expert in weight] for row in inputs]


def best(scores, k):
    """Largest first; of equal ones the lower place."""
    return sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:k]


def f32(x):
    """The nearest f32; infinite where that overflows."""
    return struct.unpack("<f", struct.pack("<f", x))[0] if abs(x) < 3.4e38 else math.copysign(math.inf, x)


def sigmoid(logit):
    return f32(1 / f32(1 + f32(math.exp(-f32(logit)))))


def deepseek_v3(logits, bias, groups, kept, k):
    size = len(logits) // groups
    corrected = [f32(sigmoid(l) + b) for l, b in zip(logits, bias)]
    by_group = [f32(sum(sorted(corrected[g * size : (g + 1) * size])[-2:])) for g in range(groups)]
    inside = best(by_group, kept)
    return best([c if e // size in inside else -math.inf for e, c in enumerate(corrected)], k)


def bf16(x):
    return formats.bf16_value(formats.bf16_bits(x))


def write_deepseek(folder):
    """Layer 0 dense, layer 1 by a table of token ids, layers 2 and 3 with scores."""
    numbers = formats.Numbers(11)
    experts, k, groups, kept = 16, 4, 4, 2
    config = {
        "model_type": "deepseek_v3",
        "num_experts_per_tok": k,
        "n_group": groups,
        "topk_group": kept,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "rms_norm_eps": 1e-5,
        "n_routed_experts": experts,
    }
    table = [[(3 * t + 5 * j) % experts for j in range(k)] for t in range(VOCABULARY)]
    embedding_data, embedding = encoded("BF16", numbers_of(numbers, VOCABULARY * HIDDEN))
    tensors = [
        ("model.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN], embedding_data),
        ("model.layers.1.mlp.gate.tid2eid", "I64", [VOCABULARY, k], encoded("I64", sum(table, []))[0]),
    ]
    states, expected = [], {}
    ids = [int(numbers.between(0, VOCABULARY)) for _ in range(TOKENS)]
    by_embedding = {"1": [table[i] for i in ids]}
    for layer in (2, 3):
        weight_data, weight = encoded("BF16", numbers_of(numbers, experts * HIDDEN))
        bias_data, bias = encoded("F32", numbers_of(numbers, experts, 0.1))
        norm_data, norm = encoded("BF16", [1 + 0.1 * numbers.normal() for _ in range(HIDDEN)])
        prefix = f"model.layers.{layer}."
        tensors += [
            (prefix + "mlp.gate.weight", "BF16", [experts, HIDDEN], weight_data),
            (prefix + "mlp.gate.e_score_correction_bias", "F32", [experts], bias_data),
            (prefix + "post_attention_layernorm.weight", "BF16", [HIDDEN], norm_data),
            (prefix + "mlp.shared_experts.gate_proj.weight", "BF16", [1, HIDDEN], bytes(2 * HIDDEN)),
        ]
        state_data, state = encoded("F32", numbers_of(numbers, TOKENS * HIDDEN))
        states.append((f"layers.{layer}.router_input", "F32", [1, TOKENS, HIDDEN], state_data))
        choose = lambda inputs: [
            deepseek_v3(l, bias, groups, kept, k) for l in logits_of(inputs, rows(weight, HIDDEN))
        ]
        expected[str(layer)] = choose(rows(state, HIDDEN))
        normed = []
        for i in ids:
            row = embedding[i * HIDDEN : (i + 1) * HIDDEN]
            scale = 1 / math.sqrt(sum(x * x for x in row) / HIDDEN + 1e-5)
            normed.append([x * scale * w for x, w in zip(row, norm)])
        by_embedding[str(layer)] = choose(normed)
    folder = folder / "deepseek"
    write_safetensors.write(folder / "model.safetensors", tensors)
    write_safetensors.write(folder.parent / "deepseek_hidden.safetensors", states)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder.parent / "tokens.txt").write_text(" ".join(map(str, ids[:7])) + "\n" + ", ".join(map(str, ids[7:])) + "\n")
    (folder.parent / "tokens.jsonl").write_text(json.dumps({"input_ids": ids}) + "\n")
    return {"hidden": expected, "tokens": by_embedding}


def write_qwen(folder):
    """GGUF: softmax scores from bf16 logits, so that ties happen; the router's weights in Q8_0."""
    numbers = formats.Numbers(12)
    experts, k, hidden = 32, 6, 32
    tensors, expected = [], {}
    # The model multiplies in bf16: its inputs are rounded before.
    data, state = encoded("F32", numbers_of(numbers, TOKENS * hidden))
    inputs = rows([bf16(x) for x in state], hidden)
    for layer, kind in ((0, "Q8_0"), (1, "F32")):
        stored, weight = write_gguf.encode(kind, numbers_of(numbers, experts * hidden))
        # Two experts with the same weights tie for every token.
        half = len(stored) // experts
        stored = stored[:half] + stored[: len(stored) - half]
        weight = weight[:hidden] + weight[: len(weight) - hidden]
        tensors.append((f"blk.{layer}.ffn_gate_inp.weight", kind, [experts, hidden], stored))
        expected[str(layer)] = [best([bf16(l) for l in row], k) for row in logits_of(inputs, rows(weight, hidden))]
    metadata = [
        ("general.architecture", write_gguf.STRING, "qwen3moe"),
        ("qwen3moe.expert_used_count", write_gguf.U32, k),
    ]
    write_gguf.write(folder / "qwen.gguf", metadata, tensors)
    (folder / "qwen_hidden.f32").write_bytes(data)
    return {"hidden": expected}


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    expected = {"deepseek": write_deepseek(folder), "qwen": write_qwen(folder)}
    (folder / "expected_routes.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
