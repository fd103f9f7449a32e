// Bytes as the files of an evaluation: problems, completions to score, records to continue from.
// Only sluice::Error may come out.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <sluice/eval.hpp>

#include "base/fuzzing.hpp"
#include "eval/answer_statistics.hpp"
#include "eval/records.hpp"

using sluice::test::refuse_or;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = memfd_create("fuzz", MFD_CLOEXEC);
  static const std::string path = fmt::format("/proc/self/fd/{}", file);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) < 0) std::abort();
  refuse_or([&] {
    for (const auto& problem : sluice::read_problems(path))
      sluice::build_prompt({}, problem.question);
  });
  refuse_or([&] { sluice::score(sluice::read_completions(path)); });
  refuse_or([&] {
    const sluice::EvalRecords records(path, R"({"a": 1})", {"x"}, 4, true);
    sluice::SubjectReport report;
    for (std::size_t problem = 0; problem < 4; ++problem) {
      if (const auto answers = records.find(problem)) report.answers.push_back(answers->front());
    }
    sluice::summarise(report, report.answers);
  });
  return 0;
}
