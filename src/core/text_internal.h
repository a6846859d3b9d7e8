#pragma once

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace tierod::internal {

/// Concatenate the arguments as a stream would print them.
template <typename... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

/// Print a range as `[a, b, c]`, shortened after `limit` items.
template <typename Range>
std::string list_text(const Range& items, std::size_t limit = 12) {
  std::ostringstream out;
  out << '[';
  std::size_t seen = 0;
  for (const auto& item : items) {
    if (seen == limit) {
      out << ", ...";
      break;
    }
    if (seen++ > 0) out << ", ";
    out << item;
  }
  out << ']';
  return std::move(out).str();
}

/// Add to a note what it does not say yet, after a semicolon.
inline void add_note(std::string& note, std::string_view more) {
  if (more.empty() || note.find(more) != std::string::npos) return;
  if (!note.empty()) note += "; ";
  note += more;
}

/// Add a note to a list that does not hold it yet.
inline void add_note(std::vector<std::string>& notes, std::string_view more) {
  if (more.empty() || std::find(notes.begin(), notes.end(), more) != notes.end()) return;
  notes.emplace_back(more);
}

/// Split at every `separator`; an empty text gives one empty piece.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    pieces.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return pieces;
    begin = end + 1;
  }
}

}  // namespace tierod::internal
