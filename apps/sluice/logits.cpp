// sluice logits: a model's logits on given ids.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

#include "base/fail.hpp"
#include "model_files.hpp"
#include "output/files.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(FILE holds one list of ids, [1, 2, 3], or a list of lists of any lengths, [[1, 2], [3]]; lists of
a batch do not see each other. F gets "logits" [ids, vocabulary] F32, one row per id, or for a list
of lists "logits.0", "logits.1", ….

Example: logits to lay beside another engine's
  echo '[1, 15, 27]' > ids.json
  sluice logits --model DIR --ids ids.json --backend reference --out logits.safetensors)";

struct Options {
  ModelChoice model;
  std::string ids;
  std::string out;
  std::string backend;
};

using Ids = std::vector<std::int32_t>;

Ids one_list(const nlohmann::json& json, const std::string& path) {
  Ids ids;
  for (const auto& id : json) {
    if (!id.is_number_integer() || id < 0 || id > 0x7fffffff) {
      // Lists within lists may be nested deeper than printing them can follow.
      const std::string what = id.is_structured() ? id.type_name() : id.dump().substr(0, 40);
      fail(ErrorKind::user, "{}: {} is no token id", path, what);
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

struct IdLists {
  std::vector<Ids> lists;
  bool batch = false;
};

IdLists read_ids(const std::string& path) {
  const auto json = nlohmann::json::parse(read_text(path), nullptr, false);
  if (json.is_discarded()) fail(ErrorKind::user, "{} is not valid JSON", path);
  if (!json.is_array() || json.empty()) {
    fail(ErrorKind::user, "{} must hold a list of ids, or a list of such lists", path);
  }
  IdLists read;
  read.batch = json.front().is_array();
  if (!read.batch) {
    read.lists.push_back(one_list(json, path));
    return read;
  }
  for (const auto& list : json) {
    if (!list.is_array()) fail(ErrorKind::user, "{}: lists and ids are mixed", path);
    read.lists.push_back(one_list(list, path));
  }
  return read;
}

int run_logits(const Options& options) {
  const IdLists ids = read_ids(options.ids);
  ModelOptions model_options = options.model.options();
  model_options.backend = options.backend;
  const auto model = load_with_progress(options.model, model_options, options.model.directory);

  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<SequenceInput> batch;
  for (const Ids& list : ids.lists) {
    sequences.push_back(model->new_sequence());
    batch.push_back({sequences.back().get(), list, kAllPositions});
  }
  Logits logits;
  model->forward(batch, logits);

  std::vector<NamedTensor> tensors;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < ids.lists.size(); ++i) {
    const std::int64_t rows = std::ssize(ids.lists[i]);
    // No ids: no row to point at, but the tensor has its name and shape.
    const void* data = rows > 0 ? logits.row(row).data() : static_cast<const void*>(&logits);
    tensors.push_back({ids.batch ? fmt::format("logits.{}", i) : "logits",
                       {data, DType::f32, {rows, model->description().vocab_size}, {}}});
    row += rows;
  }
  write_safetensors(options.out, tensors);
  fmt::print("{} {} of {} logits written to {}\n", row, row == 1 ? "row" : "rows",
             model->description().vocab_size, options.out);
  return kOk;
}

}  // namespace

Run declare_logits(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->model.declare(app);
  app.add_option("--ids", options->ids, "FILE: token ids, JSON")->required();
  app.add_option("--out", options->out, "F: where the logits go, safetensors")
      ->required()
      ->check(writable());
  app.add_option("--backend", options->backend, "Backend of the MoE layers");
  app.footer(kFooter);
  return [options] { return run_logits(*options); };
}

}  // namespace sluice::cli
