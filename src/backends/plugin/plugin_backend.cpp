#include <cstring>
#include <sstream>

#include <sluice/plugin_backend.hpp>

#include "backends/plugin/c_spec.hpp"
#include "backends/plugin/plugin_experts.hpp"
#include "base/fail.hpp"

namespace sluice {
namespace {

using plugin::SharedObject;

FieldSet read_claims(const SharedObject& object) {
  FieldSet claims;
  for (const char* const* name = object.plugin().claims(); name != nullptr && *name != nullptr;
       ++name) {
    const auto id = try_find_field(*name);
    if (!id) {
      fail(ErrorKind::user,
           "the plugin {} claims \"{}\", which is no field; docs/fields.md has all", object.path(),
           *name);
    }
    claims.add(field(*id).name);
  }
  return claims;
}

// "field: reason" lines; a line without a field's name is kept whole under the plugin's name.
std::vector<Refusal> read_refusals(const SharedObject& object, const std::string& text) {
  std::vector<Refusal> refusals;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(": ");
    const auto id =
        colon == std::string::npos ? std::nullopt : try_find_field(line.substr(0, colon));
    if (id) {
      refusals.push_back({std::string(field(*id).name), line.substr(colon + 2)});
    } else if (!line.empty()) {
      refusals.push_back({object.plugin().name, line});
    }
  }
  if (refusals.empty()) refusals.push_back({object.plugin().name, "refused without a reason"});
  return refusals;
}

class PluginBackend final : public Backend {
 public:
  explicit PluginBackend(const std::filesystem::path& path)
      : object_(std::make_shared<const SharedObject>(path)),
        name_(object_->plugin().name),
        claims_(read_claims(*object_)) {}

  std::string_view name() const override { return name_; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return claims_; }
  bool batch_invariant() const override { return object_->plugin().batch_invariant != 0; }

  Support supports(const MoeSpec& spec) const override {
    const char* version = object_->plugin().version;
    Support support{version == nullptr ? "plugin" : version, {}};
    if (object_->plugin().supports == nullptr) return support;
    const sluice_spec c_spec = plugin::to_c(spec);
    sluice_message message{};
    if (object_->plugin().supports(&c_spec, &message) != SLUICE_OK) {
      support.refusals = read_refusals(
          *object_, std::string(message.text, strnlen(message.text, sizeof message.text)));
    }
    return support;
  }

  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    const int threads = options.executor ? options.executor->workers() : 1;
    return std::make_unique<plugin::PluginExperts>(object_, spec, weights, threads);
  }

 private:
  std::shared_ptr<const SharedObject> object_;
  std::string name_;
  FieldSet claims_;
};

}  // namespace

std::unique_ptr<Backend> load_plugin(const std::filesystem::path& shared_object) {
  return std::make_unique<PluginBackend>(shared_object);
}

}  // namespace sluice
