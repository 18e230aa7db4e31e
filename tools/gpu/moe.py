#!/usr/bin/env python3
"""One rank's routed experts: router top-k, permutation, up and gate, activation, down, weighted sum; no communication.

`tokens` is the count of the whole EP group; the rank holds experts/ep experts with inter/tp columns and is the most
loaded one. Weights are cold. slow_tactic is 0: there is no autotuner.
"""
import sys

import cuda_kernels
import harness
import routing
import timing

BYTES = {"bfloat16": 2, "fp8": 1}
# (hidden, inter, topk, experts) of published models.
MODELS = ((4096, 14336, 2, 8), (2048, 768, 8, 128), (4096, 1536, 8, 128), (7168, 2048, 8, 256), (2880, 2880, 4, 128),
          (2880, 2880, 4, 32), (7168, 2048, 8, 384), (6144, 2560, 8, 160), (4096, 8192, 1, 16), (5120, 1536, 6, 160))
SMALL_MODELS = MODELS[:4]
SPLITS = ((1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 32))
SMALL_SPLITS = ((1, 8), (8, 1))
TOKENS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SMALL_TOKENS = (1, 16, 128, 1024, 8192)
MOST_WEIGHTS = 40 * 10**9  # bytes of one set


def shapes(full):
    found = []
    for dtype in BYTES:
        for hidden, inter, topk, experts in (MODELS if full else SMALL_MODELS):
            for tp, ep in (SPLITS if full else SMALL_SPLITS):
                width = inter // tp
                fits = 3 * BYTES[dtype] * hidden * width * (experts // ep) <= MOST_WEIGHTS
                if experts % ep or experts < ep or inter % tp or width % 16 or not fits:
                    continue
                found += [{"dtype": dtype, "tokens": tokens, "hidden": hidden, "inter": inter, "topk": topk,
                           "experts": experts, "tp": tp, "ep": ep, "alpha": alpha, "slow_tactic": 0}
                          for tokens in (TOKENS if full else SMALL_TOKENS) for alpha in (0.0, 1.01, 1.2)]
    return found


class Draw:
    """One assignment of tokens to experts on the device: router logits whose top-k are the chosen experts."""

    def __init__(self, bench, shape, seed):
        torch = bench.torch
        tokens, topk, experts = shape["tokens"], shape["topk"], shape["experts"]
        rows = routing.expert_rows(tokens, topk, experts, shape["ep"], shape["alpha"], seed)
        chosen = torch.tensor(routing.assignment(rows, tokens, topk), device=bench.device)
        self.logits = torch.rand(tokens, experts, device=bench.device)
        self.logits.scatter_add_(1, chosen, torch.full(chosen.shape, 4.0, device=bench.device))
        self.rows = rows[:experts // shape["ep"]]
        self.total = sum(self.rows)
        self.active = sum(1 for count in self.rows if count)


class Experts(harness.GraphPath):
    """What all paths share: everything but the two products. The rank's experts have the lowest numbers."""

    dtype = "bfloat16"
    weight_bytes = 2

    def refuses(self, bench, shape):
        if shape["dtype"] != self.dtype:
            return f"{self.dtype} only"
        width = shape["inter"] // shape["tp"]
        if shape["hidden"] % 16 or width % 16:
            return "hidden and inter/tp must be multiples of 16"
        return self.refuses_device(bench)

    def refuses_device(self, bench):
        return ""

    def measure(self, bench, shape):
        results = []
        for seed in range(1 if shape["alpha"] == 0 else routing.DRAWS):
            draw = Draw(bench, shape, seed)
            expert = 3 * self.weight_bytes * shape["hidden"] * (shape["inter"] // shape["tp"])
            plan = timing.make_plan(max(1, draw.active) * expert, len(draw.rows) * expert, bench.l2_bytes,
                                    bench.free_bytes(), bench.warm)
            results.append(timing.time_calls(bench, self.calls(bench, shape, draw, plan.sets), plan))
            bench.release()
        return timing.mean_of(results)

    def calls(self, bench, shape, draw, sets):
        x = bench.torch.randn(shape["tokens"], shape["hidden"], dtype=bench.torch.bfloat16, device=bench.device)
        local = len(draw.rows)
        numbers = bench.torch.arange(local, device=bench.device)
        weights = [self.weights(bench, shape, local) for _ in range(sets)]
        products = self.products(bench, shape, draw)
        return [lambda w=w: self.layer(bench.torch, shape, draw, x, numbers, w, products) for w in weights]

    def layer(self, torch, shape, draw, x, numbers, weights, products):
        """One MoE layer on this rank. The number of local rows is known from the draw, so all sizes are fixed."""
        topk = shape["topk"]
        gains, chosen = torch.topk(torch.softmax(draw.logits, dim=-1), topk, dim=-1)
        gains = gains / gains.sum(dim=-1, keepdim=True)
        sorted_experts, order = torch.sort(chosen.flatten(), stable=True)
        ends = torch.searchsorted(sorted_experts, numbers, right=True).to(torch.int32)
        mine = order[:draw.total]
        token = mine // topk
        gate_up = products(x[token], weights[0], ends)
        gate, up = gate_up.chunk(2, dim=-1)
        down = products(torch.nn.functional.silu(gate) * up, weights[1], ends)
        weighted = down * gains.flatten()[mine].unsqueeze(1).to(down.dtype)
        return torch.zeros_like(x).index_add_(0, token, weighted)

    def weights(self, bench, shape, local):
        """(gate and up, down) as [experts, outputs, inputs]."""
        torch = bench.torch
        width = shape["inter"] // shape["tp"]

        def random(outputs, inputs):
            made = torch.empty(local, outputs, inputs, dtype=torch.bfloat16, device=bench.device)
            return made.normal_(std=0.02)

        return random(2 * width, shape["hidden"]), random(shape["hidden"], width)

    def products(self, bench, shape, draw):
        """A function (rows, weights, ends of the experts' rows) -> rows x outputs."""
        raise NotImplementedError


class Grouped(Experts):
    label = "torch_grouped_mm"

    def refuses_device(self, bench):
        if not hasattr(bench.torch, "_grouped_mm"):
            return "this PyTorch has no _grouped_mm"
        return "" if bench.capability >= (9, 0) else "needs compute capability 9.0"

    def products(self, bench, shape, draw):
        return lambda rows, weights, ends: bench.torch._grouped_mm(rows, weights.transpose(-2, -1), offs=ends)


class Loop(Experts):
    """One product per expert with rows, in one graph."""

    label = "torch_expert_loop"

    def products(self, bench, shape, draw):
        def run(rows, weights, ends):
            del ends  # the same numbers, on the device
            out = bench.torch.empty(rows.shape[0], weights.shape[1], dtype=rows.dtype, device=rows.device)
            begin = 0
            for expert, count in enumerate(draw.rows):
                if count:
                    bench.torch.mm(rows[begin:begin + count], weights[expert].t(), out=out[begin:begin + count])
                begin += count
            return out

        return run


class GroupedFp8(Experts):
    """Scales per row, found by a pass over the rows in front of each product."""

    label = "torch_scaled_grouped_mm"
    dtype = "fp8"
    weight_bytes = 1

    def refuses_device(self, bench):
        if not hasattr(bench.torch, "_scaled_grouped_mm"):
            return "this PyTorch has no _scaled_grouped_mm"
        if bench.capability < (9, 0):
            return "needs compute capability 9.0"
        return "" if bench.has_kernels() else "needs the kernels of kernels.cu"

    def weights(self, bench, shape, local):
        # One expert at a time: the bf16 numbers are only on the way.
        torch = bench.torch
        width = shape["inter"] // shape["tp"]

        def random(outputs, inputs):
            made = torch.empty(local, outputs, inputs, dtype=torch.float8_e4m3fn, device=bench.device)
            for expert in range(local):
                made[expert].copy_(torch.randn(outputs, inputs, dtype=torch.bfloat16, device=bench.device))
            return made

        return random(2 * width, shape["hidden"]), random(shape["hidden"], width)

    def products(self, bench, shape, draw):
        torch = bench.torch
        width = shape["inter"] // shape["tp"]
        passes = {}
        for columns in (shape["hidden"], width):
            like = torch.empty(max(1, draw.total), columns, dtype=torch.bfloat16, device=bench.device)
            passes[columns] = cuda_kernels.fp8_rows(bench, like)
        ones = {outputs: torch.ones(len(draw.rows), outputs, dtype=torch.float32, device=bench.device)
                for outputs in (2 * width, shape["hidden"])}

        def run(rows, weights, ends):
            quantise, y, scale = passes[rows.shape[1]]
            quantise(rows)
            return torch._scaled_grouped_mm(y, weights.transpose(-2, -1), scale.flatten(), ones[weights.shape[1]],
                                            offs=ends, out_dtype=torch.bfloat16, use_fast_accum=True)

        return run


FAMILY = harness.Family("moe", __doc__.strip(),
                        ("dtype", "tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "alpha", "slow_tactic"),
                        shapes, (Grouped(), Loop(), GroupedFp8()))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
