// What `moesim kernels` can do: each action is a class of its own, in a file of its own.
#pragma once

#include <memory>
#include <string_view>

#include "sim/cli/command.hpp"

namespace moesim::cli {

class KernelsAction {
 public:
  virtual ~KernelsAction() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;      // the first word after `moesim kernels`
  [[nodiscard]] virtual std::string_view summary() const = 0;   // one line
  [[nodiscard]] virtual std::string_view usage() const = 0;     // "check [--golden DIR] ..."
  [[nodiscard]] virtual std::string_view examples() const = 0;  // lines
  // Flags of this action. No two actions may declare the same one.
  virtual void declare(Arguments& arguments) = 0;
  // Does the work after parsing; returns the exit code.
  virtual int execute(const Context& context) = 0;
};

[[nodiscard]] std::unique_ptr<KernelsAction> make_kernels_check();
[[nodiscard]] std::unique_ptr<KernelsAction> make_kernels_route();
[[nodiscard]] std::unique_ptr<KernelsAction> make_kernels_bench();

}  // namespace moesim::cli
