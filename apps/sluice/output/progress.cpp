#include "output/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "output/to_stderr.hpp"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kInterval = std::chrono::milliseconds(200);

}  // namespace

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), start_(Clock::now()) {}

ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::update(double done, double total, const std::string& note) {
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now - start_ < kPatience || (shown_ && now - last_ < kInterval)) return;
  const double percent = total > 0 ? 100 * done / total : 0;
  to_stderr(fmt::format("\r\x1b[K{} {:.0f} %{}{}", what_, percent, note.empty() ? "" : "  ", note));
  shown_ = true;
  last_ = now;
}

void ProgressLine::clear() {
  if (!shown_) return;
  to_stderr("\r\x1b[K");
  shown_ = false;
}

}  // namespace sluice::cli
