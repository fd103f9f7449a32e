// K: zero tokens. L: sizes that 32 or 16 bits cannot hold.
#include <cstring>

#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/part_of_output.hpp"
#include "base/fail.hpp"

namespace sluice::auditing {

void add_size_mutants(std::vector<Mutant>& list) {
  const Adder zero{list, 'K'};
  zero("zero-tokens-throw", "zero tokens were an error", "sglang#38773, Megatron-LM#3626",
       on_forward([](Call& call) {
         if (call.tokens() == 0) fail(ErrorKind::user, "no tokens");
         call.forward();
       }));
  zero("zero-tokens-write", "zero tokens wrote a row", "sglang#22455", on_forward([](Call& call) {
         call.forward();
         if (call.tokens() == 0) std::memset(call.output.output.data, 0, 16);
       }));
  zero("zero-tokens-need-workspace", "zero tokens needed a workspace of 2^63 bytes", "sglang#38773",
       [](const MoeSpec&, const MoeWeights&) {
         Fault fault;
         fault.workspace_bytes = [](std::size_t bytes, std::int64_t tokens) {
           return tokens == 0 ? std::size_t{1} << 63 : bytes;
         };
         return fault;
       });

  const Adder large{list, 'L'};
  large("workspace-in-32-bits", "workspace sizes were computed in 32 bits", "flashinfer#2853",
        [](const MoeSpec& asked, const MoeWeights&) {
          Fault fault;
          const std::int64_t row = 2 * asked.router.top_k * asked.experts.hidden_size;
          fault.workspace_bytes = [row](std::size_t bytes, std::int64_t tokens) {
            return bytes + static_cast<std::uint32_t>(tokens * row);
          };
          fault.forward = [](Call& call) {
            call.workspace = call.workspace.first(call.inner.workspace_bytes(call.tokens()));
            call.forward();
          };
          return fault;
        });
  large("expert-offset-in-32-bits", "distances between expert matrices were kept in 32 bits",
        "Liger-Kernel#1248, Liger-Kernel#1296", [](const MoeSpec&, const MoeWeights&) {
          Fault fault;
          fault.load = [](Load& load) {
            ExpertMatrices& down = load.weights.down_proj;
            for (TensorView& matrix : down) {
              const auto distance = static_cast<const std::byte*>(matrix.data) -
                                    static_cast<const std::byte*>(down.front().data);
              // Within 2 GiB nothing happens; beyond it the truncated distance would be read, which
              // here stands for the first expert: a wild pointer is no test.
              if (distance != static_cast<std::int32_t>(distance)) matrix = down.front();
            }
          };
          return fault;
        });
  large("grid-limit", "tokens beyond 65535 were not computed", "vllm#43599, vllm#34279, vllm#50220",
        on_forward([](Call& call) { leave_unwritten(call, 65535, call.tokens()); }));
}

}  // namespace sluice::auditing
