// From the batches of a step to what each rank does at kernel fidelity.
#pragma once

#include <cstdint>
#include <span>

#include "models/hardware/topology.hpp"
#include "models/llm/batch.hpp"
#include "models/llm/lowering.hpp"
#include "sim/execution/kernel_program.hpp"
#include "sim/execution/replica_pricer.hpp"

namespace moesim::execution {

class KernelPlanner {
 public:
  // `memo` remembers the drawn loads of experts; it changes no result.
  KernelPlanner(ReplicaSetup setup, bool memo);

  [[nodiscard]] const llm::BatchRule& batch_rule() const { return pricer_.batch_rule(); }

  // The step of a replica on `devices` (one per rank: tensor rank t of data-parallel rank d is d * tp + t),
  // in the routing epoch `epoch`. `batches` has `lanes` micro-batches per data-parallel rank side by side,
  // none empty. Prices are those of StepModel. The rows of an exchange between ranks are drawn, unless the
  // popularity is balanced.
  [[nodiscard]] KernelProgram plan(std::span<const llm::RankBatch> batches, std::size_t lanes,
                                   std::int64_t epoch, std::span<const hardware::DeviceIndex> devices);

  // An all-reduce of `bytes` among devices that belong to no replica.
  [[nodiscard]] KernelProgram all_reduce(std::int64_t bytes, std::span<const hardware::DeviceIndex> devices,
                                         const hardware::GroupProfile& profile) const;

 private:
  struct Step;  // what a plan knows of one micro-batch of all ranks while it is made

  [[nodiscard]] KernelOp kernel(const llm::Operator& op, Part part) const;
  [[nodiscard]] KernelOp collective(const cost::Price& price, std::string_view name, Part part) const;
  [[nodiscard]] Step prepare(std::vector<llm::RankBatch> batches, std::size_t lane, std::int64_t epoch,
                             KernelProgram& program);
  void add_meetings(Step& step, std::size_t group, const llm::RankBatch& fullest, std::int64_t epoch,
                    KernelProgram& program);
  [[nodiscard]] KernelLane lane_of(const Step& step, std::size_t rank);
  void add_communicators(KernelProgram& program) const;
  [[nodiscard]] std::vector<KernelOp> operators(const Step& step, std::span<llm::Operator> lowered,
                                                std::size_t group, std::size_t rank) const;
  [[nodiscard]] std::vector<KernelOp> ends(std::span<const llm::Operator> lowered, std::size_t rank) const;
  [[nodiscard]] std::uint32_t communicator(llm::Group group, std::size_t rank) const;
  [[nodiscard]] std::shared_ptr<const PairBytes> pair_bytes(const std::vector<std::int64_t>& rows,
                                                            std::int64_t bytes_per_row, bool combine) const;

  ReplicaPricer pricer_;
  std::vector<llm::LayerRun> runs_;
  double collective_multiprocessors_ = 0;  // share of a device
  llm::StepOperators lowered_;
};

}  // namespace moesim::execution
