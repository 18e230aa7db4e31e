#!/usr/bin/env python3
"""DRAM bandwidth against bytes in flight: `blocks` blocks of 256 threads with `unroll` independent 16-byte loads each.

bytes: what is read, written, or read and written (copy: both are counted). bytes_in_flight: 16 x 256 x unroll x blocks;
all blocks are on the GPU at the same time. L2 holds none of the data at the start. No shared table has these columns.
"""
import sys

import cuda_kernels
import harness
import timing

LOAD = 16  # bytes
BLOCKS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
SMALL_BLOCKS = (4, 16, 64, 128, 256, 512, 1024)
UNROLLS = (1, 2, 4, 8)
SMALL_UNROLLS = (1, 4)
MOST_BYTES = 2**32
# Few blocks read slowly: less is enough. Writes must dwarf the L2 cache, which swallows the last of them.
READ_BYTES_OF_LOAD = 2**26


def shapes(full):
    found = []
    for operation in ("read", "write", "copy"):
        for blocks in (BLOCKS if full else SMALL_BLOCKS):
            for unroll in (UNROLLS if full else SMALL_UNROLLS):
                if operation != "read" and blocks < 64:
                    continue
                in_flight = LOAD * cuda_kernels.BLOCK * unroll * blocks
                wanted = min(MOST_BYTES, READ_BYTES_OF_LOAD * blocks * unroll) if operation == "read" else MOST_BYTES
                turns = wanted // (2 if operation == "copy" else 1) // in_flight
                found.append({"op": operation, "bytes": turns * in_flight * (2 if operation == "copy" else 1),
                              "blocks": blocks, "unroll": unroll, "bytes_in_flight": in_flight})
    return found


class Streams(harness.GraphPath):
    label = "streams"

    def refuses(self, bench, shape):
        if not bench.has_kernels():
            return "needs the kernels of kernels.cu"
        kernel = bench.kernels.get(shape["op"] + "_bytes", shape["unroll"])
        room = kernel.resident_blocks() * bench.multiprocessors
        return "" if shape["blocks"] <= room else f"{room} blocks fit on the GPU at a time"

    def measure(self, bench, shape):
        return timing.time_calls(bench, self.build(bench, shape, 1), timing.Plan(1, True))

    def build(self, bench, shape, sets):
        torch = bench.torch
        kernel = bench.kernels.get(shape["op"] + "_bytes", shape["unroll"])
        one_way = shape["bytes"] // (2 if shape["op"] == "copy" else 1)
        # Zeros: the read kernel writes its sum only if it is not 0.
        buffer = torch.zeros(one_way, dtype=torch.uint8, device=bench.device)
        loads = cuda_kernels.count(one_way // LOAD)
        if shape["op"] == "read":
            sink = torch.zeros(1, dtype=torch.int32, device=bench.device)
            return [lambda: kernel.launch(shape["blocks"], cuda_kernels.pointer(buffer), loads,
                                          cuda_kernels.pointer(sink))]
        if shape["op"] == "write":
            return [lambda: kernel.launch(shape["blocks"], cuda_kernels.pointer(buffer), loads, cuda_kernels.small(1))]
        to = torch.empty_like(buffer)
        return [lambda: kernel.launch(shape["blocks"], cuda_kernels.pointer(buffer), cuda_kernels.pointer(to), loads)]


FAMILY = harness.Family("bandwidth", __doc__.strip(), ("op", "bytes", "blocks", "unroll", "bytes_in_flight"), shapes,
                        (Streams(),))

if __name__ == "__main__":
    sys.exit(harness.main(FAMILY))
