#!/usr/bin/env python3
"""Attention of one new token per sequence against kv_len keys (the new one included), bf16, with a cold KV cache.

The cache is contiguous, not paged; the write of the new key is not included.
"""
import importlib
import sys

import attention_prefill
import harness

LENGTHS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
SMALL_LENGTHS = (128, 1024, 8192, 65536)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SMALL_BATCHES = (1, 16, 128)
MOST_CACHE = 12 * 10**9  # bytes of one set


def cache_bytes(shape):
    """Bytes of keys and values of one set: (touched by a call, allocated)."""
    per_token = 2 * 2 * shape["batch"] * shape["kv_heads"] * shape["head_dim"]
    seen = min(shape["kv_len"], shape["window"] or shape["kv_len"])
    return per_token * seen, per_token * shape["kv_len"]


def shapes(full):
    found = []
    for dim in ((64, 128, 256) if full else (128,)):
        for q_heads, kv_heads in (attention_prefill.HEADS if full else attention_prefill.SMALL_HEADS):
            for batch in (BATCHES if full else SMALL_BATCHES):
                for length in (LENGTHS if full else SMALL_LENGTHS):
                    found += [{"attn_dtype": "bfloat16", "kv_dtype": "bfloat16", "batch": batch, "kv_len": length,
                               "q_heads": q_heads, "kv_heads": kv_heads, "head_dim": dim, "window": window}
                              for window in (attention_prefill.WINDOWS if full else (0,)) if window < length]
    return [shape for shape in found if cache_bytes(shape)[1] <= MOST_CACHE]


class Caches:
    """What the decode paths share: the bytes of a cache."""

    def cold_bytes(self, bench, shape):
        return cache_bytes(shape)


class FlashAttention(Caches, attention_prefill.FlashAttention):
    label = "flash_attn_2_kvcache"

    def build(self, bench, shape, sets):
        torch = bench.torch
        function = importlib.import_module(self.module).flash_attn_with_kvcache
        batch, length, dim = shape["batch"], shape["kv_len"], shape["head_dim"]
        q = attention_prefill.normal(bench, batch, 1, shape["q_heads"], dim)
        lengths = torch.full((batch,), length, dtype=torch.int32, device=bench.device)
        window = (shape["window"] - 1, 0) if shape["window"] else (-1, -1)

        def call():
            k = attention_prefill.normal(bench, batch, length, shape["kv_heads"], dim)
            v = attention_prefill.normal(bench, batch, length, shape["kv_heads"], dim)
            return lambda: function(q, k, v, cache_seqlens=lengths, causal=True, window_size=window)

        return [call() for _ in range(sets)]


class FlashAttention3(FlashAttention):
    label = "flash_attn_3_kvcache"
    module = "flash_attn_interface"

    def refuses(self, bench, shape):
        return super().refuses(bench, shape) if bench.capability[0] == 9 else "for compute capability 9 only"


class Flash(Caches, attention_prefill.ScaledDotProduct):
    label = "torch_sdpa_flash"
    backend = "FLASH_ATTENTION"

    def build(self, bench, shape, sets):
        batch, dim = shape["batch"], shape["head_dim"]
        q = attention_prefill.normal(bench, batch, shape["q_heads"], 1, dim)

        def call():
            k = attention_prefill.normal(bench, batch, shape["kv_len"], shape["kv_heads"], dim).transpose(1, 2)
            v = attention_prefill.normal(bench, batch, shape["kv_len"], shape["kv_heads"], dim).transpose(1, 2)
            return self.call(bench.torch, q, k, v, causal=False)

        return [call() for _ in range(sets)]


FAMILY = harness.Family("attention_decode", __doc__.strip(),
                        ("attn_dtype", "kv_dtype", "batch", "kv_len", "q_heads", "kv_heads", "head_dim", "window"),
                        shapes, (FlashAttention3(), FlashAttention(), Flash()))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
