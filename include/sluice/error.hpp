// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>

namespace sluice {

// Who has to act: the caller, whoever wrote the checkpoint, nobody (the combination is not
// supported here), whoever looks after the device, or us.
enum class ErrorKind { user, checkpoint, unsupported, device, internal };

const char* to_string(ErrorKind kind);

// `what()` names the thing that is wrong, shows both values and says what to do about it.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace sluice
