"""Which experts tokens go to in MoE rows: balanced (alpha 0) or with the power law of the shared table's collector.

The collector (ai-dynamo/aiconfigurator, collector/helper.py, `_generate_power_law_distribution`) draws one weight per
expert from p(x) ~ x^-alpha, scales them to tokens x topk, and puts the most loaded EP rank first: that one is timed.
"""
import random

DRAWS = 5  # the time of a row with alpha > 0 is the mean over so many


def power_law(generator, alpha, low, high):
    """A number from p(x) ~ x^-alpha on [low, high], by the inverse of the distribution function. alpha is not 1."""
    power = 1.0 - alpha
    uniform = generator.random()
    return ((high**power - low**power) * uniform + low**power) ** (1.0 / power)


def expert_rows(tokens, topk, experts, ep, alpha, seed):
    """Rows of each expert, summing to tokens x topk, none above `tokens`; the most loaded rank's experts come first."""
    total = tokens * topk
    if alpha == 0:
        return round_robin(tokens, topk, experts)
    # tokens x topk > experts leaves at least 2 tokens, so the second range is not empty.
    generator = random.Random(f"{tokens} {topk} {experts} {ep} {alpha} {seed}")
    low, high = (0.01, 2.0) if total <= experts else (1.0, 0.8 * tokens)
    weights = [power_law(generator, alpha, low, high) for _ in range(experts)]
    scale = total / sum(weights)
    rows = [min(tokens, round(weight * scale)) for weight in weights]
    spread_remainder(rows, total, tokens)
    per_rank = experts // ep
    loads = [sum(rows[rank * per_rank:(rank + 1) * per_rank]) for rank in range(ep)]
    busiest = loads.index(max(loads)) * per_rank
    rows[:per_rank], rows[busiest:busiest + per_rank] = rows[busiest:busiest + per_rank], rows[:per_rank]
    return rows


def round_robin(tokens, topk, experts):
    """Balanced rows: choice c of all tokens starts c steps further, and few tokens lie apart on their step, so that
    ranks are balanced as well."""
    step = -(-experts // topk)
    rows = [0] * experts
    for choice in range(topk):
        for token in range(tokens):
            place = token * step // tokens if tokens < step else token
            rows[(place + choice * step) % experts] += 1
    return rows


def spread_remainder(rows, total, most):
    """Adds or takes single rows round-robin until they sum to `total`, between 0 and `most` each."""
    left = total - sum(rows)
    step = 1 if left > 0 else -1
    expert = 0
    while left != 0:
        if 0 <= rows[expert] + step <= most:
            rows[expert] += step
            left -= step
        expert = (expert + 1) % len(rows)


def assignment(rows, tokens, topk):
    """The topk experts of each token, none twice, so that each expert gets its rows.

    Rows are dealt expert after expert to tokens in turn: an expert has at most `tokens` rows, so it meets no token twice.
    """
    chosen = [[] for _ in range(tokens)]
    position = 0
    for expert, count in enumerate(rows):
        for _ in range(count):
            chosen[position % tokens].append(expert)
            position += 1
    if position != tokens * topk:
        raise ValueError(f"{position} rows for {tokens} tokens with {topk} experts each")
    return chosen
