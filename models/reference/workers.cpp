#include "models/reference/workers.hpp"

#include "sim/core/check.hpp"

namespace moesim::reference {

namespace {

// A helper looks this often for the next round before it sleeps: waking a thread costs more than the gap
// between the phases of a kernel.
constexpr int kLooks = 20'000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

Workers::Workers(int threads) {
  core::check(threads >= 1, "a kernel needs at least one thread");
  for (int worker = 1; worker < threads; ++worker) helpers_.emplace_back([this, worker] { serve(worker); });
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    round_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void Workers::run(std::int64_t parts, const std::function<void(int, std::int64_t)>& part) {
  if (helpers_.empty() || parts <= 1) {
    for (std::int64_t i = 0; i < parts; ++i) part(0, i);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    part_ = &part;
    parts_ = parts;
    next_.store(0);
    busy_.store(static_cast<int>(helpers_.size()));
    round_.fetch_add(1);
  }
  wake_.notify_all();
  take_parts(0);
  while (busy_.load() != 0) pause_briefly();
}

void Workers::take_parts(int worker) {
  for (std::int64_t i = next_.fetch_add(1); i < parts_; i = next_.fetch_add(1)) (*part_)(worker, i);
}

void Workers::serve(int worker) {
  std::uint64_t seen = 0;
  while (true) {
    for (int look = 0; look < kLooks && round_.load() == seen; ++look) pause_briefly();
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return round_.load() != seen; });
      if (stop_) return;
    }
    ++seen;
    take_parts(worker);
    busy_.fetch_sub(1);
  }
}

}  // namespace moesim::reference
