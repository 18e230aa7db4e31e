// Batches: chunking, additivity, memo keys, monotony.
#include <algorithm>
#include <functional>
#include <vector>

#include "models/llm/lowering.hpp"
#include "models/llm/memory.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

const std::vector<Architecture>& models() {
  static const std::vector<Architecture> all = [] {
    std::vector<Architecture> loaded;
    for (const auto id : test::kZoo) loaded.push_back(test::zoo(id));
    return loaded;
  }();
  return all;
}

const BatchRule kExact{1, {KeyRule{}}};

SequenceChunk arbitrary_chunk() {
  return {*rc::gen::inRange<std::int64_t>(1, 2000), *rc::gen::inRange<std::int64_t>(0, 100'000),
          *rc::gen::arbitrary<bool>()};
}

AttentionLoad both(const RankBatch& batch) {
  AttentionLoad sum = batch.loads[0].prefill;
  sum += batch.loads[0].decode;
  return sum;
}

std::int64_t divide_up(std::int64_t value, std::int64_t divisor) { return (value + divisor - 1) / divisor; }

// Bytes and FLOPs of a step on one rank, as a list, to compare them one by one.
std::vector<std::int64_t> totals(const Architecture& model, const RankBatch& batch) {
  StepOperators step;
  lower(model, {}, {}, batch, batch.tokens, step);
  std::vector<std::int64_t> sum(8, 0);
  const auto add = [&](std::vector<Operator>& operators, std::int64_t count) {
    for (Operator& op : operators) {
      std::vector<std::int64_t> rows;
      if (const auto* grouped = std::get_if<GroupedGemm>(&op)) {
        rows.assign(static_cast<std::size_t>(grouped->experts), batch.tokens);
      } else if (std::holds_alternative<RoutedElementwise>(op)) {
        rows.assign(1, batch.tokens);
      }
      set_expert_rows({&op, 1}, rows);
      const Work work = work_of(op);
      const std::vector<std::int64_t> parts = {
          work.matmul_flops,  work.other_flops,           work.specials,       work.weight_read_bytes,
          work.kv_read_bytes, work.activation_read_bytes, work.kv_write_bytes, work.activation_write_bytes};
      for (std::size_t i = 0; i < parts.size(); ++i) sum[i] += count * parts[i];
    }
  };
  add(step.embedding, 1);
  for (LayerOperators& layer : step.layers) add(layer.operators, layer.count);
  add(step.head, 1);
  return sum;
}

TEST_CASE("chunks of a prompt have the pairs of the whole prompt") {
  CHECK(rc::check([] {
    const auto cached = *rc::gen::inRange<std::int64_t>(0, 5000);
    const auto chunks = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 3000)));
    RankBatch parts;
    std::int64_t context = cached;
    for (const std::int64_t tokens : chunks) {
      add_chunk(parts, {tokens, context}, kExact);
      context += tokens;
    }
    RankBatch whole;
    add_chunk(whole, {context - cached, cached}, kExact);
    RC_ASSERT(parts.tokens == whole.tokens);
    RC_ASSERT(both(parts).pairs == both(whole).pairs);
    RC_ASSERT(both(parts).query_tokens == both(whole).query_tokens);
    RC_ASSERT(both(parts).kv_tokens >= both(whole).kv_tokens);  // each chunk reads its context again
  }));
}

TEST_CASE("chunks that end at block borders have the pairs of the whole prompt in whole blocks too") {
  CHECK(rc::check([] {
    const auto block = *rc::gen::element<std::int64_t>(16, 64, 128);
    const BatchRule rule{block, {KeyRule{}}};
    const auto chunks = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 30)));
    RankBatch parts;
    std::int64_t context = 0;
    for (const std::int64_t blocks : chunks) {
      add_chunk(parts, {blocks * block, context}, rule);
      context += blocks * block;
    }
    RankBatch whole;
    add_chunk(whole, {context, 0}, rule);
    RC_ASSERT(parts.loads[0].prefill.pairs == whole.loads[0].prefill.pairs);
  }));
}

TEST_CASE("rounding to blocks never counts less, and at most a block per query more") {
  CHECK(rc::check([] {
    const auto block = *rc::gen::element<std::int64_t>(16, 64, 128);
    const SequenceChunk chunk = arbitrary_chunk();
    RankBatch exact, rounded;
    add_chunk(exact, chunk, kExact);
    add_chunk(rounded, chunk, {block, {KeyRule{}}});
    RC_ASSERT(both(rounded).pairs >= both(exact).pairs);
    RC_ASSERT(both(rounded).pairs < both(exact).pairs + chunk.new_tokens * block);
    RC_ASSERT(both(rounded).kv_tokens >= both(exact).kv_tokens);
    RC_ASSERT(both(rounded).kv_tokens < both(exact).kv_tokens + block);
    RC_ASSERT(rounded.tokens == exact.tokens);
  }));
}

TEST_CASE("batches are additive, whatever the order, and equal batches hash alike") {
  CHECK(rc::check([] {
    const auto& model = *rc::gen::elementOf(models());
    const BatchRule rule = batch_rule(model, 64);
    std::vector<SequenceChunk> chunks;
    const int count = *rc::gen::inRange(1, 10);
    for (int i = 0; i < count; ++i) chunks.push_back(arbitrary_chunk());
    RankBatch forward, sum;
    for (const SequenceChunk& chunk : chunks) {
      add_chunk(forward, chunk, rule);
      RankBatch alone;
      add_chunk(alone, chunk, rule);
      sum += alone;
    }
    RankBatch backward;
    std::for_each(chunks.rbegin(), chunks.rend(),
                  [&](const SequenceChunk& chunk) { add_chunk(backward, chunk, rule); });
    RC_ASSERT(forward == backward);
    RC_ASSERT(forward == sum);
    RC_ASSERT(std::hash<RankBatch>{}(forward) == std::hash<RankBatch>{}(backward));
  }));
}

TEST_CASE("a decode step has the key of the step before until its sequence enters a block") {
  CHECK(rc::check([] {
    const auto block = *rc::gen::element<std::int64_t>(16, 64, 128);
    const auto context = *rc::gen::inRange<std::int64_t>(0, 10'000);
    RankBatch now, next;
    add_chunk(now, {1, context}, {block, {KeyRule{}}});
    add_chunk(next, {1, context + 1}, {block, {KeyRule{}}});
    RC_ASSERT((now == next) == ((context + 1) % block != 0));
  }));
}

TEST_CASE("more tokens or more context never mean less work") {
  CHECK(rc::check([] {
    const auto& model = *rc::gen::elementOf(models());
    // In one attention form: at the border between two, the cheaper one may read other bytes.
    BatchRule rule = batch_rule(model, 64);
    for (KeyRule& keys : rule.rules) keys.naive_saves_per_pair = keys.expand_per_key = 0;
    const SequenceChunk small{*rc::gen::inRange<std::int64_t>(2, 500),
                              *rc::gen::inRange<std::int64_t>(0, 5000)};
    SequenceChunk large = small;
    large.new_tokens += *rc::gen::inRange<std::int64_t>(0, 100);
    large.context_tokens += *rc::gen::inRange<std::int64_t>(0, 1000);
    RankBatch one, two;
    add_chunk(one, small, rule);
    add_chunk(two, large, rule);
    const auto less = totals(model, one), more = totals(model, two);
    for (std::size_t i = 0; i < less.size(); ++i) RC_ASSERT(less[i] <= more[i]);
  }));
}

TEST_CASE("choosing the attention form never costs more multiply-accumulates than either form for all") {
  CHECK(rc::check([] {
    const Architecture& model = models().back();  // DeepSeek-V3
    const BatchRule chosen = batch_rule(model, 64);
    BatchRule naive = chosen, absorbed = chosen;
    naive.rules[0].naive_saves_per_pair = 0;
    naive.rules[0].expand_per_key = 0;
    absorbed.rules[0].naive_saves_per_pair = -1;  // never saves
    const SequenceChunk chunk{*rc::gen::inRange<std::int64_t>(2, 2000),
                              *rc::gen::inRange<std::int64_t>(0, 50'000)};
    const auto flops = [&](const BatchRule& rule) {
      RankBatch batch;
      add_chunk(batch, chunk, rule);
      return totals(model, batch).front();
    };
    RC_ASSERT(flops(chosen) == std::min(flops(naive), flops(absorbed)));
  }));
}

TEST_CASE("memory never shrinks with tokens, sequences or fewer ranks") {
  CHECK(rc::check([] {
    const auto& model = *rc::gen::elementOf(models());
    const auto tp = *rc::gen::element<std::int64_t>(1, 2, 4);
    const StepShape small{*rc::gen::inRange<std::int64_t>(1, 8192), *rc::gen::inRange<std::int64_t>(0, 256)};
    const StepShape large{small.tokens + *rc::gen::inRange<std::int64_t>(0, 1000),
                          small.logit_sequences + *rc::gen::inRange<std::int64_t>(0, 100)};
    const Layout layout{tp, 1, 1}, wider{2 * tp, 1, 1};
    RC_ASSERT(activation_peak_bytes(model, layout, {}, small) <=
              activation_peak_bytes(model, layout, {}, large));
    RC_ASSERT(weight_bytes_per_rank(model, wider, {}).total() <
              weight_bytes_per_rank(model, layout, {}).total());
  }));
}

TEST_CASE("bytes of a format: additive over whole blocks, monotone, never below the plain bits") {
  CHECK(rc::check([] {
    const auto format = static_cast<NumberFormat>(*rc::gen::inRange(0, static_cast<int>(kNumberFormats)));
    const auto elements = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    const auto more = elements + *rc::gen::inRange<std::int64_t>(0, 1000);
    RC_ASSERT(bytes_for(elements, format) <= bytes_for(more, format));
    const Ratio bits = bits_per_element(format);
    RC_ASSERT(bytes_for(elements, format) == divide_up(elements * bits.numerator, 8 * bits.denominator));
    const auto outputs = *rc::gen::inRange<std::int64_t>(1, 20),
               inputs = *rc::gen::inRange<std::int64_t>(1, 20);
    RC_ASSERT(matrix_bytes(128 * outputs, 128 * inputs, format) ==
              bytes_for(128 * outputs * 128 * inputs, format));
    RC_ASSERT(matrix_bytes(outputs, inputs, format) >= divide_up(outputs * inputs * element_bits(format), 8));
    RC_ASSERT(row_bytes(inputs, format) <= row_bytes(inputs + 1, format));
  }));
}

}  // namespace
}  // namespace moesim::llm
