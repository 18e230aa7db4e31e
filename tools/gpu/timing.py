"""How a time is taken: graph replays of a few copies of an operator between two events, medians of several rounds.

An operator is a list of calls, one for each set of its cold operands (weights, KV cache). A serving engine touches
gigabytes between two uses of the same weights, so the sets take turns: between two uses of one set at least twice the
L2 cache passes. Where so many sets do not fit (small weights would need thousands), each set is used once a replay
and L2 is filled with other data before each replay, outside of the timed interval.
"""
import dataclasses
import math
import statistics

MAX_SETS = 32
FLUSHES_PER_L2 = 2  # how many L2 sizes must pass before operands count as cold
ROUND_US = 2000.0   # the least length of a round: events resolve about half a microsecond
GRAPH_US = 200.0    # the least length of a graph, so that the gap between replays (a few us) is spread
MAX_COPIES = 64
MAX_REPLAYS = 50
LONG_US = 100_000.0


class MeasureError(Exception):
    """A shape that could not be measured; the text says why."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many sets of cold operands there are, and whether L2 is filled with other data before each replay."""

    sets: int
    flush: bool


@dataclasses.dataclass(frozen=True)
class Measurement:
    microseconds: float
    spread: float  # (largest - smallest) / median of the rounds
    rounds: int
    eager: bool = False


def make_plan(touched, allocated, l2_bytes, free_bytes, warm=False):
    """The plan for operands of which one call touches `touched` bytes and that take `allocated` bytes a set.

    Half of the free memory is left for activations, outputs and workspaces. touched = 0: nothing is cold.
    """
    if touched <= 0 or warm:
        return Plan(1, False)
    needed = 1 + math.ceil(FLUSHES_PER_L2 * l2_bytes / touched)
    fitting = max(1, int(free_bytes // 2 // max(allocated, 1)))
    sets = max(1, min(needed, fitting, MAX_SETS))
    return Plan(sets, (sets - 1) * touched < FLUSHES_PER_L2 * l2_bytes)


def copies_for(estimate_us, plan):
    """How many calls a graph holds: a whole number of turns over the sets; one turn where L2 is filled between."""
    if plan.flush:
        return plan.sets
    wanted = min(MAX_COPIES, max(1, math.ceil(GRAPH_US / max(estimate_us, 0.1))))
    return plan.sets * max(1, math.ceil(wanted / plan.sets))


def replays_for(estimate_us, copies, plan):
    """How many replays a round holds."""
    if plan.flush:
        return 1
    return min(MAX_REPLAYS, max(1, math.ceil(ROUND_US / max(estimate_us * copies, 0.1))))


def rounds_for(estimate_us, asked, plan):
    """Rounds of one replay are short and jitter more, so there are three times as many; very long ones need few."""
    if estimate_us >= LONG_US:
        return min(asked, 3)
    return asked * 3 if plan.flush else asked


def summary(samples, eager=False):
    """Median and spread of the rounds. Raises MeasureError for none or for times that are not above 0."""
    if not samples:
        raise MeasureError("no round was timed")
    middle = statistics.median(samples)
    if not (math.isfinite(middle) and middle > 0):
        raise MeasureError(f"the median of {len(samples)} rounds is {middle} us")
    return Measurement(middle, (max(samples) - min(samples)) / middle, len(samples), eager)


def mean_of(measurements):
    """The mean over several draws of the same row; the spread is the largest of them."""
    if not measurements:
        raise MeasureError("no draw was timed")
    mean = statistics.fmean(one.microseconds for one in measurements)
    return Measurement(mean, max(one.spread for one in measurements), sum(one.rounds for one in measurements),
                       any(one.eager for one in measurements))


def difference(whole, part):
    """The time of what `whole` does beyond `part`. Raises MeasureError when noise hides it."""
    left = whole.microseconds - part.microseconds
    if left <= 0:
        raise MeasureError(f"{whole.microseconds:.4g} us less {part.microseconds:.4g} us is not above 0: noise hides it")
    spread = (whole.spread * whole.microseconds + part.spread * part.microseconds) / left
    return Measurement(left, spread, min(whole.rounds, part.rounds), whole.eager or part.eager)


def warm_up(bench, calls):
    """Runs every call on a side stream, so that libraries choose kernels and take workspaces before a capture."""
    torch = bench.torch
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
        for _ in range(2):
            calls[0]()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()


def elapsed_us(bench, run, before=None):
    """Time between two events around run(), in microseconds. before() is not timed."""
    torch = bench.torch
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    if before is not None:
        before()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1000.0


def captured(bench, sequence):
    """A function that replays the sequence of calls, or None where the sequence cannot be captured."""
    torch = bench.torch
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for call in sequence:
                call()
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            raise
        torch.cuda.synchronize()
        return None
    return graph.replay


def time_calls(bench, calls, plan):
    """The time of one call. The calls are the sets of the plan and take turns."""
    warm_up(bench, calls)
    # Replaced below by the time of a replay: launched one by one, short kernels wait for the host.
    estimate = max(0.1, min(elapsed_us(bench, calls[0]) for _ in range(3)))
    trial = captured(bench, [calls[0]])
    if trial is not None:
        trial()
        estimate = min(estimate, max(0.1, min(elapsed_us(bench, trial) for _ in range(3))))
    del trial
    copies = copies_for(estimate, plan)
    sequence = [calls[i % len(calls)] for i in range(copies)]
    replay = captured(bench, sequence)
    eager = replay is None
    if eager:
        def replay():
            for call in sequence:
                call()
    replays = replays_for(estimate, copies, plan)

    def run():
        for _ in range(replays):
            replay()

    before = bench.flush_l2 if plan.flush else None
    elapsed_us(bench, run, before)
    samples = [elapsed_us(bench, run, before) / (replays * copies)
               for _ in range(rounds_for(estimate, bench.rounds, plan))]
    return summary(samples, eager)
