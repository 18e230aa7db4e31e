// A model made small enough that one core computes one of its layers in a fraction of a second.
#pragma once

#include <string>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::studies {

// Groups are those of the model, one layer each. `sizes` and `not_checked` are by group: of its attention,
// and of its FFN.
struct ScaledModel {
  struct Part {
    std::vector<serving::ScaledSize> sizes;
    std::vector<std::string> not_checked;
  };
  llm::Architecture model;
  llm::Layout layout;
  std::vector<Part> attention;
  std::vector<Part> ffn;
};

// The rule. A size is halved (rounding up) until it is at most its limit:
//  - hidden size and width of an expert: 256 (128 where a rank layout needs more than 64 experts), then
//    rounded up to whole quantisation blocks and to what the ranks that cut it need; a shared expert, a
//    latent space of the experts likewise;
//  - experts: 32, but whole shares of every expert rank and at least top_k; top_k stays;
//  - KV heads: 2, but whole shares of every tensor rank; query heads keep their number per KV head;
//  - head dimension: 32, and the value and rotated parts by the same factor; latent attention: everything by
//    8;
//  - window, chunk: 48 tokens; keys chosen by an indexer: 24; chunk of a recurrent layer: 16;
//  - heads of recurrent layers: as few as the tensor ranks and the ratio of values to keys allow, 16 wide.
// Pipeline stages and decode-context ranks become 1, context-parallel ranks data-parallel ones. Kinds of
// attention without a reference kernel become none, and are named.
[[nodiscard]] ScaledModel scale_model(const llm::Architecture& model, const llm::Layout& layout,
                                      const llm::Formats& formats);

}  // namespace moesim::studies
