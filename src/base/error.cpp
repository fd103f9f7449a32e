#include <sluice/error.hpp>

namespace sluice {

const char* to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::user:
      return "user";
    case ErrorKind::checkpoint:
      return "checkpoint";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::device:
      return "device";
    case ErrorKind::internal:
      return "internal";
  }
  return "internal";
}

}  // namespace sluice
