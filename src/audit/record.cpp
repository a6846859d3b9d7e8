#include "tierod/audit/record.h"

#include <cmath>
#include <set>

#include "audit/record_internal.h"

namespace tierod::audit {

using internal::cat;
using internal::Json;

namespace {

constexpr double kTolerance = 1e-9;

bool same_number(double a, double b) {
  return a == b || std::abs(a - b) <= kTolerance * std::max({1.0, std::abs(a), std::abs(b)});
}

std::string text_of(const Json& value) { return value.dump(); }

class Comparing {
 public:
  std::vector<RecordDifference> found;

  void compare(const Json& recorded, const Json& recomputed, const std::string& where) {
    if (recorded.is_number() && recomputed.is_number()) {
      if (!same_number(recorded.get<double>(), recomputed.get<double>())) {
        add(where, text_of(recorded), text_of(recomputed));
      }
    } else if (recorded.is_object() && recomputed.is_object()) {
      std::set<std::string> keys;
      for (const auto& [key, unused] : recorded.items()) keys.insert(key);
      for (const auto& [key, unused] : recomputed.items()) keys.insert(key);
      for (const std::string& key : keys) {
        const std::string at = cat(where, "/", key);
        if (!recorded.contains(key)) {
          add(at, "nothing", text_of(recomputed[key]));
        } else if (!recomputed.contains(key)) {
          add(at, text_of(recorded[key]), "nothing");
        } else {
          compare(recorded[key], recomputed[key], at);
        }
      }
    } else if (recorded.is_array() && recomputed.is_array() &&
               recorded.size() == recomputed.size()) {
      for (std::size_t i = 0; i < recorded.size(); ++i) {
        compare(recorded[i], recomputed[i], cat(where, "/", i));
      }
    } else if (recorded != recomputed) {
      add(where, text_of(recorded), text_of(recomputed));
    }
  }

 private:
  void add(const std::string& where, std::string recorded, std::string recomputed) {
    found.push_back({where, std::move(recorded), std::move(recomputed)});
  }
};

Json record_from(const std::string& text, const char* where) {
  Json record = internal::parse_json(text, where);
  const auto schema = record.is_object() ? record.find("schema") : record.end();
  if (!record.is_object() || schema == record.end() || *schema != kRecordSchema) {
    throw InvalidArgument(
        cat(where, " expected an evidence record of schema '", kRecordSchema, "', got ",
            record.is_object() && schema != record.end() ? schema->dump() : "none"));
  }
  return record;
}

}  // namespace

std::string conclude_record(const std::string& evidence) {
  Json record = record_from(evidence, "[audit.conclude_record]");
  internal::derive(record);
  return record.dump();
}

std::vector<RecordDifference> verify_record(const std::string& text) {
  const Json record = record_from(text, "[audit.verify_record]");
  Json again = record;
  internal::derive(again);
  Comparing comparing;
  // the hash is of the record as it stands: a change of what was measured shows there alone
  again["record_sha256"] = internal::hash_of_record(record);
  comparing.compare(record, again, "");
  return comparing.found;
}

}  // namespace tierod::audit
