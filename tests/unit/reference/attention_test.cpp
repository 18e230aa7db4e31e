// Attention kernels: equal bits where the order of the arithmetic is the same, and the corners of masks.
#include <limits>

#include "models/reference/attention_merge.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"

namespace moesim::reference {
namespace {

using test::Answer;
using test::Problem;
using test::ProblemShape;

const float kInfinite = std::numeric_limits<float>::infinity();
const float kNotANumber = std::numeric_limits<float>::quiet_NaN();

std::vector<Problem<float>> masked_problems() {
  std::vector<Problem<float>> problems;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) problems.emplace_back(ProblemShape{}, seed);
  problems[1].options.mask.window = 5;
  problems[2].options.mask.chunk = 11;
  problems[3].add_custom(77);
  problems[4].add_sinks(78);
  problems[4].options.soft_cap = 3.0;
  problems[5].options.mask.causal = false;
  problems[5].options.bf16_probabilities = true;
  return problems;
}

TEST_CASE("prefill and decode order and any tile of queries give the same bits") {
  for (const Problem<float>& problem : masked_problems()) {
    Answer<float> tiled(problem.shape), decode(problem.shape), rows(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, tiled.output);
    attention_decode(problem.queries(), problem.source(), problem.options, decode.output);
    AttentionOptions options = problem.options;
    options.tile.queries = 1;
    attention_tiled(problem.queries(), problem.source(), options, rows.output);
    CHECK(tiled.same(decode));
    CHECK(tiled.same(rows));
  }
}

TEST_CASE("a prompt in chunks or behind a cached prefix gives the bits of one piece") {
  for (const Problem<float>& problem : masked_problems()) {
    if (!problem.custom.empty()) continue;  // the mask of a piece is another one
    Answer<float> whole(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, whole.output);
    Answer<float> pieces(problem.shape);
    for (const std::int64_t first : {0, 3, 4}) {
      const std::int64_t count = first == 0 ? 3 : first == 3 ? 1 : problem.shape.queries - 4;
      QueryRows<float> queries = problem.queries();
      queries.rows.data = queries.rows.row(0, first);
      queries.rows.rows = count;
      AttentionOutput<float> output = pieces.output;
      output.rows.data = pieces.output.rows.row(0, first);
      output.rows.rows = count;
      output.lse = {};
      AttentionOptions options = problem.options;
      options.first_query += first;
      // Keys of later tokens are not there yet.
      ContiguousKeyValues<float> source = problem.source();
      if (options.mask.causal) {
        source.key_rows.rows = options.first_query + count;
        source.value_rows.rows = source.key_rows.rows;
      }
      attention_tiled(queries, source, options, output);
    }
    CHECK(whole.o == pieces.o);
  }
}

// The keys of a problem in pages of `rows` keys, spread over a pool.
template <class Value>
struct Pages {
  std::vector<Value> keys, values;
  std::vector<std::int32_t> table;
  PagedKeyValues<Value> source;

  Pages(const Problem<Value>& problem, std::int64_t rows) {
    const ProblemShape& shape = problem.shape;
    const std::int64_t pages = core::divide_up(shape.keys, rows);
    for (std::int64_t i = 0; i < pages; ++i)
      table.push_back(static_cast<std::int32_t>((i * 5 + 2) % (pages * 5 + 3)));
    const auto pool_rows = (pages * 5 + 3) * rows;
    const auto fill = [&](const HeadRows<const Value>& from, std::vector<Value>& pool) {
      pool.resize(static_cast<std::size_t>(pool_rows * from.heads * from.width));
      for (std::int64_t j = 0; j < shape.keys; ++j) {
        const std::int64_t at = table[static_cast<std::size_t>(j / rows)] * rows + j % rows;
        for (std::int64_t h = 0; h < from.heads; ++h)
          std::copy_n(from.row(h, j), from.width, pool.data() + (at * from.heads + h) * from.width);
      }
    };
    fill(problem.source().key_rows, keys);
    fill(problem.source().value_rows, values);
    source.key_pool = keys;
    source.value_pool = values;
    source.pages = table;
    source.page_rows = rows;
    source.keys = shape.keys;
    source.kv_heads = shape.kv_heads;
    source.key_width = shape.key_dim;
    source.value_width = shape.value_dim;
  }
};

TEST_CASE("paged keys give the bits of contiguous ones, and a wrong page does not") {
  for (const Problem<float>& problem : masked_problems()) {
    for (const std::int64_t rows : {1, 3, 8, 16}) {
      const Pages<float> pages(problem, rows);
      Answer<float> contiguous(problem.shape), paged(problem.shape), wrong(problem.shape);
      attention_decode(problem.queries(), problem.source(), problem.options, contiguous.output);
      attention_decode(problem.queries(), pages.source, problem.options, paged.output);
      CHECK(contiguous.same(paged));
      FaultProbe<Fault::page_off_by_one> fault;
      attention_decode(problem.queries(), pages.source, problem.options, wrong.output, fault);
      CHECK_FALSE(contiguous.same(wrong));
    }
  }
}

TEST_CASE("a batch over one pool decodes each sequence as if it were alone") {
  const Problem<Bf16> problem(ProblemShape{8, 2, 3, 40, 16, 16}, 5);
  const Pages<Bf16> pages(problem, 4);
  const std::vector<std::int64_t> lengths = {40, 17, 1};
  std::vector<std::int32_t> tables;
  for (std::size_t b = 0; b < lengths.size(); ++b)
    tables.insert(tables.end(), pages.table.begin(), pages.table.end());
  Answer<Bf16> batch(problem.shape);
  attention_decode_paged(problem.queries(), pages.source, tables, lengths, problem.options,
                         AttentionOutput<Bf16>{batch.output.rows});
  for (std::int64_t b = 0; b < 3; ++b) {
    Answer<Bf16> alone(problem.shape);
    QueryRows<Bf16> queries = problem.queries();
    queries.rows.data = queries.rows.row(0, b);
    queries.rows.rows = 1;
    AttentionOutput<Bf16> output{alone.output.rows};
    output.rows.data = output.rows.row(0, b);
    output.rows.rows = 1;
    AttentionOptions options = problem.options;
    options.first_query = lengths[static_cast<std::size_t>(b)] - 1;
    attention_decode(queries, problem.source(), options, output);
    for (std::int64_t h = 0; h < 8; ++h) {
      for (std::int64_t c = 0; c < 16; ++c)
        CHECK(alone.output.rows.row(h, b)[c] == batch.output.rows.row(h, b)[c]);
    }
  }
}

TEST_CASE("queries that see nothing have result 0 and -infinity, or their sink") {
  // More queries than keys: the first ones stand before all keys.
  Problem<float> problem(ProblemShape{2, 1, 7, 3, 8, 5}, 3);
  for (const bool sinks : {false, true}) {
    if (sinks) problem.add_sinks(4);
    Answer<float> tiled(problem.shape);
    Answer<double, double> naive(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, tiled.output);
    attention_naive<double>(problem.queries(), problem.source(), problem.options, naive.output);
    for (std::int64_t h = 0; h < 2; ++h) {
      for (std::int64_t i = 0; i < 4; ++i) {
        const auto at = static_cast<std::size_t>(h * 7 + i);
        const float expected = sinks ? problem.sinks[static_cast<std::size_t>(h)] : -kInfinite;
        CHECK(tiled.lse[at] == expected);
        CHECK(naive.lse[at] == static_cast<double>(expected));
        for (std::int64_t c = 0; c < 5; ++c) CHECK(tiled.output.rows.row(h, i)[c] == 0.0F);
      }
      CHECK(tiled.lse[static_cast<std::size_t>(h * 7 + 4)] != -kInfinite);
    }
  }
  // All keys hidden by a custom mask; no keys at all.
  problem.custom.assign(21, 0);
  problem.options.mask.custom = problem.custom;
  problem.options.mask.custom_keys = 3;
  problem.sinks.clear();
  Answer<float> hidden(problem.shape);
  attention_decode(problem.queries(), problem.source(), problem.options, hidden.output);
  for (const float lse : hidden.lse) CHECK(lse == -kInfinite);
  const Problem<float> empty(ProblemShape{2, 1, 2, 0, 8, 5}, 3);
  Answer<float> none(empty.shape);
  attention_tiled(empty.queries(), empty.source(), empty.options, none.output);
  for (const float lse : none.lse) CHECK(lse == -kInfinite);
}

TEST_CASE("a window of one key and a chunk of one token give the value of the query's own key") {
  for (const bool window : {true, false}) {
    Problem<float> problem(ProblemShape{}, 9, 100.0F);
    (window ? problem.options.mask.window : problem.options.mask.chunk) = 1;
    Answer<float> got(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, got.output);
    for (std::int64_t h = 0; h < problem.shape.heads; ++h) {
      for (std::int64_t i = 0; i < problem.shape.queries; ++i) {
        const float* value = problem.source().value_rows.row(h / 2, problem.options.first_query + i);
        for (std::int64_t c = 0; c < problem.shape.value_dim; ++c)
          CHECK(got.output.rows.row(h, i)[c] == value[c]);
      }
    }
  }
}

TEST_CASE("what a query does not see may hold anything") {
  for (Problem<float> problem : masked_problems()) {
    Answer<float> before(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, before.output);
    // Spoil the last key; only queries that see it change.
    for (std::int64_t h = 0; h < problem.shape.kv_heads; ++h) {
      const std::int64_t last = problem.shape.keys - 1;
      std::fill_n(problem.v.begin() + problem.source().value_rows.index(h, last), problem.shape.value_dim,
                  kNotANumber);
      std::fill_n(problem.k.begin() + problem.source().key_rows.index(h, last), problem.shape.key_dim,
                  kInfinite);
    }
    Answer<float> after(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, after.output);
    for (std::int64_t i = 0; i < problem.shape.queries; ++i) {
      const bool sees = problem.custom.empty()
                            ? i == problem.shape.queries - 1 || !problem.options.mask.causal
                            : problem.custom[static_cast<std::size_t>((i + 1) * problem.shape.keys - 1)] != 0;
      if (sees) continue;
      for (std::int64_t c = 0; c < problem.shape.value_dim; ++c)
        CHECK(before.output.rows.row(1, i)[c] == after.output.rows.row(1, i)[c]);
    }
  }
}

TEST_CASE("chosen keys in ascending order give what a mask of them gives") {
  Problem<float> problem(ProblemShape{6, 2, 5, 40, 8, 8}, 21);
  problem.options.mask.causal = false;
  std::vector<std::int32_t> chosen = {0,  3,  8, 9, 39, -1, -1, -1, -1, -1, 1,  2, 3,
                                      -1, -1, 5, 6, 7,  20, 21, 17, 18, 19, 30, -1};
  problem.custom.assign(200, 0);
  for (std::int64_t i = 0; i < 5; ++i) {
    for (std::int64_t n = 0; n < 5; ++n) {
      const std::int32_t key = chosen[static_cast<std::size_t>(i * 5 + n)];
      if (key >= 0) problem.custom[static_cast<std::size_t>(i * 40 + key)] = 1;
    }
  }
  problem.options.mask.custom = problem.custom;
  problem.options.mask.custom_keys = 40;
  problem.options.tile.keys = 64;  // one tile, so that the tiles are the same
  Answer<float> masked(problem.shape), gathered(problem.shape);
  attention_tiled(problem.queries(), problem.source(), problem.options, masked.output);
  attention_chosen(problem.queries(), problem.source(), chosen, 5, problem.options, gathered.output);
  CHECK(masked.same(gathered));
  chosen[0] = 40;
  CHECK_THROWS_AS(
      attention_chosen(problem.queries(), problem.source(), chosen, 5, problem.options, gathered.output),
      core::InvariantError);
}

TEST_CASE("quantised keys and values give the bits of their decoded values") {
  Problem<float> plain(ProblemShape{}, 31);
  test::Numbers numbers(32);
  std::vector<std::uint8_t> k_codes, v_codes;
  std::vector<float> table(256);
  for (std::size_t i = 0; i < 256; ++i) table[i] = static_cast<float>(i) / 64.0F - 2.0F;
  const std::vector<float> k_scales = {0.3F, 1.7F}, v_scale = {0.77F};
  for (std::size_t i = 0; i < plain.k.size(); ++i) {
    k_codes.push_back(static_cast<std::uint8_t>(numbers.next() & 0xFFU));
    plain.k[i] = table[k_codes.back()] * k_scales[i / (plain.k.size() / 2)];
  }
  for (float& value : plain.v) {
    v_codes.push_back(static_cast<std::uint8_t>(numbers.next() & 0xFFU));
    value = table[v_codes.back()] * v_scale[0];
  }
  ContiguousKeyValues<std::uint8_t, TableDecode> source;
  source.key_rows = heads_first(std::span<const std::uint8_t>(k_codes), 2, 37, 16);
  source.value_rows = heads_first(std::span<const std::uint8_t>(v_codes), 2, 37, 12);
  source.key_decode = {table, k_scales};
  source.value_decode = {table, v_scale};
  Answer<float> want(plain.shape), got(plain.shape);
  attention_tiled(plain.queries(), plain.source(), plain.options, want.output);
  attention_tiled(plain.queries(), source, plain.options, got.output);
  CHECK(want.same(got));
  CHECK(IntegerDecode{k_scales}(-3, 1) == -3.0F * 1.7F);
}

TEST_CASE("attention refuses shapes that do not fit") {
  const Problem<float> problem(ProblemShape{}, 1);
  Answer<float> got(problem.shape);
  const auto run = [&](const QueryRows<float>& queries, const AttentionOptions& options) {
    attention_tiled(queries, problem.source(), options, got.output);
  };
  QueryRows<float> queries = problem.queries();
  queries.rows.heads = 3;
  CHECK_THROWS_AS(run(queries, problem.options), core::InvariantError);
  queries = problem.queries();
  queries.rows.width = 8;
  CHECK_THROWS_AS(run(queries, problem.options), core::InvariantError);
  queries = problem.queries();
  queries.sinks = std::span(problem.q).first(3);
  CHECK_THROWS_AS(run(queries, problem.options), core::InvariantError);
  AttentionOptions options = problem.options;
  options.tile.keys = 0;
  CHECK_THROWS_AS(run(problem.queries(), options), core::InvariantError);
  options = problem.options;
  options.mask.custom = std::span(reinterpret_cast<const std::uint8_t*>(problem.q.data()), 5);
  CHECK_THROWS_AS(run(problem.queries(), options), core::InvariantError);
  CHECK_THROWS_AS(heads_first(std::span<const float>(problem.q), 4, 9, 15), core::InvariantError);
}

}  // namespace
}  // namespace moesim::reference
