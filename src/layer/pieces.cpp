#include "layer/pieces.hpp"

#include "base/fail.hpp"

namespace sluice {
std::int64_t piece_tokens(const Experts& experts, std::int64_t tokens, std::size_t limit) {
  if (limit == 0 || experts.workspace_bytes(tokens) <= limit) return tokens;
  if (experts.workspace_bytes(1) > limit) {
    fail(ErrorKind::user, "workspace_limit is {} bytes; one token needs {}", limit,
         experts.workspace_bytes(1));
  }
  std::int64_t fits = 1;
  std::int64_t too_many = tokens;
  while (too_many - fits > 1) {
    const std::int64_t middle = fits + (too_many - fits) / 2;
    (experts.workspace_bytes(middle) <= limit ? fits : too_many) = middle;
  }
  return fits;
}

}  // namespace sluice
