// A-priori error bounds of the gated delta rule, recurrent and in chunks, from the inputs alone (in double).
//
// The recurrence is linear in the state: an error of it passes M_t = e^g (I - beta k k^T), whose 2-norm is at
// most a_t = max(e^g) max(1, |1 - beta |k|^2|) <= max(e^g) for 0 <= beta |k|^2 <= 2. Taking absolute values
// element by element would instead let it grow by 1 + beta |k|^2 per token. So the bound of a column c of the
// state is one of its 2-norm: with u = 2^-24, rho_k the relative error of a normed key's elements ((key_dim +
// 2) / 2 + 4 roundings: no cancellation in a sum of squares) and rho_q of a query's (2 more),
//   e1 = a_t e + 3 u |e^g S_c|                                            (decay)
//   r  = (gamma_(key_dim) + rho_k) (sum |k_i| |S_ic| + |k| e1),            prediction
//   rd = |beta| (r + 2 u (|v_c - pred_c| + |k| e1 + r))                     difference and step size
//   e  = L e1 + |k| rd + (rho_k + 2 u) |k| |d_c| + u |S_c|                 update, L = max(1, |1 - beta
//   |k|^2|) |o^_c - o_c| <= |q| e + (gamma_(key_dim) + rho_q) (sum |q_i| |S_ic| + |q| e)
//
// Chunks of r tokens, with the names of delta_chunk.hpp, |x| element by element and Q = |Z| |S|, Z = beta e^G
// k:
//   decays: e^(G_i - G_j) is off by 2 (i - j) u, e^(G_i) by eps_i = i u |G_i| + 2 u (relatively);
//   alpha_ij = |beta_i| e^(G_i - G_j) sum |k_i| |k_j| (gamma_(key_dim) + 2 rho_k + (2 (i - j) + 2) u);
//   T:   (I + A) T^ = I + R, |R| <= X |T^| with X = gamma_r |A| + alpha (forward substitution), so that
//        |T^ - T| <= E with E = |T| X (|T| + E), solved exactly: |T| X is strictly lower triangular;
//   D:   e_D = E (|beta v| + Q) + |T| ((gamma_r + u) |beta v| + (zeta + gamma_r + gamma_(key_dim)) Q) + 2 u
//   |D|,
//        zeta_i = eps_i + 2 u + rho_k;
//   o:   (eps_i + 2 u + rho_q + gamma_(key_dim + r)) |e^G q| |S| + pi (|D| + e_D) + |P| (e_D + gamma_(key_dim
//   + r) |D|),
//        pi as alpha with rho_q, without beta;
//   S:   (eps_r + u + gamma_r) |e^G S| + sum_j e^(G_r - G_j) |k_j| ((2 (r - j) u + u + rho_k + gamma_(r + 1))
//   |D_j|
//        + e_D,j),
// each with |S| raised by the error of the state before the chunk, which passes on by the products of the
// a_t. Terms of second order are covered by a factor 1.01.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/bounds_attention.hpp"
#include "models/reference/delta_rule.hpp"

namespace moesim::reference {

struct DeltaBounds {
  std::vector<double> o;      // [tokens, value_heads, value_dim]
  std::vector<double> state;  // [value_heads, key_dim, value_dim]
};

// Of delta_rule_recurrent<float> from the (exact) `state` on, results stored as f32. One decay per head or
// per channel.
[[nodiscard]] DeltaBounds delta_bounds(const DeltaInputs<float>& in, const DeltaSizes& sizes,
                                       const DeltaOptions& options, std::span<const float> state);

// Of delta_rule_chunked<float>; one decay per head.
[[nodiscard]] DeltaBounds delta_chunk_bounds(const DeltaInputs<float>& in, const DeltaSizes& sizes,
                                             const DeltaOptions& options, std::span<const float> state);

}  // namespace moesim::reference
