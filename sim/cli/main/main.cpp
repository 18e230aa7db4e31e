#include <cstdio>
#include <string>
#include <vector>

#include "sim/cli/command.hpp"
#include "sim/cli/signals.hpp"

int main(int argc, char* argv[], char* environment[]) {
  using moesim::cli::Writer;
  moesim::cli::ignore_broken_pipes();
  Writer out(stdout, "standard output");
  Writer err(stderr, "standard error");
  const std::vector<std::string> line(argv + (argc > 0 ? 1 : 0), argv + argc);
  return moesim::cli::run_program(line, moesim::cli::Environment(environment), out, err);
}
