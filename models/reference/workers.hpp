// A few threads that run the independent parts of a kernel.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace moesim::reference {

// Threads that wait for work. Parts are handed out in ascending order to whoever is free, so a kernel whose
// parts do not share results gives the same bits for any number of threads. An ordinary value; not for
// concurrent use from several threads.
class Workers {
 public:
  // `threads` >= 1, the caller's own among them: Workers(1) starts none.
  explicit Workers(int threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  [[nodiscard]] int threads() const { return static_cast<int>(helpers_.size()) + 1; }

  // part(worker, i) for each i of 0, ..., parts - 1, each once; worker < threads() tells apart what runs at
  // the same time (scratch memory). Returns when all are done; `part` must not throw.
  void run(std::int64_t parts, const std::function<void(int worker, std::int64_t part)>& part);

 private:
  void serve(int worker);
  void take_parts(int worker);

  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> round_ = 0;  // one more with each run
  std::atomic<int> busy_ = 0;             // helpers that have not finished this round
  std::atomic<std::int64_t> next_ = 0;
  std::int64_t parts_ = 0;
  const std::function<void(int, std::int64_t)>* part_ = nullptr;
  bool stop_ = false;
};

}  // namespace moesim::reference
