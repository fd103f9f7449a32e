// What fuzz targets share.
#pragma once

#include <sluice/error.hpp>

namespace sluice::test {

// Reads bytes that may be anything: taken, or refused by Error. Nothing else may come out.
template <typename Read>
void refuse_or(const Read& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

}  // namespace sluice::test
