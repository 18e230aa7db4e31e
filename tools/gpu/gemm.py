#!/usr/bin/env python3
"""One linear layer: out[m, n] = x[m, k] w[n, k]^T with cold weights and warm activations.

fp8 includes the dynamic quantisation of the bf16 activations, as in the shared table.
"""
import sys

import cuda_kernels
import harness

BYTES = {"bfloat16": 2, "fp8": 1}
# (n, k) of layers: projections, gate and up together, down, heads; on one GPU and split over 2 to 8.
LAYERS = (
    (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (3584, 4096), (4096, 1792),        # 8B
    (10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672), (1280, 8192), (8192, 1024), (7168, 8192), (8192, 3584),
    (2112, 7168), (24576, 1536), (3072, 1536), (32768, 512), (7168, 16384), (7168, 2048), (36864, 7168), (4096, 7168),
    (7168, 18432), (9216, 4096), (8192, 4096), (5120, 2048), (4096, 2048), (2048, 4096), (5120, 2880), (2880, 4096),
    (16128, 7168), (7168, 8192), (128256, 4096), (151936, 2048), (256, 7168), (128, 2048),
)
SQUARES = tuple((n, k) for n in (256, 1024, 4096, 16384) for k in (256, 1024, 4096, 16384))
SMALL_LAYERS = ((6144, 4096), (28672, 4096), (4096, 14336), (1280, 8192), (2112, 7168), (7168, 2048), (1024, 1024),
                (16384, 16384))
ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384)
SMALL_ROWS = (1, 8, 32, 128, 512, 2048, 8192)


def shapes(full):
    layers = sorted(set(LAYERS + SQUARES)) if full else SMALL_LAYERS
    return [{"dtype": dtype, "m": m, "n": n, "k": k}
            for dtype in BYTES for n, k in layers for m in (ROWS if full else SMALL_ROWS) if m * n <= 2**30]


class Linear(harness.GraphPath):
    label = "torch_linear"

    def refuses(self, bench, shape):
        return "" if shape["dtype"] == "bfloat16" else "bfloat16 only"

    def cold_bytes(self, bench, shape):
        weight = BYTES[shape["dtype"]] * shape["n"] * shape["k"]
        return weight, weight

    def build(self, bench, shape, sets):
        torch = bench.torch
        x = torch.randn(shape["m"], shape["k"], dtype=torch.bfloat16, device=bench.device)
        weights = [torch.randn(shape["n"], shape["k"], dtype=torch.bfloat16, device=bench.device) * 0.02
                   for _ in range(sets)]
        return [lambda w=w: torch.nn.functional.linear(x, w) for w in weights]


class ScaledProduct(Linear):
    """torch._scaled_mm behind a dynamic quantisation; subclasses say whose scale."""

    def refuses(self, bench, shape):
        if shape["dtype"] != "fp8":
            return "fp8 only"
        if not bench.has_fp8:
            return "the GPU has no fp8"
        if shape["n"] % 16 or shape["k"] % 16:
            return "n and k must be multiples of 16"
        return "" if bench.has_kernels() else "needs the kernels of kernels.cu"

    def weights(self, bench, shape, sets):
        torch = bench.torch
        return [(torch.randn(shape["n"], shape["k"], dtype=torch.bfloat16, device=bench.device) * 0.5)
                .to(torch.float8_e4m3fn).t() for _ in range(sets)]

    def build(self, bench, shape, sets):
        torch = bench.torch
        x = torch.randn(shape["m"], shape["k"], dtype=torch.bfloat16, device=bench.device)
        quantise, y, scale, weight_scale = self.quantisation(bench, shape, x)

        def call(weight):
            quantise(x)
            return torch._scaled_mm(y, weight, scale_a=scale, scale_b=weight_scale, out_dtype=torch.bfloat16,
                                    use_fast_accum=True)

        return [lambda w=w: call(w) for w in self.weights(bench, shape, sets)]

    def quantisation(self, bench, shape, x):
        raise NotImplementedError


class ScaledByRow(ScaledProduct):
    """One scale per token and output column, as vLLM and SGLang do."""

    label = "torch_scaled_mm_row"

    def refuses(self, bench, shape):
        if bench.capability < (9, 0):
            return "scales per row need compute capability 9.0"
        return super().refuses(bench, shape)

    def quantisation(self, bench, shape, x):
        ones = bench.torch.ones(1, shape["n"], dtype=bench.torch.float32, device=bench.device)
        return (*cuda_kernels.fp8_rows(bench, x), ones)


class ScaledByTensor(ScaledProduct):
    """One scale per tensor, found by a pass over the activations, as TensorRT-LLM does."""

    label = "torch_scaled_mm_tensor"

    def quantisation(self, bench, shape, x):
        one = bench.torch.ones(1, dtype=bench.torch.float32, device=bench.device)
        return (*cuda_kernels.fp8_tensor(bench, x), one)


FAMILY = harness.Family("gemm", __doc__.strip(), ("dtype", "m", "n", "k"), shapes,
                        (Linear(), ScaledByRow(), ScaledByTensor()))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
