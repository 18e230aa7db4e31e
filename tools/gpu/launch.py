#!/usr/bin/env python3
"""What it costs to start work: empty kernels and graphs of them.

eager: time per kernel of `nodes` empty kernels launched one by one (the host's rate). graph_replay: time from replay to
replay of a graph of `nodes` empty kernels, replayed back to back; the slope over nodes is a kernel inside a graph, the
rest the gap between replays. graph_launch_host: how long the host is busy with one replay. round_trip: `nodes` eager
kernels and a wait for the device, from the host's view. No shared table has these columns.
"""
import sys
import time

import harness
import timing

NODES = {"eager": (256,), "graph_replay": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
         "graph_launch_host": (1, 16, 64, 256, 1024), "round_trip": (1,)}
SMALL_NODES = {"eager": (256,), "graph_replay": (1, 16, 256), "graph_launch_host": (1, 256), "round_trip": (1,)}
REPEATS = 50


def shapes(full):
    return [{"op": operation, "nodes": nodes} for operation, counts in (NODES if full else SMALL_NODES).items()
            for nodes in counts]


def host_us(run):
    begin = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - begin) / 1000.0


class Launches(harness.Path):
    """PyTorch's smallest operator: adding to one number, in place."""

    label = "torch_add_one"

    def operator(self, bench):
        one = bench.torch.zeros(1, device=bench.device)
        return lambda: one.add_(1.0)

    def measure(self, bench, shape):
        call = self.operator(bench)
        timing.warm_up(bench, [call])
        return getattr(self, shape["op"])(bench, call, shape["nodes"])

    def eager(self, bench, call, nodes):
        def run():
            for _ in range(nodes):
                call()

        run()
        bench.torch.cuda.synchronize()
        return timing.summary([timing.elapsed_us(bench, run) / nodes for _ in range(bench.rounds)])

    def graph(self, bench, call, nodes):
        replay = timing.captured(bench, [call] * nodes)
        if replay is None:
            raise timing.MeasureError("the operator cannot be captured in a graph")
        for _ in range(3):
            replay()
        bench.torch.cuda.synchronize()
        return replay

    def graph_replay(self, bench, call, nodes):
        replay = self.graph(bench, call, nodes)

        def run():
            for _ in range(REPEATS):
                replay()

        return timing.summary([timing.elapsed_us(bench, run) / REPEATS for _ in range(bench.rounds)])

    def graph_launch_host(self, bench, call, nodes):
        replay = self.graph(bench, call, nodes)
        samples = []
        for _ in range(REPEATS):
            samples.append(host_us(replay))
            bench.torch.cuda.synchronize()
        return timing.summary(samples)

    def round_trip(self, bench, call, nodes):
        def run():
            for _ in range(nodes):
                call()
            bench.torch.cuda.synchronize()

        return timing.summary([host_us(run) for _ in range(REPEATS)])


class EmptyKernels(Launches):
    """A kernel that does nothing, launched by the driver; eager launches go through Python's ctypes and are not taken."""

    label = "empty_kernel"

    def refuses(self, bench, shape):
        if shape["op"] in ("eager", "round_trip"):
            return "the time would be that of Python's ctypes"
        return "" if bench.has_kernels() else "needs the kernels of kernels.cu"

    def operator(self, bench):
        kernel = bench.kernels.get("nothing")
        return lambda: kernel.launch(1, block=32)


FAMILY = harness.Family("launch", __doc__.strip(), ("op", "nodes"), shapes, (EmptyKernels(), Launches()))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
