#!/usr/bin/env python3
"""Copies between host and GPU memory: h2d, d2h, and both at once on two streams (pinned only; bytes of one direction).

pinned: several copies between two events. pageable: the host's time from call to the end of the copy, since the driver
stages them through the host. Buffers take turns. No shared table has these columns.
"""
import sys

import harness
import timing
from launch import host_us

SIZES = tuple(2**power for power in range(10, 31))
SMALL_SIZES = tuple(2**power for power in range(12, 30, 4))
BUFFERS = 4
BUFFER_BYTES = 2**31  # of all buffers of one side together
COPY_US_PER_BYTE = 1 / 20e3


def shapes(full):
    return [{"op": operation, "memory": memory, "bytes": size}
            for operation, memory in (("h2d", "pinned"), ("d2h", "pinned"), ("both", "pinned"), ("h2d", "pageable"),
                                      ("d2h", "pageable"))
            for size in (SIZES if full else SMALL_SIZES)]


class Copies(harness.Path):
    label = "torch_copy"

    def measure(self, bench, shape):
        torch = bench.torch
        size, pinned = shape["bytes"], shape["memory"] == "pinned"
        number = max(1, min(BUFFERS, BUFFER_BYTES // size))

        def buffers(device):
            # Written once, so that the host's pages exist.
            made = [torch.empty(size, dtype=torch.uint8, pin_memory=pinned) if device is None
                    else torch.empty(size, dtype=torch.uint8, device=device) for _ in range(number)]
            return [one.fill_(1) for one in made]

        host, gpu = buffers(None), buffers(bench.device)
        torch.cuda.synchronize()
        if shape["op"] == "both":
            return self.both(bench, host, gpu, (buffers(None), buffers(bench.device)), size)
        to, source = (gpu, host) if shape["op"] == "h2d" else (host, gpu)
        if pinned:
            return self.pinned(bench, to, source, size)
        return self.pageable(bench, to, source)

    def pinned(self, bench, to, source, size):
        copies = copies_of(size)

        def run():
            for i in range(copies):
                to[i % len(to)].copy_(source[i % len(to)], non_blocking=True)

        run()
        bench.torch.cuda.synchronize()
        return timing.summary([timing.elapsed_us(bench, run) / copies for _ in range(bench.rounds)])

    def pageable(self, bench, to, source):
        samples = []
        for i in range(3 * bench.rounds + 1):
            def run(at=i % len(to)):
                to[at].copy_(source[at])
                bench.torch.cuda.synchronize()

            samples.append(host_us(run))
        return timing.summary(samples[1:])

    def both(self, bench, host, gpu, other, size):
        """The time of a pair of copies, one each way, on two streams."""
        torch = bench.torch
        copies = copies_of(size)
        side = torch.cuda.Stream()
        other_host, other_gpu = other

        def run():
            side.wait_stream(torch.cuda.current_stream())
            for i in range(copies):
                at = i % len(host)
                gpu[at].copy_(host[at], non_blocking=True)
                with torch.cuda.stream(side):
                    other_host[at].copy_(other_gpu[at], non_blocking=True)
            torch.cuda.current_stream().wait_stream(side)

        run()
        torch.cuda.synchronize()
        return timing.summary([timing.elapsed_us(bench, run) / copies for _ in range(bench.rounds)])


def copies_of(size):
    """Copies of one round: about 2 ms at 20 GB/s, at least 2, at most 64."""
    return max(2, min(64, int(timing.ROUND_US / (size * COPY_US_PER_BYTE))))


FAMILY = harness.Family("host_copy", __doc__.strip(), ("op", "memory", "bytes"), shapes, (Copies(),))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
