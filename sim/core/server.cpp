#include "sim/core/server.hpp"

#include <bit>

#include "sim/core/check.hpp"

namespace moesim::core {

Server::Server(std::int64_t units, Discipline discipline) : units_(units), discipline_(discipline) {
  check(units > 0, "a server needs at least one unit");
}

bool Server::request(Time now, std::uint32_t id, std::int64_t units, std::uint32_t priority) {
  check(id < kMaximumIds, "the id of a request passes 20 bits");
  check(state_of(id) == State::idle, "an id that holds units or waits for some asks again");
  check(units >= 1 && units <= units_, "a request needs units that the server has");
  check(priority < kPriorities, "the priority of a request is out of range");
  busy_.add(now, 0);  // first of all: the clock may refuse
  if (id >= holders_.size()) holders_.resize(id + std::size_t{1});
  Holder& one = holders_[id];
  one.units = units;
  one.priority = discipline_ == Discipline::priority ? static_cast<std::uint8_t>(priority) : std::uint8_t{0};
  ++requested_;
  const std::uint64_t not_after =
      (std::uint64_t{2} << one.priority) - 1;  // priorities that go before, and its own
  if ((occupied_ & not_after) == 0 && units <= units_ - busy()) {
    grant(now, id);
    return true;
  }
  enqueue(id);
  waiting_.add(now, 1);
  return false;
}

const std::vector<std::uint32_t>& Server::release(Time now, std::uint32_t id) {
  check(holds(id), "an id that holds no units releases some");
  busy_.add(now, -holders_[id].units);
  holders_[id].state = State::idle;
  return grant_waiting(now);
}

const std::vector<std::uint32_t>& Server::cancel(Time now, std::uint32_t id) {
  check(waits(id), "a request that does not wait is cancelled");
  busy_.add(now, 0);
  take_out(id);
  waiting_.add(now, -1);
  holders_[id].state = State::idle;
  ++cancelled_;
  return grant_waiting(now);
}

void Server::enqueue(std::uint32_t id) {
  Holder& one = holders_[id];
  Queue& queue = queues_[one.priority];
  one.state = State::waiting;
  one.before = queue.last;
  one.behind = kNobody;
  (queue.last == kNobody ? queue.first : holders_[queue.last].behind) = id;
  queue.last = id;
  occupied_ |= std::uint64_t{1} << one.priority;
}

void Server::take_out(std::uint32_t id) {
  const Holder& one = holders_[id];
  Queue& queue = queues_[one.priority];
  (one.before == kNobody ? queue.first : holders_[one.before].behind) = one.behind;
  (one.behind == kNobody ? queue.last : holders_[one.behind].before) = one.before;
  if (queue.first == kNobody) occupied_ &= ~(std::uint64_t{1} << one.priority);
}

// Who waits first, or nobody.
std::uint32_t Server::next() const {
  return occupied_ == 0 ? kNobody : queues_[static_cast<std::size_t>(std::countr_zero(occupied_))].first;
}

void Server::grant(Time now, std::uint32_t id) {
  busy_.add(now, holders_[id].units);
  holders_[id].state = State::holding;
  ++granted_;
}

const std::vector<std::uint32_t>& Server::grant_waiting(Time now) {
  granted_now_.clear();
  for (std::uint32_t id = next(); id != kNobody && holders_[id].units <= units_ - busy(); id = next()) {
    take_out(id);
    waiting_.add(now, -1);
    grant(now, id);
    granted_now_.push_back(id);
  }
  return granted_now_;
}

}  // namespace moesim::core
