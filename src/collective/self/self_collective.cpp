// One rank: nothing to sum with.
#include <sluice/collective.hpp>

namespace sluice {
namespace {

class SelfCollective final : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void sum(std::span<float>) override {}
};

}  // namespace

std::shared_ptr<Collective> make_self_collective() { return std::make_shared<SelfCollective>(); }

}  // namespace sluice
