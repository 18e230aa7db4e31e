#!/usr/bin/env python3
"""Causal attention of `batch` prompts of seq_len new tokens each, bf16, without rotation and cache write.

Queries, keys and values were just written by the projections in front, so they are as warm as the L2 cache holds.
"""
import importlib.util
import sys

import harness

HEADS = ((32, 8), (16, 4), (8, 2), (4, 1), (64, 8), (8, 1), (40, 8), (32, 32), (16, 16), (96, 8), (12, 1), (64, 4))
SMALL_HEADS = ((32, 8), (64, 8), (8, 1))
LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096, 8192, 16384, 32768)
SMALL_LENGTHS = (128, 1024, 4096, 16384)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SMALL_BATCHES = (1, 8)
WINDOWS = (0, 128, 1024)
MOST_ELEMENTS = 2**30     # of the queries
MOST_SCORES = 2.0**43     # head_dim x scores: a few hundred TFLOP


def shapes(full):
    found = []
    for dim in ((64, 128, 256) if full else (128,)):
        for q_heads, kv_heads in (HEADS if full else SMALL_HEADS):
            for batch in (BATCHES if full else SMALL_BATCHES):
                for length in (LENGTHS if full else SMALL_LENGTHS):
                    width = batch * q_heads * dim
                    if width * length > MOST_ELEMENTS or width * length * length > MOST_SCORES:
                        continue
                    found += [{"attn_dtype": "bfloat16", "kv_dtype": "bfloat16", "batch": batch, "seq_len": length,
                               "q_heads": q_heads, "kv_heads": kv_heads, "head_dim": dim, "window": window}
                              for window in (WINDOWS if full else (0,)) if window < length]
    return found


def normal(bench, *size):
    return bench.torch.randn(*size, dtype=bench.torch.bfloat16, device=bench.device)


def backends():
    """The names of PyTorch's attention backends; None before PyTorch 2.3."""
    try:
        from torch.nn.attention import SDPBackend
    except ImportError:
        return None
    return SDPBackend


class FlashAttention(harness.GraphPath):
    """The package flash_attn (version 2)."""

    label = "flash_attn_2"
    module = "flash_attn"

    def refuses(self, bench, shape):
        if importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed"
        return "" if shape["head_dim"] <= 256 else "head_dim above 256"

    def build(self, bench, shape, sets):
        function = importlib.import_module(self.module).flash_attn_func
        batch, length, dim = shape["batch"], shape["seq_len"], shape["head_dim"]
        q = normal(bench, batch, length, shape["q_heads"], dim)
        k = normal(bench, batch, length, shape["kv_heads"], dim)
        v = normal(bench, batch, length, shape["kv_heads"], dim)
        # A window of w sees the token itself and w - 1 before it.
        left = shape["window"] - 1 if shape["window"] else -1
        return [lambda: function(q, k, v, causal=True, window_size=(left, 0 if shape["window"] else -1))] * sets


class FlashAttention3(FlashAttention):
    """Its version for Hopper."""

    label = "flash_attn_3"
    module = "flash_attn_interface"

    def refuses(self, bench, shape):
        return super().refuses(bench, shape) if bench.capability[0] == 9 else "for compute capability 9 only"


class ScaledDotProduct(harness.GraphPath):
    """torch.nn.functional.scaled_dot_product_attention with one backend."""

    backend = ""

    def refuses(self, bench, shape):
        if shape["window"]:
            return "no windows"
        return "" if hasattr(backends(), self.backend) else f"this PyTorch has no {self.backend}"

    def build(self, bench, shape, sets):
        torch = bench.torch
        batch, length, dim = shape["batch"], shape["seq_len"], shape["head_dim"]

        def heads_second(heads):
            return normal(bench, batch, length, heads, dim).transpose(1, 2)  # as projections write it

        q, k, v = heads_second(shape["q_heads"]), heads_second(shape["kv_heads"]), heads_second(shape["kv_heads"])
        return [self.call(torch, q, k, v, causal=True)] * sets

    def call(self, torch, q, k, v, causal):
        from torch.nn.attention import sdpa_kernel
        backend = getattr(backends(), self.backend)
        # The option came with PyTorch 2.5; without groups of heads it is not needed.
        grouped = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}

        def run():
            with sdpa_kernel(backend):
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, **grouped)

        return run


class Flash(ScaledDotProduct):
    label = "torch_sdpa_flash"
    backend = "FLASH_ATTENTION"


class Cudnn(ScaledDotProduct):
    label = "torch_sdpa_cudnn"
    backend = "CUDNN_ATTENTION"

    def refuses(self, bench, shape):
        if bench.capability < (9, 0):
            return "below compute capability 9.0 the flash backend is used"
        if shape["head_dim"] > 128:
            return "head_dim above 128"
        return super().refuses(bench, shape)


FAMILY = harness.Family("attention_prefill", __doc__.strip(),
                        ("attn_dtype", "kv_dtype", "batch", "seq_len", "q_heads", "kv_heads", "head_dim", "window"),
                        shapes, (FlashAttention3(), Cudnn(), FlashAttention(), Flash()))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
