#include "sim/serving/engine_rank.hpp"

#include "tests/support/catch.hpp"

using namespace moesim;
using serving::EngineRank;
using serving::Sequence;

namespace {

const llm::BatchRule kRule{1, {llm::KeyRule{}}};

serving::RankRules rules(std::int64_t budget, std::int64_t sequences = 1000) {
  return {budget, sequences, llm::KvPages(16), true, true, true};
}

Sequence sequence(std::int64_t request, std::int64_t input, std::int64_t output) {
  return {request, input, output, 0, 0, 0, 0};
}

struct Step {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t decodes = 0;
  std::vector<serving::TokenOut> out;
};

Step run_step(EngineRank& rank) {
  llm::RankBatch batch;
  Step step;
  rank.take_arrivals();
  step.sequences = rank.schedule(kRule, {&batch, 1});
  step.tokens = rank.step_tokens();
  step.decodes = rank.step_decode_tokens();
  CHECK(batch.tokens == step.tokens);
  CHECK(rank.sequences_in_step() == step.sequences);
  rank.finish_step(step.out);
  return step;
}

}  // namespace

// serving_engines: vLLM with a budget of 8,192, 100 decodes and a prompt of 20,000 tokens: chunks 8092, 8092,
// 3816.
TEST_CASE("a long prompt is cut by what the decodes leave of the budget") {
  EngineRank rank(rules(8192), 100'000);
  for (int i = 0; i < 100; ++i) rank.enqueue(sequence(i, 16, 1000));
  CHECK(run_step(rank).tokens == 1600);
  rank.enqueue(sequence(100, 20'000, 10));
  for (const std::int64_t chunk : {8092, 8092, 3816}) {
    const Step step = run_step(rank);
    CHECK(step.decodes == 100);
    CHECK(step.tokens - step.decodes == chunk);
  }
  CHECK(run_step(rank).decodes == 101);
}

TEST_CASE("without mixed steps prompts run alone and the decodes wait") {
  serving::RankRules alone = rules(8192);
  alone.mixed_steps = false;
  EngineRank rank(alone, 100'000);
  for (int i = 0; i < 100; ++i) rank.enqueue(sequence(i, 16, 1000));
  run_step(rank);
  rank.enqueue(sequence(100, 20'000, 10));
  for (const std::int64_t chunk : {8192, 8192, 3616}) {
    const Step step = run_step(rank);
    CHECK(step.decodes == 0);
    CHECK(step.tokens == chunk);
  }
  CHECK(run_step(rank).decodes == 101);
}

TEST_CASE("the sequence admitted last is preempted, computed again and served") {
  EngineRank rank(rules(8192), 8);  // 128 tokens
  rank.enqueue(sequence(0, 48, 60));
  rank.enqueue(sequence(1, 48, 60));
  std::vector<int> done;
  std::int64_t tokens_out = 0;
  for (int step = 0; step < 500 && rank.has_work(); ++step) {
    for (const serving::TokenOut& token : run_step(rank).out) {
      ++tokens_out;
      if (token.last) done.push_back(static_cast<int>(token.request));
    }
  }
  CHECK(done == std::vector<int>{0, 1});
  CHECK(tokens_out == 120);
  CHECK(rank.preemptions() >= 1);
  CHECK(rank.kv().used() == 0);
  CHECK(rank.kv().allocated() == rank.kv().released());
  CHECK(rank.kv().peak() <= 8);
  CHECK(rank.tokens_computed() == 2 * (48 + 60 - 1) + rank.tokens_lost());
}

TEST_CASE("the head of the queue is not overtaken") {
  EngineRank rank(rules(8192), 10);  // 160 tokens
  rank.enqueue(sequence(0, 100, 20));
  rank.enqueue(sequence(1, 120, 10));  // does not fit beside 0
  rank.enqueue(sequence(2, 16, 10));   // would fit, but comes later
  CHECK(run_step(rank).sequences == 1);
  CHECK(rank.waiting() == 2);
}

TEST_CASE("at most max_num_seqs sequences run") {
  EngineRank rank(rules(8192, 3), 1000);
  for (int i = 0; i < 5; ++i) rank.enqueue(sequence(i, 16, 4));
  CHECK(run_step(rank).sequences == 3);
  CHECK(rank.waiting() == 2);
}

TEST_CASE("reserving the whole prompt admits later than reserving a chunk") {
  serving::RankRules chunk_only = rules(32);
  chunk_only.reserve_full_prompt = false;
  EngineRank eager(chunk_only, 6), careful(rules(32), 6);
  for (EngineRank* rank : {&eager, &careful}) {
    rank->enqueue(sequence(0, 30, 2));
    rank->enqueue(sequence(1, 90, 2));
    run_step(*rank);
  }
  CHECK(eager.running() == 2);
  CHECK(careful.running() == 1);
}

TEST_CASE("a recompute that outgrew the budget is cut even when prompts are not") {
  serving::RankRules whole_prompts = rules(64);
  whole_prompts.chunked_prefill = false;
  EngineRank rank(whole_prompts, 12);  // 192 tokens
  rank.enqueue(sequence(0, 60, 100));
  rank.enqueue(sequence(1, 60, 100));  // preempted with more than 64 tokens
  std::int64_t served = 0;
  for (int step = 0; step < 1000 && rank.has_work(); ++step) {
    for (const serving::TokenOut& token : run_step(rank).out) served += token.last ? 1 : 0;
  }
  CHECK(served == 2);
  CHECK(rank.preemptions() >= 1);
}

TEST_CASE("prompts that may not be cut wait for a whole budget") {
  serving::RankRules whole_prompts = rules(64);
  whole_prompts.chunked_prefill = false;
  EngineRank rank(whole_prompts, 100);
  rank.enqueue(sequence(0, 40, 10));
  rank.enqueue(sequence(1, 40, 10));
  CHECK(run_step(rank).tokens == 40);
  CHECK(run_step(rank).tokens == 41);
}
