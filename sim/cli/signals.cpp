#include "sim/cli/signals.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace moesim::cli {

namespace {

// A signal handler has no other way to speak to the program.
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

struct sigaction old_interrupt {};
struct sigaction old_terminate {};

extern "C" void on_signal(int number) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, number)) ::_exit(128 + number);
}

}  // namespace

SignalGuard::SignalGuard() {
  first_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &old_interrupt);
  ::sigaction(SIGTERM, &action, &old_terminate);
}

SignalGuard::~SignalGuard() {
  ::sigaction(SIGINT, &old_interrupt, nullptr);
  ::sigaction(SIGTERM, &old_terminate, nullptr);
}

int SignalGuard::received() { return first_signal; }

void ignore_broken_pipes() { ::signal(SIGPIPE, SIG_IGN); }

}  // namespace moesim::cli
