#!/usr/bin/env python3
"""Passes over m x k bf16 activations without a product: fp8 quantisation, norms, gated activation.

scale_matrix: fp8 with a known scale. computescale: what finding the scale adds (dynamic less static quantisation).
rms_norm, add_rms_norm (residual and norm), silu_mul (m x 2k in, m x k out): bf16. Operands are as warm as L2 holds.
"""
import sys

import cuda_kernels
import harness
import timing

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
SMALL_ROWS = (1, 16, 256, 2048, 16384)
COLUMNS = (256, 512, 1024, 1536, 2048, 2880, 4096, 5120, 7168, 8192, 14336, 16384, 28672)
SMALL_COLUMNS = (2048, 7168)
OPERATIONS = {"scale_matrix": "fp8", "computescale": "fp8", "rms_norm": "bfloat16", "add_rms_norm": "bfloat16",
              "silu_mul": "bfloat16"}
MOST_ELEMENTS = 2**30


def shapes(full):
    return [{"op": operation, "dtype": dtype, "m": m, "k": k}
            for operation, dtype in OPERATIONS.items() for m in (ROWS if full else SMALL_ROWS)
            for k in (COLUMNS if full else SMALL_COLUMNS) if m * k <= MOST_ELEMENTS]


def activations(bench, rows, columns):
    return bench.torch.randn(rows, columns, dtype=bench.torch.bfloat16, device=bench.device)


def static_pass(bench, x):
    quantise, _, _ = cuda_kernels.fp8_static(bench, x)
    return lambda: quantise(x)


def dynamic_pass(bench, x):
    quantise, _, _ = cuda_kernels.fp8_tensor(bench, x)
    return lambda: quantise(x)


def row_kernel(bench, name, arguments, rows, groups):
    """A function that launches a kernel with one block per row; the tensors are kept alive by it."""
    kernel = bench.kernels.get(name)
    block = min(1024, max(32, -(-groups // 32) * 32))
    return lambda: kernel.launch(rows, *(cuda_kernels.pointer(one) for one in arguments), cuda_kernels.small(groups),
                                 block=block)


def fused(bench, shape):
    """The operation as one kernel of kernels.cu."""
    torch = bench.torch
    rows, columns = shape["m"], shape["k"]
    groups = columns // 8
    wide = 2 * columns if shape["op"] == "silu_mul" else columns
    x = activations(bench, rows, wide)
    y = torch.empty(rows, columns, dtype=torch.bfloat16, device=bench.device)
    weight = torch.ones(columns, dtype=torch.bfloat16, device=bench.device)
    if shape["op"] == "rms_norm":
        return row_kernel(bench, "rms_norm", (x, weight, y), rows, groups)
    if shape["op"] == "add_rms_norm":
        # Zeros are added: the residual stays what it is over all replays.
        return row_kernel(bench, "add_rms_norm", (torch.zeros_like(x), x, weight, y), rows, groups)
    return row_kernel(bench, "silu_mul", (x, y), rows, groups)


class Kernels(harness.GraphPath):
    """One pass each, as serving engines have them (kernels.cu)."""

    label = "fused"

    def refuses(self, bench, shape):
        if shape["dtype"] == "fp8" and not bench.has_fp8:
            return "the GPU has no fp8"
        if shape["k"] % 8:
            return "k must be a multiple of 8"
        return "" if bench.has_kernels() else "needs the kernels of kernels.cu"

    def build(self, bench, shape, sets):
        if shape["op"] == "scale_matrix":
            return [static_pass(bench, activations(bench, shape["m"], shape["k"]))] * sets
        return [fused(bench, shape)] * sets

    def measure(self, bench, shape):
        if shape["op"] != "computescale":
            return super().measure(bench, shape)
        x = activations(bench, shape["m"], shape["k"])
        plan = timing.Plan(1, False)
        dynamic = timing.time_calls(bench, [dynamic_pass(bench, x)], plan)
        return timing.difference(dynamic, timing.time_calls(bench, [static_pass(bench, x)], plan))


class TorchOps(harness.GraphPath):
    """The same from PyTorch's own operators, several passes each: slower than what engines run."""

    label = "torch_ops"

    def refuses(self, bench, shape):
        if shape["op"] in ("computescale", "scale_matrix"):
            return "unfused quantisation says nothing about engines"
        if shape["op"] == "rms_norm" and not hasattr(bench.torch.nn.functional, "rms_norm"):
            return "this PyTorch has no rms_norm"
        return ""

    def build(self, bench, shape, sets):
        functional = bench.torch.nn.functional
        columns = shape["k"]
        x = activations(bench, shape["m"], columns)
        if shape["op"] == "rms_norm":
            return [lambda: functional.rms_norm(x, (columns,))] * sets
        other = activations(bench, shape["m"], columns)
        if shape["op"] == "add_rms_norm":
            return [lambda: functional.rms_norm(x + other, (columns,))] * sets
        return [lambda: functional.silu(x) * other] * sets


# moesim reads the operations of the shared table; the others are for people.
FAMILY = harness.Family("quantize", __doc__.strip(), ("op", "dtype", "m", "k"), shapes, (Kernels(), TorchOps()),
                        {"op": ("scale_matrix", "computescale")})

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
