// sluice logits: a model's logits on given ids.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

#include "at_least.hpp"
#include "base/fail.hpp"
#include "model_files.hpp"
#include "output/files.hpp"
#include "output/progress.hpp"
#include "position_warning.hpp"
#include "refuse_shared_files.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(FILE holds one list of ids, [1, 2, 3], or a list of lists of any lengths, [[1, 2], [3]]; lists of
a batch do not see each other. F gets "logits" [ids, vocabulary] F32, one row per id, or for a list
of lists "logits.0", "logits.1", …. --pieces 40,1 gives the model the first 40 ids of every list at
once and the rest one at a time, as decoding does.

Example: logits to lay beside another engine's
  echo '[1, 15, 27]' > ids.json
  sluice logits --model DIR --ids ids.json --backend reference --out logits.safetensors)";

struct Options {
  ModelChoice model;
  std::string ids;
  std::string out;
  std::string backend;
  std::vector<std::int64_t> pieces;
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

// All lists side by side, a piece of each at a time; the last size repeats. No sizes: all at once.
// One [ids, vocabulary] buffer per list.
std::vector<std::vector<float>> feed(Model& model, const std::vector<Ids>& lists,
                                     const std::vector<std::int64_t>& pieces) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<std::vector<float>> rows(lists.size());
  std::size_t longest = 0;
  for (const Ids& list : lists) {
    sequences.push_back(model.new_sequence());
    longest = std::max(longest, list.size());
  }
  ProgressLine line("computing");
  std::size_t fed = 0;
  for (std::size_t step = 0; step == 0 || fed < longest; ++step) {
    const std::size_t piece =
        pieces.empty() ? longest
                       : static_cast<std::size_t>(pieces[std::min(step, pieces.size() - 1)]);
    std::vector<SequenceInput> batch;
    std::vector<std::size_t> owners;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const std::span<const std::int32_t> ids(lists[i]);
      const auto part = ids.subspan(std::min(fed, ids.size()));
      batch.push_back(
          {sequences[i].get(), part.first(std::min(piece, part.size())), kAllPositions});
      owners.insert(owners.end(), batch.back().ids.size(), i);
    }
    Logits logits;
    model.forward(batch, logits);
    for (std::size_t row = 0; row < owners.size(); ++row) {
      const auto values = logits.row(static_cast<std::int64_t>(row));
      rows[owners[row]].insert(rows[owners[row]].end(), values.begin(), values.end());
    }
    fed += piece;
    line.update(static_cast<double>(std::min(fed, longest)), static_cast<double>(longest),
                fmt::format("{} of {} ids", std::min(fed, longest), longest));
  }
  return rows;
}

int run_logits(const CLI::App& app, const Options& options) {
  refuse_shared_files(app, {"--out"}, {"--ids"});
  const IdLists ids = read_ids(options.ids);
  ModelOptions model_options = options.model.options();
  model_options.backend = options.backend;
  const auto model = load_with_progress(options.model, model_options, options.model.directory);
  std::int64_t longest = 0;
  for (const Ids& list : ids.lists) longest = std::max(longest, std::ssize(list));
  warn_beyond_positions(model->description(), "the longest list", longest, 0, "give shorter lists");

  const auto logits = feed(*model, ids.lists, options.pieces);
  std::vector<NamedTensor> tensors;
  std::int64_t row = 0;
  for (std::size_t i = 0; i < ids.lists.size(); ++i) {
    const std::int64_t rows = std::ssize(ids.lists[i]);
    // No ids: nothing to point at, but the tensor has its name and shape.
    const void* data = rows > 0 ? logits[i].data() : static_cast<const void*>(&logits);
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
      ->check(writable_file());
  app.add_option("--backend", options->backend, "Backend of the MoE layers");
  app.add_option("--pieces", options->pieces,
                 "N,…: ids of a list given at a time; the last repeats")
      ->delimiter(',')
      ->check(at_least(1));
  app.footer(kFooter);
  return [options, &app] { return run_logits(app, *options); };
}

}  // namespace sluice::cli
