#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "moe_bench.hpp"

namespace sluice::bench {
namespace {

nlohmann::json json_of(const Spread& spread) {
  return {{"low", spread.low}, {"median", spread.median}, {"high", spread.high}};
}

// Empty where none compute: on a GPU.
std::string threads_text(int threads) {
  return threads > 0 ? fmt::format(", {} thread{}", threads, threads == 1 ? "" : "s") : "";
}

}  // namespace

std::string to_json(const MoeBenchReport& report) {
  nlohmann::json json{{"shape", report.shape.name},
                      {"hidden_size", report.shape.hidden},
                      {"intermediate_size", report.shape.intermediate},
                      {"num_experts", report.shape.experts},
                      {"top_k", report.shape.top_k},
                      {"draw", to_string(report.draw)},
                      {"threads", report.threads},
                      {"variant", report.variant},
                      {"may_round_slot_outputs", report.may_round_slot_outputs},
                      {"peer", report.peer},
                      {"machine", report.machine},
                      {"operations_per_second_of", report.arithmetic_source},
                      {"weight_bytes", report.weight_bytes},
                      {"rows", nlohmann::json::array()}};
  for (const MoeBenchRow& row : report.rows) {
    nlohmann::json entry{{"tokens", row.tokens},
                         {"experts_hit", row.experts_hit},
                         {"rounds", row.rounds},
                         {"milliseconds", json_of(row.milliseconds)},
                         {"floor_milliseconds", json_of(row.floor_milliseconds)},
                         {"percent_of_floor", json_of(row.percent_of_floor)},
                         {"read_bytes_per_second", json_of(row.bandwidth)},
                         {"operations_per_second", json_of(row.arithmetic)},
                         {"bytes", row.bytes},
                         {"operations", row.operations},
                         {"workspace_bytes", row.workspace_bytes},
                         {"checked_tokens", row.checked_tokens}};
    if (!report.peer.empty()) {
      entry["peer_milliseconds"] = json_of(row.peer_milliseconds);
      entry["ratio_to_peer"] = json_of(row.ratio);
    }
    json["rows"].push_back(entry);
  }
  return json.dump(2);
}

std::string to_text(const MoeBenchReport& report) {
  std::string text = fmt::format("{} (H {}, I {}, E {}, K {}), {} routing, {}{}, {}\n",
                                 report.shape.name, report.shape.hidden, report.shape.intermediate,
                                 report.shape.experts, report.shape.top_k, to_string(report.draw),
                                 report.variant, threads_text(report.threads), report.machine);
  if (report.may_round_slot_outputs)
    text += "expert outputs may be rounded before they are summed\n";
  std::size_t workspace = 0;
  for (const MoeBenchRow& row : report.rows) workspace = std::max(workspace, row.workspace_bytes);
  text += fmt::format("packed weights {:.2f} GB, workspace {:.3f} GB; arithmetic rate: {}\n",
                      static_cast<double>(report.weight_bytes) * 1e-9,
                      static_cast<double>(workspace) * 1e-9, report.arithmetic_source);
  text += fmt::format("{:>6} {:>5} {:>9} {:>17} {:>9} {:>7} {:>7} {:>8}", "tokens", "hit", "ms",
                      "quartiles", "floor ms", "% floor", "GB/s", "GFLOP/s");
  if (!report.peer.empty()) text += fmt::format(" {:>9}  ratio to {}", "peer ms", report.peer);
  text += "\n";
  for (const MoeBenchRow& row : report.rows) {
    text += fmt::format(
        "{:>6} {:>5} {:>9.4f} {:>8.4f}-{:<8.4f} {:>9.4f} {:>7.1f} {:>7.1f} {:>8.0f}", row.tokens,
        row.experts_hit, row.milliseconds.median, row.milliseconds.low, row.milliseconds.high,
        row.floor_milliseconds.median, row.percent_of_floor.median, row.bandwidth.median * 1e-9,
        row.arithmetic.median * 1e-9);
    if (!report.peer.empty()) {
      text += fmt::format(" {:>9.3f}  {:.2f} ({:.2f} to {:.2f})", row.peer_milliseconds.median,
                          row.ratio.median, row.ratio.low, row.ratio.high);
    }
    text += "\n";
  }
  return text;
}

}  // namespace sluice::bench
