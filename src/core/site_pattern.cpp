#include <algorithm>
#include <charconv>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"

namespace tierod {

using internal::cat;
using internal::split;

namespace {

bool parse_number(std::string_view text, std::int64_t& value) {
  if (text.empty()) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_range(std::string_view body, std::int64_t& low, std::int64_t& high) {
  const std::size_t dots = body.find("..");
  return dots != std::string_view::npos && parse_number(body.substr(0, dots), low) &&
         parse_number(body.substr(dots + 2), high);
}

void check_braces(std::string_view segment, std::string_view pattern) {
  std::size_t at = 0;
  while ((at = segment.find_first_of("{}", at)) != std::string_view::npos) {
    const std::size_t close = segment.find('}', at);
    if (segment[at] == '}' || close == std::string_view::npos) {
      throw InvalidArgument(cat("[core.SitePattern] '", pattern,
                                "' has an unmatched brace; write '{0..5}' or '{q,k,v}'"));
    }
    const std::string_view body = segment.substr(at + 1, close - at - 1);
    std::int64_t low = 0;
    std::int64_t high = 0;
    if (body.empty() || body.find('{') != std::string_view::npos) {
      throw InvalidArgument(cat("[core.SitePattern] '", pattern,
                                "' has an empty or nested brace; write '{0..5}' or '{q,k,v}'"));
    }
    if (body.find('*') != std::string_view::npos) {
      throw InvalidArgument(cat("[core.SitePattern] '{", body, "}' in '", pattern,
                                "' has a '*' within braces; list whole words, or use '*' outside"));
    }
    if (body.find("..") != std::string_view::npos) {
      if (!parse_range(body, low, high) || low < 0 || high < low) {
        throw InvalidArgument(cat("[core.SitePattern] '{", body, "}' in '", pattern,
                                  "' is no range; write '{0..5}' with 0 <= first <= last"));
      }
    }
    at = close + 1;
  }
}

// Match one segment. Recursion is bounded by the number of wildcards in the segment.
bool match_segment(std::string_view pattern, std::string_view text) {
  while (!pattern.empty()) {
    const char c = pattern.front();
    if (c == '*') {
      const std::string_view rest = pattern.substr(1);
      for (std::size_t skip = 0; skip <= text.size(); ++skip) {
        if (match_segment(rest, text.substr(skip))) return true;
      }
      return false;
    }
    if (c == '{') {
      const std::size_t close = pattern.find('}');
      const std::string_view body = pattern.substr(1, close - 1);
      const std::string_view rest = pattern.substr(close + 1);
      std::int64_t low = 0;
      std::int64_t high = 0;
      if (parse_range(body, low, high)) {
        for (std::size_t digits = 1; digits <= text.size(); ++digits) {
          std::int64_t value = 0;
          // '007' is no way to write 7: a site has one name.
          const bool canonical = digits == 1 || text.front() != '0';
          if (!parse_number(text.substr(0, digits), value) || text.front() == '-') break;
          if (canonical && value >= low && value <= high &&
              match_segment(rest, text.substr(digits))) {
            return true;
          }
        }
        return false;
      }
      for (const std::string_view word : split(body, ',')) {
        if (text.starts_with(word) && match_segment(rest, text.substr(word.size()))) {
          return true;
        }
      }
      return false;
    }
    if (text.empty() || text.front() != c) return false;
    pattern.remove_prefix(1);
    text.remove_prefix(1);
  }
  return text.empty();
}

bool match_segments(const std::string* pattern, const std::string* pattern_end,
                    const std::string_view* name, const std::string_view* name_end) {
  for (; pattern != pattern_end; ++pattern, ++name) {
    if (*pattern == "**") {
      for (const std::string_view* at = name; at <= name_end; ++at) {
        if (match_segments(pattern + 1, pattern_end, at, name_end)) return true;
      }
      return false;
    }
    if (name == name_end || !match_segment(*pattern, *name)) return false;
  }
  return name == name_end;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

/// Remember which sites a pattern matches, by Site::id(). A session for one forward is made again
/// and again with the same few patterns.
struct SitePattern::Memo {
  enum Answer : std::uint8_t { unknown, yes, no };

  std::mutex mutex;
  std::vector<Answer> answers;

  /// Return what all patterns of this text share.
  static std::shared_ptr<Memo> of(const std::string& text) {
    constexpr std::size_t kKept = 256;  // who makes up patterns without end must not fill memory
    static std::mutex mutex;
    static auto* memos = new std::unordered_map<std::string, std::shared_ptr<Memo>>;
    const std::scoped_lock lock(mutex);
    if (memos->size() >= kKept && !memos->contains(text)) memos->clear();
    std::shared_ptr<Memo>& memo = (*memos)[text];
    if (!memo) memo = std::make_shared<Memo>();
    return memo;
  }
};

SitePattern::SitePattern(std::string_view pattern) : text_(pattern) {
  if (pattern.empty()) {
    throw InvalidArgument(
        "[core.SitePattern] expected a site name or pattern such as '**.resid_post', got an empty "
        "text");
  }
  exact_ = pattern.find_first_of("*{}") == std::string_view::npos;
  if (exact_) check_site_name(pattern);
  // A range keeps its dots: '{0..5}' must not be split into segments.
  std::string current;
  int depth = 0;
  std::vector<std::string> segments;
  for (const char c : pattern) {
    if (c == '{') ++depth;
    if (c == '}') --depth;
    if (c == '.' && depth == 0) {
      segments.push_back(std::move(current));
      current.clear();
    } else {
      current.push_back(c);
    }
  }
  segments.push_back(std::move(current));
  for (const std::string& segment : segments) {
    if (segment.empty()) {
      throw InvalidArgument(cat("[core.SitePattern] '", pattern,
                                "' has an empty segment; write dotted segments such as "
                                "'layers.*.resid_post'"));
    }
    if (segment != "**" && segment.find("**") != std::string::npos) {
      throw InvalidArgument(cat("[core.SitePattern] '**' must stand alone between dots, got '",
                                segment, "' in '", pattern, "'; use '*' within a segment"));
    }
    check_braces(segment, pattern);
  }
  segments_ = std::move(segments);
  if (!exact_) memo_ = Memo::of(text_);
}

bool SitePattern::matches(const Site& site) const {
  if (exact_) return site.name() == text_;
  const std::scoped_lock lock(memo_->mutex);
  if (site.id() >= memo_->answers.size()) memo_->answers.resize(site.id() + 1, Memo::unknown);
  Memo::Answer& answer = memo_->answers[site.id()];
  if (answer == Memo::unknown) answer = matches(site.name()) ? Memo::yes : Memo::no;
  return answer == Memo::yes;
}

bool SitePattern::matches(std::string_view name) const {
  if (exact_) return name == text_;
  const std::vector<std::string_view> pieces = split(name, '.');
  return match_segments(segments_.data(), segments_.data() + segments_.size(), pieces.data(),
                        pieces.data() + pieces.size());
}

std::vector<std::string> nearest_names(std::string_view name,
                                       const std::vector<std::string>& candidates,
                                       std::size_t limit) {
  std::vector<std::pair<std::size_t, const std::string*>> scored;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance <= std::max(name.size(), candidate.size()) / 2 + 1) {
      scored.emplace_back(distance, &candidate);
    }
  }
  std::stable_sort(scored.begin(), scored.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> nearest;
  for (const auto& [distance, candidate] : scored) {
    if (nearest.size() == limit) break;
    nearest.push_back(*candidate);
  }
  return nearest;
}

}  // namespace tierod
