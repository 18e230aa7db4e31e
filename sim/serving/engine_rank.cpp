#include "sim/serving/engine_rank.hpp"

#include <algorithm>

#include "sim/core/check.hpp"

namespace moesim::serving {

bool KvPool::take(std::int64_t count) {
  if (count > free()) return false;
  used_ += count;
  allocated_ += count;
  peak_ = std::max(peak_, used_);
  return true;
}

void KvPool::give_back(std::int64_t count) {
  core::check(count >= 0 && count <= used_, "more KV blocks are given back than were taken");
  used_ -= count;
  released_ += count;
}

void EngineRank::take_arrivals() {
  for (const Sequence& sequence : arrived_) put_in_queue(sequence, false);
  arrived_.clear();
}

void EngineRank::put_in_queue(const Sequence& sequence, bool first) {
  waiting_blocks_ += blocks_for(sequence.tokens());
  waiting_tokens_ += sequence.tokens();
  waiting_.insert(first ? waiting_.begin() : waiting_.end(), sequence);
}

// A sequence, which has its blocks, becomes part of the next step.
void EngineRank::take_seat(Sequence& sequence, std::int64_t tokens) {
  rules_.pages.add_bytes(sequence.computed, -1, kv_parts_);
  rules_.pages.add_bytes(sequence.computed + tokens, 1, kv_parts_);
  sequence.scheduled = tokens;
  budget_ -= tokens;
}

void EngineRank::drop_blocks(Sequence& sequence) {
  kv_.give_back(sequence.blocks);
  rules_.pages.add_bytes(sequence.computed + sequence.scheduled, -1, kv_parts_);
  sequence.blocks = 0;
}

// Takes the blocks that the sequence needs to hold its computed and `tokens` more.
bool EngineRank::grow(Sequence& sequence, std::int64_t tokens) {
  const std::int64_t missing = blocks_for(sequence.computed + tokens) - sequence.blocks;
  if (missing <= 0) return true;
  if (!kv_.take(missing)) return false;
  sequence.blocks += missing;
  return true;
}

void EngineRank::preempt_last() {
  Sequence victim = running_.back();
  running_.pop_back();
  drop_blocks(victim);
  budget_ += victim.scheduled;
  tokens_lost_ += victim.computed;
  ++preemptions_;
  preempted_.push_back(victim.request);
  victim.computed = 0;
  victim.scheduled = 0;
  put_in_queue(victim, true);
}

void EngineRank::schedule_running(bool prefills_only) {
  for (std::size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Sequence& sequence = running_[i];
    if (sequence.scheduled > 0 || (prefills_only && sequence.decodes())) continue;
    const std::int64_t tokens = std::min(sequence.tokens() - sequence.computed, budget_);
    bool grown = grow(sequence, tokens);
    while (!grown) {
      const bool itself = i + 1 == running_.size();
      preempt_last();
      if (itself) return;
      grown = grow(running_[i], tokens);
    }
    take_seat(running_[i], tokens);
  }
}

// Prompts over the budget are refused when they may not be cut, but a preempted sequence can outgrow the
// budget with what it generated: waiting for a budget that never comes would block the queue for ever.
bool EngineRank::may_cut(std::int64_t whole) const {
  return rules_.chunked_prefill || whole > rules_.max_num_batched_tokens;
}

void EngineRank::schedule_waiting() {
  while (!waiting_.empty() && budget_ > 0 && running() < rules_.max_num_seqs) {
    Sequence sequence = waiting_.front();
    const std::int64_t whole = sequence.tokens();
    const std::int64_t tokens = std::min(whole, budget_);
    if (tokens < whole && !may_cut(whole)) return;
    if (rules_.reserve_full_prompt && blocks_for(whole) > kv_.free()) return;
    if (!grow(sequence, tokens)) return;
    take_seat(sequence, tokens);
    admitted_.push_back(sequence.request);
    waiting_blocks_ -= blocks_for(whole);
    waiting_tokens_ -= whole;
    waiting_.pop_front();
    running_.push_back(sequence);
  }
}

std::optional<std::int64_t> EngineRank::head_without_blocks() const {
  if (waiting_.empty() || budget_ <= 0 || running() >= rules_.max_num_seqs) return std::nullopt;
  const std::int64_t whole = waiting_.front().tokens();
  const std::int64_t tokens = std::min(whole, budget_);
  if (tokens < whole && !may_cut(whole)) return std::nullopt;
  const std::int64_t first = rules_.reserve_full_prompt ? whole : tokens;
  return blocks_for(first) > kv_.free() ? std::optional(waiting_.front().request) : std::nullopt;
}

std::int64_t EngineRank::kv_waste_bytes() const {
  std::int64_t waste = 0;
  for (const llm::KvBytes& part : kv_parts_) waste += part.used - part.held;
  return waste;
}

// Looks at the blocks behind a decision.
void EngineRank::note_memory() {
  core::check(kv_waste_bytes() >= 0, "KV blocks hold more bytes than they have");
  if (kv_.used() > most_used_) {
    most_used_ = kv_.used();
    waste_at_peak_ = kv_waste_bytes();
  }
  stalled_ = preempted_.empty() ? head_without_blocks() : std::nullopt;
  if (stalled_ || !preempted_.empty()) note_demand();
}

// Of a queue that is longer than the free seats, the mean of all that wait in it counts for each seat.
void EngineRank::note_demand() {
  const auto queue = static_cast<std::int64_t>(waiting_.size());
  const std::int64_t seats = std::min(queue, rules_.max_num_seqs - running());
  const auto part = [&](std::int64_t sum) {
    return queue == seats ? sum
                          : static_cast<std::int64_t>(static_cast<double>(sum) * static_cast<double>(seats) /
                                                      static_cast<double>(queue));
  };
  const std::int64_t blocks = kv_.used() + part(waiting_blocks_);
  if (blocks <= peak_demand_.blocks) return;
  peak_demand_ = {blocks, running() + seats, part(waiting_tokens_)};
  for (const Sequence& sequence : running_) peak_demand_.tokens += sequence.computed + sequence.scheduled;
}

bool EngineRank::prefill_possible() const {
  if (std::any_of(running_.begin(), running_.end(), [](const Sequence& s) { return !s.decodes(); }))
    return true;
  if (waiting_.empty() || running() >= rules_.max_num_seqs) return false;
  const std::int64_t whole = waiting_.front().tokens();
  const std::int64_t first =
      rules_.reserve_full_prompt ? whole : std::min(whole, rules_.max_num_batched_tokens);
  return blocks_for(first) <= kv_.free();
}

std::int64_t EngineRank::schedule(const llm::BatchRule& rule, std::span<llm::RankBatch> micro_batches) {
  budget_ = rules_.max_num_batched_tokens;
  preempted_.clear();
  admitted_.clear();
  bool prefills_only = !rules_.mixed_steps && prefill_possible();
  schedule_running(prefills_only);
  // The prompts lost their blocks to each other: go on with the decodes.
  if (prefills_only && !preempted_.empty()) {
    prefills_only = false;
    schedule_running(false);
  }
  if (preempted_.empty() && (rules_.mixed_steps || prefills_only)) schedule_waiting();
  note_memory();
  std::fill(micro_batches.begin(), micro_batches.end(), llm::RankBatch{});
  decodes_only_ = true;
  step_tokens_ = 0;
  step_decode_tokens_ = 0;
  std::int64_t sequences = 0;
  for (const Sequence& sequence : running_) {
    if (sequence.scheduled == 0) continue;
    ++sequences;
    const bool emits = sequence.computed + sequence.scheduled == sequence.tokens();
    const auto emptiest = std::min_element(
        micro_batches.begin(), micro_batches.end(),
        [](const llm::RankBatch& a, const llm::RankBatch& b) { return a.tokens < b.tokens; });
    llm::add_chunk(*emptiest, {sequence.scheduled, sequence.computed, emits}, rule);
    step_tokens_ += sequence.scheduled;
    if (sequence.decodes()) {
      ++step_decode_tokens_;
    } else {
      decodes_only_ = false;
    }
  }
  tokens_computed_ += step_tokens_;
  return sequences;
}

void EngineRank::finish_step(std::vector<TokenOut>& out) {
  std::size_t kept = 0;
  for (Sequence& sequence : running_) {
    sequence.computed += sequence.scheduled;
    const bool emits = sequence.scheduled > 0 && sequence.computed == sequence.tokens();
    sequence.scheduled = 0;
    if (emits) {
      ++sequence.generated;
      const bool last = sequence.generated == sequence.output_tokens;
      out.push_back({sequence.request, sequence.generated == 1, last});
      if (last) {
        drop_blocks(sequence);
        continue;
      }
    }
    running_[kept++] = sequence;
  }
  running_.resize(kept);
}

std::int64_t EngineRank::tokens_in_cache() const {
  std::int64_t sum = 0;
  for (const Sequence& sequence : running_) sum += sequence.computed;
  return sum;
}

std::int64_t EngineRank::tokens_in_step() const {
  std::int64_t sum = 0;
  for (const Sequence& sequence : running_) sum += sequence.scheduled;
  return sum;
}

std::int64_t EngineRank::sequences_in_step() const {
  return std::count_if(running_.begin(), running_.end(), [](const Sequence& s) { return s.scheduled > 0; });
}

}  // namespace moesim::serving
