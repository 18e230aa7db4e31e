// Long-lived control loops as coroutines: a process reads from top to bottom and waits with co_await, for a
// delay, for an event, for any or all of several, or for an item of a store.
//
//   Process engine(Processes<Kind>& processes, Store<Request>& queue) {
//     for (;;) {
//       const Request request = co_await queue.get();
//       co_await processes.delay(service_time(request));
//     }
//   }
//
// Processes are for the few loops of a model, not for its many requests: a resumption costs a frame's cache
// lines. The first parameter of a process (the second of a member function) is the ProcessContext that it
// lives in; its frame comes from there. Do not write a braced temporary inside co_await: gcc 12 destroys it
// too early.
//
// Order is that of the model alone: processes that become ready at one instant run one after the other, in
// the order in which they became so.
#pragma once

#include <algorithm>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/simulation.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

class ProcessContext;

// Memory for coroutine frames, by size class, so that a process that ends leaves its frame to the next.
class FramePool {
 public:
  FramePool() = default;
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  [[nodiscard]] void* allocate(std::size_t bytes);
  static void release(void* frame);
  // Blocks taken from the operating system's memory so far.
  [[nodiscard]] std::size_t blocks() const { return owned_.size(); }

 private:
  static constexpr std::size_t kClassBytes = 128;
  struct alignas(std::max_align_t) Header {
    FramePool* pool = nullptr;
    std::size_t size_class = 0;
  };
  std::vector<std::vector<Header*>> free_;  // by size class
  std::vector<std::unique_ptr<std::byte[]>> owned_;
};

// What a process function returns. It does nothing until ProcessContext::start.
class Process {
 public:
  struct promise_type {
    Process get_return_object() { return Process(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { failure = std::current_exception(); }

    template <std::derived_from<ProcessContext> Context, class... Rest>
    static void* operator new(std::size_t bytes, Context& context, Rest&...) {
      return frame_of(context, bytes);
    }
    template <class Self, std::derived_from<ProcessContext> Context, class... Rest>
    static void* operator new(std::size_t bytes, Self&, Context& context, Rest&...) {
      return frame_of(context, bytes);
    }
    static void operator delete(void* frame) { FramePool::release(frame); }

    std::exception_ptr failure;
    std::uint32_t done = 0;    // the event that its end triggers
    std::size_t position = 0;  // among the live processes

   private:
    static void* frame_of(ProcessContext& context, std::size_t bytes);
  };

  Process(Process&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Process& operator=(Process&&) = delete;
  ~Process() {
    if (handle_) handle_.destroy();
  }

 private:
  friend class ProcessContext;
  explicit Process(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};
using ProcessHandle = std::coroutine_handle<Process::promise_type>;

// Something that happens once and that processes wait for. A handle: copies are the same event. It must not
// outlive its context.
class Event {
 public:
  Event(const Event& other);
  Event(Event&& other) noexcept : context_(std::exchange(other.context_, nullptr)), index_(other.index_) {}
  Event& operator=(Event other) noexcept {
    std::swap(context_, other.context_);
    std::swap(index_, other.index_);
    return *this;
  }
  ~Event();

  // Lets everyone who waits go on; again: nothing.
  void trigger();
  [[nodiscard]] bool triggered() const;

  struct Awaiter {
    ProcessContext* context;
    std::uint32_t index;
    [[nodiscard]] bool await_ready() const;
    void await_suspend(ProcessHandle process) const;
    void await_resume() const {}
  };
  Awaiter operator co_await() const { return Awaiter{context_, index_}; }

 private:
  friend class ProcessContext;
  Event(ProcessContext* context, std::uint32_t index) : context_(context), index_(index) {}
  ProcessContext* context_;
  std::uint32_t index_;
};

// Owns processes and the events between them. Whoever triggers an event from outside a process finds on
// return that all that could go on has gone on.
class ProcessContext {
 public:
  ProcessContext() = default;
  ProcessContext(const ProcessContext&) = delete;
  ProcessContext& operator=(const ProcessContext&) = delete;
  // Ends all processes where they wait.
  ~ProcessContext();

  // Starts a process at this instant and returns the event of its end. What a process throws comes out of the
  // call that made it go on; the process is then at its end.
  Event start(Process process);

  [[nodiscard]] Event event();
  // An event that triggers with the first, or with the last, of these; at once if that has happened. any_of
  // nothing never happens, all_of nothing has.
  [[nodiscard]] Event any_of(std::span<const Event> events);
  [[nodiscard]] Event all_of(std::span<const Event> events);

  [[nodiscard]] std::size_t live_processes() const { return live_.size(); }
  [[nodiscard]] FramePool& frames() { return frames_; }

  // For awaitables of other files: the process goes on when control is back at the context.
  void make_ready(ProcessHandle process);

 protected:
  // For timers: an event whose state stays until it is triggered by its number.
  [[nodiscard]] Event numbered_event(std::uint32_t& number);
  void trigger_numbered(std::uint32_t number);

 private:
  friend class Event;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct State {
    std::uint32_t references = 0;
    std::uint32_t missing = 1;  // triggers until it has happened; 0: it has
    std::uint32_t first_waiter = kNone;
    std::uint32_t last_waiter = kNone;
  };
  struct Waiter {
    ProcessHandle process;            // or none:
    std::uint32_t composite = kNone;  // the event that counts this one
    std::uint32_t next = kNone;
  };

  [[nodiscard]] std::uint32_t new_state(std::uint32_t missing);
  [[nodiscard]] Event composite(std::span<const Event> events, std::uint32_t missing);
  void retain(std::uint32_t index) { ++states_[index].references; }
  void release(std::uint32_t index);
  void trigger(std::uint32_t index);
  void wait(std::uint32_t index, const Waiter& waiter);
  void run_ready();
  void resume(ProcessHandle process);

  FramePool frames_;
  std::vector<State> states_;
  std::vector<std::uint32_t> free_states_;
  std::vector<Waiter> waiters_;
  std::vector<std::uint32_t> free_waiters_;
  std::vector<ProcessHandle> live_;
  std::deque<ProcessHandle> ready_;
  bool running_ = false;
};

// Processes of a simulation: a context with delays. The model's handler hands the events of `wake_up` to
// resume().
template <EventKind Kind>
class Processes : public ProcessContext {
 public:
  // Wake-ups run in `phase` of their instant, unless a delay says otherwise.
  Processes(Simulation<>& simulation, Kind wake_up, Phase phase = Phase::decision)
      : simulation_(&simulation), wake_up_(wake_up), phase_(phase) {}

  [[nodiscard]] Time now() const { return simulation_->now(); }
  [[nodiscard]] Kind wake_up() const { return wake_up_; }

  // An event that happens after the delay, in a phase of that instant. Throws InvariantError for a negative
  // delay, or none and a phase that is over.
  [[nodiscard]] Event delay(Duration length) { return delay(length, phase_); }
  [[nodiscard]] Event delay(Duration length, Phase phase) {
    std::uint32_t number = 0;
    Event event = numbered_event(number);
    simulation_->schedule(simulation_->now() + length, phase, wake_up_, number);
    return event;
  }

  void resume(EventKey key) { trigger_numbered(key.target()); }

 private:
  Simulation<>* simulation_;
  Kind wake_up_;
  Phase phase_;
};

// Items that processes pass on: first come, first served on both sides.
template <class Item>
class Store {
 public:
  explicit Store(ProcessContext& context) : context_(&context) {}
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  // Processes that still wait then wait for ever.
  ~Store() {
    for (Taker* const taker : takers_) taker->store = nullptr;
  }

  void put(Item item) {
    if (takers_.empty()) {
      items_.push_back(std::move(item));
      return;
    }
    Taker* const taker = takers_.front();
    takers_.pop_front();
    taker->item.emplace(std::move(item));
    context_->make_ready(taker->process);
  }
  [[nodiscard]] std::size_t size() const { return items_.size(); }

  struct Taker {
    Store* store;
    std::optional<Item> item;
    ProcessHandle process;

    explicit Taker(Store* from) : store(from) {}
    Taker(const Taker&) = delete;
    Taker& operator=(const Taker&) = delete;
    // A process that ends while it waits takes its place in the queue along.
    ~Taker() {
      if (store != nullptr) std::erase(store->takers_, this);
    }
    bool await_ready() {
      if (store->items_.empty()) return false;
      item.emplace(std::move(store->items_.front()));
      store->items_.pop_front();
      return true;
    }
    void await_suspend(ProcessHandle waiting) {
      process = waiting;
      store->takers_.push_back(this);
    }
    Item await_resume() { return std::move(*item); }
  };
  // Waits for an item, if there is none.
  [[nodiscard]] Taker get() { return Taker(this); }

 private:
  ProcessContext* context_;
  std::deque<Item> items_;
  std::deque<Taker*> takers_;
};

}  // namespace moesim::core
