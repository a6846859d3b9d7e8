#include "tierod/core/selection.h"

#include <algorithm>

#include "core/json_internal.h"
#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::Json;

namespace {

template <typename T>
void check_list(const std::vector<T>& values, const std::string& where, const char* name) {
  if (values.empty()) {
    throw InvalidArgument(cat(where, " the selection's ", name,
                              " is an empty list, which selects nothing; leave it out to select "
                              "everything"));
  }
  std::vector<T> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    throw InvalidArgument(
        cat(where, " the selection's ", name, " names an entry twice; list each entry once"));
  }
}

template <typename T>
bool contains(const std::optional<std::vector<T>>& list, const T& value) {
  return !list || std::find(list->begin(), list->end(), value) != list->end();
}

}  // namespace

Tokens Tokens::index(std::vector<std::int64_t> indices) {
  Tokens tokens;
  tokens.kind = Kind::index;
  tokens.values = std::move(indices);
  return tokens;
}

Tokens Tokens::range(std::optional<std::int64_t> begin, std::optional<std::int64_t> end) {
  Tokens tokens;
  tokens.kind = Kind::range;
  tokens.begin = begin;
  tokens.end = end;
  return tokens;
}

Tokens Tokens::positions(std::vector<std::int64_t> positions) {
  Tokens tokens;
  tokens.kind = Kind::positions;
  tokens.values = std::move(positions);
  return tokens;
}

Tokens Tokens::spans(std::vector<std::string> names) {
  Tokens tokens;
  tokens.kind = Kind::spans;
  tokens.names = std::move(names);
  return tokens;
}

bool Selection::selects_event(Phase phase, std::int64_t step, const std::string& branch,
                              std::int64_t call) const {
  return contains(phases, phase) && contains(steps, step) && contains(branches, branch) &&
         contains(calls, call);
}

void Selection::check(const std::string& where) const {
  if (rows) check_list(*rows, where, "rows");
  if (heads) check_list(*heads, where, "heads");
  if (phases) check_list(*phases, where, "phases");
  if (steps) check_list(*steps, where, "steps");
  if (branches) check_list(*branches, where, "branches");
  if (calls) check_list(*calls, where, "calls");
  switch (tokens.kind) {
    case Tokens::Kind::all:
    case Tokens::Kind::range:
      break;
    case Tokens::Kind::index:
      check_list(tokens.values, where, "tokens");
      break;
    case Tokens::Kind::positions:
      check_list(tokens.values, where, "positions");
      for (const std::int64_t position : tokens.values) {
        if (position < 0) {
          throw InvalidArgument(cat(where, " expected absolute positions >= 0, got ", position,
                                    "; negative indices belong to tokens"));
        }
      }
      break;
    case Tokens::Kind::spans:
      check_list(tokens.names, where, "spans");
      break;
  }
}

std::int64_t resolve_index(std::int64_t index, std::int64_t size, const std::string& where,
                           const char* axis) {
  const std::int64_t resolved = index < 0 ? index + size : index;
  if (resolved < 0 || resolved >= size) {
    throw OutOfRange(cat(where, " the selection asks for ", axis, " ", index, ", but there are ",
                         size, " ", axis, "s here (valid: ", -size, " to ", size - 1, ")"));
  }
  return resolved;
}

std::string Selection::to_json() const {
  Json json = Json::object();
  if (rows) json["rows"] = *rows;
  switch (tokens.kind) {
    case Tokens::Kind::all:
      break;
    case Tokens::Kind::index:
      json["tokens"] = tokens.values;
      break;
    case Tokens::Kind::range:
      json["token_range"] = {tokens.begin ? Json(*tokens.begin) : Json(),
                             tokens.end ? Json(*tokens.end) : Json()};
      break;
    case Tokens::Kind::positions:
      json["positions"] = tokens.values;
      break;
    case Tokens::Kind::spans:
      json["spans"] = tokens.names;
      break;
  }
  if (heads) json["heads"] = *heads;
  if (phases) {
    json["phases"] = Json::array();
    for (const Phase phase : *phases) json["phases"].push_back(phase_name(phase));
  }
  if (steps) json["steps"] = *steps;
  if (branches) json["branches"] = *branches;
  if (calls) json["calls"] = *calls;
  return json.dump();
}

Selection Selection::from_json(const std::string& text) {
  const std::string where = "[core.Selection.from_json]";
  const Json json = internal::parse_json(text, where);
  internal::check_keys(json,
                       {"rows", "tokens", "token_range", "positions", "spans", "heads", "phases",
                        "steps", "branches", "calls"},
                       where);
  using Ints = std::vector<std::int64_t>;
  using Texts = std::vector<std::string>;
  Selection selection;
  const auto ints = [&](const char* key) { return internal::get_json<Ints>(json, key, where); };
  const auto texts = [&](const char* key) { return internal::get_json<Texts>(json, key, where); };
  if (json.contains("rows")) selection.rows = ints("rows");
  if (json.contains("heads")) selection.heads = ints("heads");
  if (json.contains("steps")) selection.steps = ints("steps");
  if (json.contains("calls")) selection.calls = ints("calls");
  if (json.contains("branches")) selection.branches = texts("branches");
  if (json.contains("phases")) {
    selection.phases.emplace();
    for (const std::string& name : texts("phases")) {
      selection.phases->push_back(phase_from_name(name));
    }
  }
  int token_keys = 0;
  if (json.contains("tokens")) {
    ++token_keys;
    selection.tokens = Tokens::index(ints("tokens"));
  }
  if (json.contains("positions")) {
    ++token_keys;
    selection.tokens = Tokens::positions(ints("positions"));
  }
  if (json.contains("spans")) {
    ++token_keys;
    selection.tokens = Tokens::spans(texts("spans"));
  }
  if (json.contains("token_range")) {
    ++token_keys;
    const Json& range = json["token_range"];
    const auto bound = [&](std::size_t i) -> std::optional<std::int64_t> {
      if (range[i].is_null()) return std::nullopt;
      if (!range[i].is_number_integer() || !internal::holds_integers(range[i])) {
        throw InvalidArgument(
            cat(where, " expected integers or null in 'token_range', got ", range.dump()));
      }
      return range[i].get<std::int64_t>();
    };
    if (!range.is_array() || range.size() != 2) {
      throw InvalidArgument(
          cat(where, " expected 'token_range' as [begin, end], got ", range.dump()));
    }
    selection.tokens = Tokens::range(bound(0), bound(1));
  }
  if (token_keys > 1) {
    throw InvalidArgument(cat(where,
                              " got more than one of 'tokens', 'token_range', 'positions' and "
                              "'spans'; choose tokens in one way"));
  }
  selection.check(where);
  return selection;
}

}  // namespace tierod
