// Text tables for people: columns as wide as their widest cell, numbers to the right.
#pragma once

#include <string>
#include <vector>

namespace sluice::cli {

struct Column {
  std::string title;
  bool number = false;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);  // missing cells at the end are empty
  std::string text() const;                  // with a final newline

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "1.50 GiB", "12.00 KiB", "7 B".
std::string human_bytes(double bytes);

}  // namespace sluice::cli
