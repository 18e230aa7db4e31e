// Paged KV caches: units of a sequence against the pages counted one by one, and what paging wastes.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "models/llm/memory.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;
using enum NumberFormat;

// Most bytes of whole pages that a sequence has had while it grew to `tokens`: the pages of each kind of row
// that hold a token which is still seen, found token by token, and the state.
std::int64_t counted_bytes(const Architecture& model, const Layout& layout, NumberFormat kv,
                           std::int64_t block, std::int64_t tokens) {
  if (tokens == 0) return 0;
  std::int64_t bytes = state_bytes(model, layout);
  for (const KvRows& rows : kv_rows(model, layout, kv)) {
    std::int64_t rows_per_page = 0;
    for (std::int64_t token = 0; token < block; token += rows.ratio) ++rows_per_page;
    std::size_t most = 0;
    for (std::int64_t now = 1; now <= tokens; ++now) {
      std::set<std::int64_t> pages;
      const std::int64_t first = rows.keeps > 0 ? std::max<std::int64_t>(0, now - rows.keeps) : 0;
      for (std::int64_t token = first; token < now; ++token) pages.insert(token / block);
      most = std::max(most, pages.size());
    }
    bytes += static_cast<std::int64_t>(most) * rows_per_page * rows.layers * rows.bytes;
  }
  return bytes;
}

TEST_CASE("units of a sequence are its pages, counted token by token") {
  for (const char* name : {"llama-3.1-8b", "gpt-oss-20b", "deepseek-v3.2", "qwen3-next-80b-a3b"}) {
    const Architecture model = zoo(name);
    for (const std::int64_t block : {1, 16, 48}) {
      const KvPages pages(model, {2, 1, 1}, bf16, block);
      for (const std::int64_t tokens : {0, 1, 15, 16, 17, 100, 127, 128, 129, 145, 300}) {
        INFO(name << ", blocks of " << block << ", " << tokens << " tokens");
        CHECK(pages.units(tokens) * pages.unit_bytes() ==
              counted_bytes(model, {2, 1, 1}, bf16, block, tokens));
      }
    }
  }
  const Architecture pooled = zoo("deepseek-v4-flash");
  for (const std::int64_t block : {256, 512}) {
    const KvPages pages(pooled, {}, fp8, block);
    for (const std::int64_t tokens : {1, 128, 256, 257, 700, 1025}) {
      CHECK(pages.units(tokens) * pages.unit_bytes() == counted_bytes(pooled, {}, fp8, block, tokens));
    }
  }
}

TEST_CASE("the parts of a sequence are its units and its bytes, and nothing more") {
  for (const char* name : {"llama-3.1-8b", "gpt-oss-20b", "deepseek-v3.2", "qwen3-next-80b-a3b",
                           "deepseek-v4-flash", "llama-4-scout"}) {
    const Architecture model = zoo(name);
    const KvPages pages(model, {2, 1, 1}, bf16, 256);
    std::vector<KvBytes> all(pages.parts());
    CHECK(pages.parts() == kv_rows(model, {2, 1, 1}, bf16).size() + 1);
    for (const std::int64_t tokens : {0, 1, 128, 129, 256, 257, 1025, 9000}) {
      INFO(name << ", " << tokens << " tokens");
      std::vector<KvBytes> parts(pages.parts());
      pages.add_bytes(tokens, 1, parts);
      KvBytes sum;
      for (const KvBytes& part : parts) {
        CHECK(part.used >= part.held);
        CHECK(part.held >= 0);
        sum.used += part.used;
        sum.held += part.held;
      }
      CHECK(sum.used == pages.units(tokens) * pages.unit_bytes());
      CHECK(sum.held == pages.held_bytes(tokens));
      const std::int64_t state = tokens > 0 ? state_bytes(model, {2, 1, 1}) : 0;
      CHECK(parts.back() == KvBytes{state, state});
      pages.add_bytes(tokens, 3, all);
      pages.add_bytes(tokens, -2, all);
      pages.add_bytes(tokens, -1, all);
    }
    CHECK(all == std::vector<KvBytes>(pages.parts()));
  }
  // Plain pages have no bytes in them.
  std::vector<KvBytes> plain(2);
  KvPages(16).add_bytes(33, 1, plain);
  CHECK(plain == std::vector<KvBytes>{{3, 0}, {0, 0}});
}

TEST_CASE("kinds of rows have names, no two alike") {
  const auto names = [](const char* model) { return kv_names(kv_rows(zoo(model), {}, bf16)); };
  using Names = std::vector<std::string>;
  CHECK(names("llama-3.1-8b") == Names{"full"});
  CHECK(names("gpt-oss-20b") == Names{"window_128", "full"});
  CHECK(names("llama-4-scout") == Names{"chunk_8192", "full"});
  CHECK(names("deepseek-v3.2") == Names{"latent"});
  CHECK(names("deepseek-v4-flash") == Names{"window_128", "pooled_4", "pooled_128"});
  const std::vector<KvRows> alike = {{1, 10}, {1, 20}, {1, 10, 1, 64, KvKind::window}, {1, 30}};
  CHECK(kv_names(alike) == Names{"full", "full_2", "window_64", "full_3"});
  const auto rows = kv_rows(zoo("deepseek-v3.2"), {}, bf16);
  CHECK(rows.at(0).index_bytes == 256);
}

TEST_CASE("a model of one kind of row has units of one page") {
  const KvPages pages(zoo("llama-3.1-8b"), {8, 1, 1}, bf16, 16);
  CHECK(pages.unit_bytes() == 16 * 16'384);
  for (std::int64_t tokens = 0; tokens < 100; ++tokens) {
    CHECK(pages.units(tokens) == (tokens + 15) / 16);
    CHECK(KvPages(16).units(tokens) == (tokens + 15) / 16);
  }
}

TEST_CASE("units never fall, hold the rows, and two sequences take no less than one of both lengths") {
  for (const char* name : {"llama-3.1-70b", "gpt-oss-120b", "llama-4-scout", "deepseek-v4-pro", "kimi-k3"}) {
    const Architecture model = zoo(name);
    const KvPages pages(model, {}, bf16, 256);
    std::int64_t before = 0;
    for (std::int64_t tokens = 1; tokens < 20'000; tokens += 37) {
      const std::int64_t units = pages.units(tokens);
      CHECK(units >= before);
      CHECK(units * pages.unit_bytes() >= kv_bytes(model, {}, bf16, tokens));
      CHECK(pages.held_bytes(tokens) == kv_bytes(model, {}, bf16, tokens));
      CHECK(units <= pages.units(tokens / 3) + pages.units(tokens - tokens / 3));
      // longest() is the inverse.
      const std::int64_t longest = pages.longest(units, 1'000'000);
      CHECK(longest >= tokens);
      CHECK(pages.units(longest) <= units);
      CHECK(pages.units(longest + 1) > units);
      before = units;
    }
    CHECK(pages.longest(pages.units(1) - 1, 1'000'000) == 0);
    CHECK(pages.longest(pages.units(5000), 4000) == 4000);
  }
}

TEST_CASE("context parallel ranks hold a part of the tokens each") {
  Layout layout{2, 1, 1};
  layout.cp = 4;
  const KvPages pages(zoo("llama-3.1-8b"), layout, bf16, 16);
  CHECK(pages.units(16 * 4) == 1);
  CHECK(pages.units(16 * 4 + 1) == 2);
  CHECK(pages.held_bytes(16 * 4 + 1) == kv_bytes(zoo("llama-3.1-8b"), layout, bf16, 16 * 4 + 1));
  CHECK(pages.held_bytes(16 * 4 + 1) == 17 * 65'536);
}

// routing_and_context 5.3: the last block of a sequence is empty for (block - 1) / 2 tokens in the mean.
TEST_CASE("the tail of a sequence wastes (block - 1) / 2 tokens") {
  struct Case {
    std::int64_t block, tokens;
    double percent, half_digit;
  };
  for (const Case& c : {Case{16, 512, 1.44, 0.005}, Case{16, 8192, 0.09, 0.005}, Case{256, 512, 19.9, 0.05},
                        Case{256, 8192, 1.5, 0.05}}) {
    const KvPages pages(zoo("llama-3.1-8b"), {}, bf16, c.block);
    std::int64_t wasted = 0;
    for (std::int64_t tokens = c.tokens; tokens < c.tokens + c.block; ++tokens) {
      wasted += pages.units(tokens) * pages.unit_bytes() / 131'072 - tokens;
    }
    CHECK(2 * wasted == c.block * (c.block - 1));
    const double mean = static_cast<double>(wasted) / static_cast<double>(c.block);
    CHECK(std::abs(100 * mean / (static_cast<double>(c.tokens) + mean) - c.percent) <= c.half_digit);
  }
}

// The same page for window and full layers (one pool without units) would waste up to the ratio of both;
// units of their greatest common divisor lose nothing (the idea of Jenga, arXiv 2503.18292).
TEST_CASE("kinds of rows share the pool without a rest") {
  const Architecture model = zoo("gpt-oss-120b");
  const KvPages pages(model, {}, bf16, 16);
  // At 128 Ki tokens: 8,192 pages of 18 layers, and 9 of the window.
  CHECK(pages.units(131'072) * pages.unit_bytes() == (8192 + 9) * 16 * 18 * 2048LL);
}

}  // namespace
}  // namespace moesim::llm
