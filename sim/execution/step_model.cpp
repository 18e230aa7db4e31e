#include "sim/execution/step_model.hpp"

#include <algorithm>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>

#include "models/llm/lowering.hpp"
#include "sim/core/check.hpp"
#include "sim/execution/routed_load.hpp"

namespace moesim::execution {

std::string_view to_string(Part part) {
  switch (part) {
    case Part::attention:
      return "attention";
    case Part::dense_ffn:
      return "dense FFN";
    case Part::routed_experts:
      return "routed experts";
    case Part::shared_experts:
      return "shared experts";
    case Part::router:
      return "router";
    case Part::dispatch_combine:
      return "dispatch and combine";
    case Part::all_reduce:
      return "all-reduce";
    case Part::norms:
      return "norms";
    case Part::embedding_head:
      return "embedding and head";
    case Part::host:
      return "host";
  }
  return "?";
}

StepTime& StepTime::operator+=(const StepTime& other) {
  // Saturating: hardware may be described so slow that a step has no end, which the caller finds out.
  total = core::saturating_add(total, other.total);
  for (std::size_t i = 0; i < by_part.size(); ++i)
    by_part[i] = core::saturating_add(by_part[i], other.by_part[i]);
  for (std::size_t i = 0; i < by_resource.size(); ++i)
    by_resource[i] = core::saturating_add(by_resource[i], other.by_resource[i]);
  for (std::size_t i = 0; i < by_label.size(); ++i)
    by_label[i] = core::saturating_add(by_label[i], other.by_label[i]);
  slowest_shard_rows += other.slowest_shard_rows;
  all_shard_rows += other.all_shard_rows;
  return *this;
}

namespace {

StepTime operator*(const StepTime& time, std::int64_t n) {
  StepTime product = time;
  product.total = core::saturating_multiply(time.total, n);
  for (auto& part : product.by_part) part = core::saturating_multiply(part, n);
  for (auto& part : product.by_resource) part = core::saturating_multiply(part, n);
  for (auto& part : product.by_label) part = core::saturating_multiply(part, n);
  product.slowest_shard_rows *= n;
  product.all_shard_rows *= n;
  return product;
}

void add(StepTime& time, const cost::Price& price, Part part) {
  const auto grow = [&](core::Duration& sum) { sum = core::saturating_add(sum, price.time); };
  grow(time.total);
  grow(time.by_part[static_cast<std::size_t>(part)]);
  grow(time.by_resource[static_cast<std::size_t>(price.binding)]);
  grow(time.by_label[static_cast<std::size_t>(price.label)]);
}

Part part_of(const llm::Gemm& op) {
  switch (op.role) {
    case llm::GemmRole::gate_up:
    case llm::GemmRole::down:
      return Part::dense_ffn;
    case llm::GemmRole::shared_gate_up:
    case llm::GemmRole::shared_down:
      return Part::shared_experts;
    case llm::GemmRole::expert_gate_up:
    case llm::GemmRole::expert_down:
      return Part::routed_experts;
    case llm::GemmRole::head:
      return Part::embedding_head;
    default:
      return Part::attention;
  }
}

Part part_of(const llm::Operator& op) {
  return std::visit(
      [](const auto& one) {
        using Op = std::remove_cvref_t<decltype(one)>;
        if constexpr (std::is_same_v<Op, llm::Gemm>) {
          return part_of(one);
        } else if constexpr (std::is_same_v<Op, llm::GroupedGemm> ||
                             std::is_same_v<Op, llm::RoutedElementwise>) {
          return Part::routed_experts;
        } else if constexpr (std::is_same_v<Op, llm::Attention>) {
          return Part::attention;
        } else if constexpr (std::is_same_v<Op, llm::Elementwise>) {
          return Part::norms;
        } else if constexpr (std::is_same_v<Op, llm::Router> || std::is_same_v<Op, llm::TopK>) {
          return Part::router;
        } else if constexpr (std::is_same_v<Op, llm::Embedding> || std::is_same_v<Op, llm::Sampling>) {
          return Part::embedding_head;
        } else if constexpr (std::is_same_v<Op, llm::Dispatch> || std::is_same_v<Op, llm::Combine>) {
          return Part::dispatch_combine;
        } else {
          return Part::all_reduce;
        }
      },
      op);
}

}  // namespace

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
      : setup(std::move(replica)),
        options(how),
        rule(llm::batch_rule(setup.architecture, setup.block_tokens)),
        pricer(setup.gpu),
        tensor(setup.tensor_group, setup.engine, setup.link_labels),
        data(setup.data_group, setup.engine, setup.link_labels),
        expert(setup.expert_group, setup.engine, setup.link_labels),
        routed(setup, pricer, how.memo),
        ranks(how.memo),
        groups(how.memo) {}

  // True for the operators at which all data-parallel ranks wait for each other.
  [[nodiscard]] bool is_meeting(const llm::Operator& op) const {
    if (std::holds_alternative<llm::Dispatch>(op) || std::holds_alternative<llm::Combine>(op)) return true;
    const auto* gather = std::get_if<llm::AllGather>(&op);
    const auto* scatter = std::get_if<llm::ReduceScatter>(&op);
    return (gather != nullptr && gather->group == llm::Group::data) ||
           (scatter != nullptr && scatter->group == llm::Group::data);
  }

  [[nodiscard]] static bool is_routed(const llm::Operator& op) {
    return std::holds_alternative<llm::GroupedGemm>(op) || std::holds_alternative<llm::RoutedElementwise>(op);
  }

  [[nodiscard]] const cost::CollectivePricer& group(llm::Group which) const {
    return which == llm::Group::tensor ? tensor : which == llm::Group::data ? data : expert;
  }

  [[nodiscard]] cost::Price price(const llm::Operator& op) const {
    if (const auto* reduce = std::get_if<llm::AllReduce>(&op))
      return group(reduce->group).all_reduce(reduce->bytes);
    if (const auto* gather = std::get_if<llm::AllGather>(&op))
      return group(gather->group).all_gather(gather->bytes);
    if (const auto* scatter = std::get_if<llm::ReduceScatter>(&op)) {
      return group(scatter->group).reduce_scatter(scatter->bytes);
    }
    return pricer.price(op);
  }

  [[nodiscard]] StepTime sum(std::span<const llm::Operator> operators) const {
    StepTime time;
    for (const llm::Operator& op : operators) {
      // Logits, sampling and the norm before them belong to the head; so does the embedding's collective.
      add(time, price(op), Part::embedding_head);
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
        add(*into, price(op), part_of(op));
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
    const ShardLoad load = routed.slowest(key.group, key.tokens, key.epoch);
    llm::set_expert_rows(layer.operators, load.rows_by_expert);
    const auto& moe = std::get<llm::MoeFfn>(setup.architecture.layers[key.group].ffn);
    time.experts.slowest_shard_rows = load.rows * setup.layout.ep;
    time.experts.all_shard_rows = key.tokens * moe.top_k;
    StepTime* meeting = &time.first_meeting;
    for (const llm::Operator& op : layer.operators) {
      if (is_routed(op)) {
        add(time.experts, pricer.price(op), part_of(op));
      } else if (is_meeting(op)) {
        add(*meeting, meeting_price(op, key, load), part_of(op));
        meeting = &time.second_meeting;
      }
    }
    return time;
  }

  [[nodiscard]] cost::Price meeting_price(const llm::Operator& op, const GroupKey& key,
                                          const ShardLoad& load) const {
    const auto exchange = [&](const auto& one, bool combine) {
      const cost::ExchangeLoad rows{key.tokens, one.tokens, one.tokens * one.top_k, load.rows};
      return expert.exchange(rows, one.bytes_per_row, combine);
    };
    if (const auto* dispatch = std::get_if<llm::Dispatch>(&op)) return exchange(*dispatch, false);
    if (const auto* combine = std::get_if<llm::Combine>(&op)) return exchange(*combine, true);
    return price(op);
  }

  // The longest of the ranks' segments; the first of equals.
  static void add_slowest(StepTime& time, std::span<const StepTime> segments) {
    const auto longest =
        std::max_element(segments.begin(), segments.end(),
                         [](const StepTime& a, const StepTime& b) { return a.total < b.total; });
    time += *longest;
  }

  ReplicaSetup setup;
  StepOptions options;
  llm::BatchRule rule;
  cost::DevicePricer pricer;
  cost::CollectivePricer tensor, data, expert;
  RoutedLoads routed;
  Memo<RankKey, RankTime, RankKeyHash> ranks;
  Memo<GroupKey, GroupTime, GroupKeyHash> groups;
  llm::StepOperators scratch;
  std::vector<RankTime> rank_times;
  std::vector<StepTime> carry, segments;
};

StepModel::StepModel(ReplicaSetup setup, StepOptions options)
    : state_(std::make_unique<State>(std::move(setup), options)) {}
StepModel::~StepModel() = default;
StepModel::StepModel(StepModel&&) noexcept = default;
StepModel& StepModel::operator=(StepModel&&) noexcept = default;

const llm::BatchRule& StepModel::batch_rule() const { return state_->rule; }

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
  const std::size_t groups = s.setup.architecture.layers.size();
  for (std::size_t g = 0; g < groups; ++g) {
    const std::int64_t count = s.setup.architecture.layers[g].count;
    const State::GroupKey key{g, tokens, fullest->tokens, effective_epoch};
    const State::GroupTime& together = s.groups.get(key, [&] { return s.group_time(key, *fullest); });
    const bool meets = together.first_meeting.total > core::Duration{};
    // Equal layers: the first takes what was carried in, each later one what the layer before left.
    const auto between = [&] {
      time += together.first_meeting;
      time += together.experts;
      slowest([&](std::size_t r) { return s.rank_times[r].layers[g].between; });
      time += together.second_meeting;
    };
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t fold = s.options.fold && done > 0 ? count - done : 1;
      if (!meets) {
        const std::int64_t equal = s.options.fold ? count : 1;
        for (std::size_t r = 0; r < s.rank_times.size(); ++r) {
          s.carry[r] += s.rank_times[r].layers[g].before * equal;
          s.carry[r] += together.experts * equal;
        }
        done += equal;
        continue;
      }
      StepTime before = std::exchange(time, StepTime{});
      slowest([&](std::size_t r) {
        StepTime segment = s.carry[r];
        segment += s.rank_times[r].layers[g].before;
        return segment;
      });
      between();
      before += time * fold;
      time = before;
      for (std::size_t r = 0; r < s.rank_times.size(); ++r) s.carry[r] = s.rank_times[r].layers[g].after;
      done += fold;
    }
  }
  slowest([&](std::size_t r) {
    StepTime segment = s.carry[r];
    segment += s.rank_times[r].head;
    return segment;
  });
  return time;
}

}  // namespace moesim::execution
