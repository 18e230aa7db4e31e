#include "sim/execution/step_model.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "models/llm/lowering.hpp"
#include "sim/core/check.hpp"
#include "sim/execution/replica_pricer.hpp"

namespace moesim::execution {

struct StepModel::State {
  // Work of one rank in one layer, cut at the two points where all data-parallel ranks meet. Without such
  // points everything is in `before`.
  struct LayerTime {
    StepTime before;   // up to the first meeting
    StepTime between;  // own work between the meetings
    StepTime after;    // after the second meeting
  };

  struct RankTime {
    StepTime embedding;
    StepTime head;
    std::vector<LayerTime> layers;  // one per layer group
  };

  struct RankKey {
    llm::RankBatch batch;
    std::int64_t group_tokens = 0;
    bool operator==(const RankKey&) const = default;
  };
  struct RankKeyHash {
    std::size_t operator()(const RankKey& key) const noexcept {
      return std::hash<llm::RankBatch>{}(key.batch) * 31 + static_cast<std::size_t>(key.group_tokens);
    }
  };

  // What all ranks of a layer group do together: the meetings and the slowest expert shard.
  struct GroupTime {
    StepTime first_meeting;
    StepTime experts;
    StepTime second_meeting;
  };

  struct GroupKey {
    std::size_t group = 0;
    std::int64_t tokens = 0;       // of all data-parallel ranks
    std::int64_t most_tokens = 0;  // of the fullest one
    std::int64_t epoch = 0;
    bool operator==(const GroupKey&) const = default;
  };
  struct GroupKeyHash {
    std::size_t operator()(const GroupKey& key) const noexcept {
      std::uint64_t hash = key.group;
      for (const std::int64_t value : {key.tokens, key.most_tokens, key.epoch}) {
        hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x9E3779B97F4A7C15U;
      }
      return static_cast<std::size_t>(hash ^ (hash >> 32));
    }
  };

  // A map that forgets everything when it is full: its values are pure functions of the keys.
  template <class Key, class Value, class Hash>
  class Memo {
   public:
    static constexpr std::size_t kMaxEntries = 1 << 16;
    explicit Memo(bool on) : on_(on) {}
    template <class Make>
    const Value& get(const Key& key, Make&& make) {
      if (!on_) return last_ = make();
      if (const auto found = values_.find(key); found != values_.end()) return found->second;
      if (values_.size() >= kMaxEntries) values_.clear();
      return values_.emplace(key, make()).first->second;
    }

   private:
    bool on_;
    std::unordered_map<Key, Value, Hash> values_;
    Value last_;
  };

  State(ReplicaSetup replica, StepOptions how)
      : options(how),
        pricer(std::move(replica), how.memo),
        setup(pricer.setup()),
        patterns(setup.architecture.patterns()),
        ranks(how.memo),
        groups(how.memo) {}

  [[nodiscard]] StepTime sum(std::span<const llm::Operator> operators) const {
    StepTime time;
    for (const llm::Operator& op : operators) {
      // Logits, sampling and the norm before them belong to the head; so does the embedding's collective.
      add(time, pricer.price(op), Part::embedding_head);
    }
    return time;
  }

  [[nodiscard]] LayerTime layer_time(std::span<const llm::Operator> operators) const {
    LayerTime time;
    StepTime* into = &time.before;
    for (const llm::Operator& op : operators) {
      if (is_meeting(op)) {
        into = into == &time.before ? &time.between : &time.after;
      } else if (!is_routed(op)) {
        add(*into, pricer.price(op), part_of(op));
      }
    }
    return time;
  }

  [[nodiscard]] RankTime rank_time(const RankKey& key) {
    llm::lower(setup.architecture, setup.layout, setup.formats, key.batch, key.group_tokens, scratch);
    RankTime time;
    time.embedding = sum(scratch.embedding);
    time.head = sum(scratch.head);
    for (const llm::LayerOperators& layer : scratch.layers)
      time.layers.push_back(layer_time(layer.operators));
    return time;
  }

  [[nodiscard]] GroupTime group_time(const GroupKey& key, const llm::RankBatch& fullest) {
    llm::lower(setup.architecture, setup.layout, setup.formats, fullest, key.tokens, scratch);
    llm::LayerOperators& layer = scratch.layers[key.group];
    GroupTime time;
    if (!std::any_of(layer.operators.begin(), layer.operators.end(), is_routed)) return time;
    const RoutedLoad load = pricer.routed_load(key.group, key.tokens, key.epoch);
    llm::set_expert_rows(layer.operators, load.rows_of(load.slowest_shard));
    time.experts.slowest_shard_rows = load.slowest_rows * setup.layout.ep;
    time.experts.all_shard_rows = load.rows();
    StepTime* meeting = &time.first_meeting;
    for (const llm::Operator& op : layer.operators) {
      if (is_routed(op)) {
        add(time.experts, pricer.price(op), part_of(op));
      } else if (is_meeting(op)) {
        add(*meeting, pricer.meeting_price(op, key.tokens, load), part_of(op));
        meeting = &time.second_meeting;
      }
    }
    return time;
  }

  // The longest of the ranks' segments; the first of equals.
  static void add_slowest(StepTime& time, std::span<const StepTime> segments) {
    const auto longest =
        std::max_element(segments.begin(), segments.end(),
                         [](const StepTime& a, const StepTime& b) { return a.total < b.total; });
    time += *longest;
  }

  StepOptions options;
  ReplicaPricer pricer;
  const ReplicaSetup& setup;
  std::vector<llm::LayerPattern> patterns;
  Memo<RankKey, RankTime, RankKeyHash> ranks;
  Memo<GroupKey, GroupTime, GroupKeyHash> groups;
  llm::StepOperators scratch;
  std::vector<RankTime> rank_times;
  std::vector<GroupTime> together;  // by layer group
  std::vector<StepTime> carry, segments;
};

StepModel::StepModel(ReplicaSetup setup, StepOptions options)
    : state_(std::make_unique<State>(std::move(setup), options)) {}
StepModel::~StepModel() = default;
StepModel::StepModel(StepModel&&) noexcept = default;
StepModel& StepModel::operator=(StepModel&&) noexcept = default;

const llm::BatchRule& StepModel::batch_rule() const { return state_->pricer.batch_rule(); }

StepTime StepModel::price(std::span<const llm::RankBatch> ranks, std::int64_t epoch) {
  State& s = *state_;
  core::check(static_cast<std::int64_t>(ranks.size()) == s.setup.layout.dp,
              "one batch per data-parallel rank");
  std::int64_t tokens = 0;
  const llm::RankBatch* fullest = &ranks.front();
  for (const llm::RankBatch& batch : ranks) {
    tokens += batch.tokens;
    if (batch.tokens > fullest->tokens) fullest = &batch;
  }
  const std::int64_t effective_epoch = routing::drifts(s.setup.popularity) ? epoch : 0;
  // Folded: the tp ranks of a data-parallel rank do the same and are priced once. Unfolded: each is priced.
  const std::int64_t copies = s.options.fold ? 1 : s.setup.layout.tp;
  s.rank_times.clear();
  for (const llm::RankBatch& batch : ranks) {
    for (std::int64_t copy = 0; copy < copies; ++copy) {
      // Only where tokens are gathered does a rank's own work depend on the other ranks' tokens.
      const bool gathers = llm::moe_exchange(s.setup.layout) == llm::MoeExchange::gather_scatter;
      const State::RankKey key{batch, gathers ? tokens : batch.tokens};
      s.rank_times.push_back(s.ranks.get(key, [&] { return s.rank_time(key); }));
    }
  }
  StepTime time;
  s.carry.clear();
  for (const State::RankTime& rank : s.rank_times) s.carry.push_back(rank.embedding);
  const auto slowest = [&](auto&& segment_of) {
    s.segments.clear();
    for (std::size_t r = 0; r < s.rank_times.size(); ++r) s.segments.push_back(segment_of(r));
    State::add_slowest(time, s.segments);
  };
  std::vector<State::GroupTime>& together = s.together;
  together.clear();
  for (std::size_t g = 0; g < s.setup.architecture.layers.size(); ++g) {
    const State::GroupKey key{g, tokens, fullest->tokens, effective_epoch};
    together.push_back(s.groups.get(key, [&] { return s.group_time(key, *fullest); }));
  }
  // One layer: takes what was carried in, and carries out what follows its last meeting.
  const auto walk = [&](std::size_t g) {
    const State::GroupTime& group = together[g];
    if (group.first_meeting.total == core::Duration{}) {
      for (std::size_t r = 0; r < s.rank_times.size(); ++r) {
        s.carry[r] += s.rank_times[r].layers[g].before;
        s.carry[r] += group.experts;
      }
      return;
    }
    slowest([&](std::size_t r) {
      StepTime segment = s.carry[r];
      segment += s.rank_times[r].layers[g].before;
      return segment;
    });
    time += group.first_meeting;
    time += group.experts;
    slowest([&](std::size_t r) { return s.rank_times[r].layers[g].between; });
    time += group.second_meeting;
    for (std::size_t r = 0; r < s.rank_times.size(); ++r) s.carry[r] = s.rank_times[r].layers[g].after;
  };
  const auto meets = [&](std::int64_t g) {
    return together[static_cast<std::size_t>(g)].first_meeting.total > core::Duration{};
  };
  for (const llm::LayerPattern& pattern : s.patterns) {
    const auto repeat_once = [&] {
      for (const std::int64_t g : pattern.groups) walk(static_cast<std::size_t>(g));
    };
    if (!s.options.fold) {
      for (std::int64_t i = 0; i < pattern.repeat; ++i) repeat_once();
      continue;
    }
    if (std::none_of(pattern.groups.begin(), pattern.groups.end(), meets)) {
      for (const std::int64_t g : pattern.groups) {
        for (std::size_t r = 0; r < s.rank_times.size(); ++r) {
          s.carry[r] += s.rank_times[r].layers[static_cast<std::size_t>(g)].before * pattern.repeat;
          s.carry[r] += together[static_cast<std::size_t>(g)].experts * pattern.repeat;
        }
      }
      continue;
    }
    // The first repetition takes what was carried in; each later one what the one before left, so all of them
    // are equal.
    repeat_once();
    if (pattern.repeat == 1) continue;
    StepTime first = std::exchange(time, StepTime{});
    repeat_once();
    first += time * (pattern.repeat - 1);
    time = first;
  }
  slowest([&](std::size_t r) {
    StepTime segment = s.carry[r];
    segment += s.rank_times[r].head;
    return segment;
  });
  return time;
}

}  // namespace moesim::execution
