#include "sim/core/process.hpp"

namespace moesim::core {

void* FramePool::allocate(std::size_t bytes) {
  const std::size_t size_class = (bytes + sizeof(Header) + kClassBytes - 1) / kClassBytes;
  if (size_class >= free_.size()) free_.resize(size_class + 1);
  std::vector<Header*>& free = free_[size_class];
  Header* header = nullptr;
  if (!free.empty()) {
    header = free.back();
    free.pop_back();
  } else {
    owned_.push_back(std::make_unique<std::byte[]>(size_class * kClassBytes));
    header = ::new (owned_.back().get()) Header{this, size_class};
  }
  return header + 1;
}

void FramePool::release(void* frame) {
  Header* const header = static_cast<Header*>(frame) - 1;
  header->pool->free_[header->size_class].push_back(header);
}

void* Process::promise_type::frame_of(ProcessContext& context, std::size_t bytes) {
  return context.frames().allocate(bytes);
}

Event::Event(const Event& other) : context_(other.context_), index_(other.index_) {
  if (context_ != nullptr) context_->retain(index_);
}
Event::~Event() {
  if (context_ != nullptr) context_->release(index_);
}
void Event::trigger() {
  context_->trigger(index_);
  context_->run_ready();
}
bool Event::triggered() const { return context_->states_[index_].missing == 0; }
bool Event::Awaiter::await_ready() const { return context->states_[index].missing == 0; }
void Event::Awaiter::await_suspend(ProcessHandle process) const {
  context->wait(index, {process, ProcessContext::kNone, ProcessContext::kNone});
}

ProcessContext::~ProcessContext() {
  // The frames hold events of this context, and may start nothing any more.
  running_ = true;
  while (!live_.empty()) {
    const ProcessHandle last = live_.back();
    live_.pop_back();
    last.destroy();
  }
}

Event ProcessContext::start(Process process) {
  Event done = event();
  const ProcessHandle handle = std::exchange(process.handle_, {});
  handle.promise().done = done.index_;
  handle.promise().position = live_.size();
  retain(done.index_);
  live_.push_back(handle);
  ready_.push_back(handle);
  run_ready();
  return done;
}

Event ProcessContext::event() {
  const std::uint32_t index = new_state(1);
  retain(index);
  return {this, index};
}

Event ProcessContext::any_of(std::span<const Event> events) { return composite(events, 1); }

Event ProcessContext::all_of(std::span<const Event> events) {
  return composite(events, static_cast<std::uint32_t>(events.size()));
}

Event ProcessContext::composite(std::span<const Event> events, std::uint32_t missing) {
  const std::uint32_t index = new_state(missing);
  retain(index);
  for (const Event& one : events) {
    if (one.triggered()) {
      trigger(index);
    } else {
      retain(index);  // by the waiter
      wait(one.index_, {{}, index, kNone});
    }
  }
  return {this, index};
}

void ProcessContext::make_ready(ProcessHandle process) {
  ready_.push_back(process);
  run_ready();
}

Event ProcessContext::numbered_event(std::uint32_t& number) {
  Event event = this->event();
  number = event.index_;
  retain(number);  // by the timer
  return event;
}

void ProcessContext::trigger_numbered(std::uint32_t number) {
  trigger(number);
  release(number);
  run_ready();
}

std::uint32_t ProcessContext::new_state(std::uint32_t missing) {
  std::uint32_t index = 0;
  if (free_states_.empty()) {
    check(states_.size() < kNone, "too many events between processes");
    index = static_cast<std::uint32_t>(states_.size());
    states_.emplace_back();
  } else {
    index = free_states_.back();
    free_states_.pop_back();
  }
  states_[index] = {0, missing, kNone, kNone};
  return index;
}

void ProcessContext::release(std::uint32_t index) {
  State& state = states_[index];
  if (--state.references > 0) return;
  // Nobody can trigger it any more: who waits for it waits for ever, and composites lose their hold.
  std::uint32_t waiter = std::exchange(state.first_waiter, kNone);
  free_states_.push_back(index);
  while (waiter != kNone) {
    const Waiter gone = waiters_[waiter];
    free_waiters_.push_back(waiter);
    if (gone.composite != kNone) release(gone.composite);
    waiter = gone.next;
  }
}

void ProcessContext::wait(std::uint32_t index, const Waiter& waiter) {
  std::uint32_t place = 0;
  if (free_waiters_.empty()) {
    place = static_cast<std::uint32_t>(waiters_.size());
    waiters_.push_back(waiter);
  } else {
    place = free_waiters_.back();
    free_waiters_.pop_back();
    waiters_[place] = waiter;
  }
  State& state = states_[index];
  (state.first_waiter == kNone ? state.first_waiter : waiters_[state.last_waiter].next) = place;
  state.last_waiter = place;
}

// Counts one trigger; with the last one, all that wait become ready in the order in which they came.
void ProcessContext::trigger(std::uint32_t index) {
  if (states_[index].missing == 0 || --states_[index].missing > 0) return;
  std::uint32_t waiter = std::exchange(states_[index].first_waiter, kNone);
  while (waiter != kNone) {
    const Waiter one = waiters_[waiter];
    free_waiters_.push_back(waiter);
    if (one.composite == kNone) {
      ready_.push_back(one.process);
    } else {
      trigger(one.composite);
      release(one.composite);
    }
    waiter = one.next;
  }
}

// The loop that runs whoever is ready; a process that makes others ready leaves them to it.
void ProcessContext::run_ready() {
  if (running_) return;
  running_ = true;
  while (!ready_.empty()) {
    const ProcessHandle process = ready_.front();
    ready_.pop_front();
    try {
      resume(process);
    } catch (...) {
      running_ = false;
      throw;
    }
  }
  running_ = false;
}

void ProcessContext::resume(ProcessHandle process) {
  process.resume();
  if (!process.done()) return;
  const std::exception_ptr failure = process.promise().failure;
  const std::uint32_t done = process.promise().done;
  const std::size_t position = process.promise().position;
  live_[position] = live_.back();
  live_[position].promise().position = position;
  live_.pop_back();
  process.destroy();
  trigger(done);
  release(done);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moesim::core
