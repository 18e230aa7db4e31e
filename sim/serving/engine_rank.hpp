// One data-parallel rank of an engine: its queue, its KV blocks and its continuous batching.
//
// First come, first served, as vLLM's V1 scheduler does it (vllm/v1/core/sched/scheduler.py): running
// sequences first, in the order of admission, then the head of the queue, under one token budget; a sequence
// that finds no KV block preempts the one admitted last, which loses its blocks and is computed again from
// the head of the queue.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "models/llm/batch.hpp"
#include "models/llm/memory.hpp"
#include "sim/core/time.hpp"
#include "sim/serving/results.hpp"

namespace moesim::serving {

// Blocks (units of llm::KvPages) of KV cache of one rank. Counts only: which block holds what does not matter
// to time or space.
class KvPool {
 public:
  explicit KvPool(std::int64_t blocks) : blocks_(blocks) {}
  [[nodiscard]] std::int64_t blocks() const { return blocks_; }
  [[nodiscard]] std::int64_t used() const { return used_; }
  [[nodiscard]] std::int64_t free() const { return blocks_ - used_; }
  [[nodiscard]] std::int64_t peak() const { return peak_; }
  [[nodiscard]] std::int64_t allocated() const { return allocated_; }
  [[nodiscard]] std::int64_t released() const { return released_; }
  // False, and nothing taken, if fewer are free.
  [[nodiscard]] bool take(std::int64_t count);
  void give_back(std::int64_t count);

 private:
  std::int64_t blocks_, used_ = 0, peak_ = 0, allocated_ = 0, released_ = 0;
};

struct RankRules {
  std::int64_t max_num_batched_tokens = 0;
  std::int64_t max_num_seqs = 0;
  llm::KvPages pages;
  bool chunked_prefill = true;
  bool mixed_steps = true;
  bool reserve_full_prompt = true;
};

// What an engine holds for a request.
struct Sequence {
  std::int64_t request = 0;  // index of its row in the results
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t generated = 0;
  std::int64_t computed = 0;  // tokens whose KV is in the cache
  std::int64_t blocks = 0;
  std::int64_t scheduled = 0;  // tokens of it in the running step

  [[nodiscard]] std::int64_t tokens() const { return input_tokens + generated; }
  [[nodiscard]] bool decodes() const { return tokens() - computed == 1 && generated > 0; }
};

// What happened to a sequence when a step ended.
struct TokenOut {
  std::int64_t request = 0;
  bool first = false;
  bool last = false;
};

// What would be needed for all requests that have a seat: those that run and those that wait for blocks.
struct KvDemand {
  std::int64_t blocks = 0;
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;  // of all these sequences
};

class EngineRank {
 public:
  EngineRank(const RankRules& rules, std::int64_t kv_blocks)
      : rules_(rules), kv_(kv_blocks), kv_parts_(rules.pages.parts()) {}

  // A new sequence is not considered before take_arrivals().
  void enqueue(const Sequence& sequence) { arrived_.push_back(sequence); }
  // Puts what arrived at the end of the queue.
  void take_arrivals();

  // Chooses the next step. Returns the number of sequences in it; the micro-batches get their work: each
  // sequence goes to the one with fewest tokens, the first of equals.
  std::int64_t schedule(const llm::BatchRule& rule, std::span<llm::RankBatch> micro_batches);
  // Ends the step: tokens come out, finished sequences leave.
  void finish_step(std::vector<TokenOut>& out);

  // Sequences that are not running, those that arrived included.
  [[nodiscard]] std::int64_t waiting() const {
    return static_cast<std::int64_t>(waiting_.size() + arrived_.size());
  }
  [[nodiscard]] std::int64_t running() const { return static_cast<std::int64_t>(running_.size()); }
  [[nodiscard]] bool has_work() const { return waiting() > 0 || !running_.empty(); }
  [[nodiscard]] const KvPool& kv() const { return kv_; }
  // Of the step chosen last.
  [[nodiscard]] bool decodes_only() const { return decodes_only_; }
  [[nodiscard]] std::int64_t step_tokens() const { return step_tokens_; }
  [[nodiscard]] std::int64_t step_decode_tokens() const { return step_decode_tokens_; }
  [[nodiscard]] std::int64_t preemptions() const { return preemptions_; }
  [[nodiscard]] std::int64_t tokens_computed() const { return tokens_computed_; }
  [[nodiscard]] std::int64_t tokens_lost() const { return tokens_lost_; }  // computed, then preempted
  // Tokens whose KV is in the cache now, and those of the running step.
  [[nodiscard]] std::int64_t tokens_in_cache() const;
  [[nodiscard]] std::int64_t tokens_in_step() const;
  [[nodiscard]] std::int64_t sequences_in_step() const;
  // Requests that were preempted, or first put into a batch, by the last schedule().
  [[nodiscard]] const std::vector<std::int64_t>& preempted() const { return preempted_; }
  [[nodiscard]] const std::vector<std::int64_t>& admitted() const { return admitted_; }

  // Bytes of the running sequences on one device, of the parts of llm::KvPages.
  [[nodiscard]] const std::vector<llm::KvBytes>& kv_parts() const { return kv_parts_; }
  // Bytes of the blocks in use that hold no token, now and when most blocks were in use behind a decision.
  [[nodiscard]] std::int64_t kv_waste_bytes() const;
  [[nodiscard]] std::int64_t kv_waste_at_peak() const { return waste_at_peak_; }
  // The request that the last schedule() left at the head of the queue because blocks were missing, not seats
  // or tokens of the budget; none if it preempted.
  [[nodiscard]] std::optional<std::int64_t> stalled() const { return stalled_; }
  // The largest demand at any decision that found blocks missing.
  [[nodiscard]] const KvDemand& peak_demand() const { return peak_demand_; }

  // Most tokens that a sequence may ever have here.
  [[nodiscard]] std::int64_t capacity_tokens() const {
    return rules_.pages.longest(kv_.blocks(), kMostSequenceTokens);
  }

 private:
  [[nodiscard]] std::int64_t blocks_for(std::int64_t tokens) const { return rules_.pages.units(tokens); }
  void schedule_running(bool prefills_only);
  void schedule_waiting();
  [[nodiscard]] bool grow(Sequence& sequence, std::int64_t tokens);
  void take_seat(Sequence& sequence, std::int64_t tokens);
  void drop_blocks(Sequence& sequence);
  void put_in_queue(const Sequence& sequence, bool first);
  [[nodiscard]] std::optional<std::int64_t> head_without_blocks() const;
  void note_memory();
  void note_demand();
  void preempt_last();
  // Whether a waiting sequence of `whole` tokens may be computed in more than one step.
  [[nodiscard]] bool may_cut(std::int64_t whole) const;
  [[nodiscard]] bool prefill_possible() const;

  RankRules rules_;
  KvPool kv_;
  std::deque<Sequence> waiting_;
  std::vector<Sequence> arrived_;
  std::vector<Sequence> running_;  // in the order of admission
  std::int64_t budget_ = 0;
  bool decodes_only_ = false;
  std::int64_t step_tokens_ = 0, step_decode_tokens_ = 0;
  std::int64_t preemptions_ = 0, tokens_computed_ = 0, tokens_lost_ = 0;
  std::vector<std::int64_t> preempted_, admitted_;
  std::vector<llm::KvBytes> kv_parts_;
  std::int64_t waiting_blocks_ = 0;  // that the sequences of the queue would take, and their tokens
  std::int64_t waiting_tokens_ = 0;
  std::int64_t most_used_ = 0, waste_at_peak_ = 0;
  std::optional<std::int64_t> stalled_;
  KvDemand peak_demand_;
};

}  // namespace moesim::serving
