#include <filesystem>
#include <fstream>
#include <sstream>

#include "audit/folder_internal.h"
#include "audit/record_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace fs = std::filesystem;

namespace {

constexpr auto* kWhere = "[audit.run]";

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw IoError(cat(kWhere, " cannot read '", file.string(), "'"));
  return std::move(text).str();
}

// Whole or not at all: a kill leaves the file of before.
void write_whole(const fs::path& file, const std::string& text) {
  const fs::path temporary = file.string() + ".part";
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << text;
    out.flush();
    if (!out) {
      std::error_code ignored;
      fs::remove(temporary, ignored);
      throw IoError(cat(kWhere, " cannot write '", file.string(),
                        "': is the disk full? finished stages are kept; make room and resume"));
    }
  }
  std::error_code error;
  fs::rename(temporary, file, error);
  if (error) {
    throw IoError(cat(kWhere, " cannot write '", file.string(), "': ", error.message()));
  }
}

}  // namespace

AuditFolder::AuditFolder(std::string path, const std::string& protocol_json, bool resume)
    : path_(std::move(path)) {
  if (path_.empty()) throw InvalidArgument(cat(kWhere, " expected a folder for the audit, got ''"));
  const fs::path folder(path_);
  std::error_code error;
  fs::create_directories(folder / "stages", error);
  if (error) {
    throw IoError(cat(kWhere, " cannot make the folder '", path_, "': ", error.message()));
  }
  const Json body = parse_json(protocol_json, kWhere);
  protocol_sha256_ = hash_of(body);
  const fs::path frozen = folder / "protocol.json";
  if (fs::exists(frozen)) {
    if (!resume) {
      throw InvalidArgument(cat(kWhere, " expected a folder without an audit, got '", path_,
                                "', which holds one; go on with it by resume, or name another"));
    }
    const Json there = read_frozen(frozen.string());
    if (there["sha256"] != protocol_sha256_) {
      throw InvalidArgument(cat(kWhere, " expected the audit in '", path_,
                                "' to be of this protocol (", protocol_sha256_.substr(0, 12),
                                "), got one of ", there["sha256"].get<std::string>().substr(0, 12),
                                "; say the same options again, or name another folder"));
    }
    return;
  }
  if (resume) {
    throw InvalidArgument(cat(kWhere, " expected an audit to go on with in '", path_,
                              "', got none; leave resume out"));
  }
  write("protocol.json", {{"sha256", protocol_sha256_}, {"body", body}});
}

Json AuditFolder::read_frozen(const std::string& file) const {
  // what is no JSON any more was changed as well
  const Json json = Json::parse(text_of(file), nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("sha256") && json.contains("body") &&
      json["sha256"] == hash_of(json["body"])) {
    return json;
  }
  throw InvalidArgument(cat(kWhere, " expected '", file,
                            "' as it was frozen, got another content: it was changed since; remove "
                            "it to run its stage again"));
}

Json AuditFolder::stage(const std::string& name, const std::function<Json()>& make) {
  const fs::path file = fs::path(path_) / "stages" / (name + ".json");
  if (fs::exists(file)) {
    const Json frozen = read_frozen(file.string());
    if (frozen.value("protocol_sha256", "") != protocol_sha256_) {
      throw InvalidArgument(cat(kWhere, " expected '", file.string(),
                                "' of this protocol, got one of another; remove it"));
    }
    return frozen["body"];
  }
  // as it is read back: a resumed audit sees the same numbers
  const Json body = Json::parse(make().dump());
  write("stages/" + name + ".json",
        {{"sha256", hash_of(body)}, {"protocol_sha256", protocol_sha256_}, {"body", body}});
  return body;
}

void AuditFolder::freeze(const std::string& name, const Json& body) {
  const fs::path file = fs::path(path_) / name;
  const std::string hash = hash_of(body);
  if (fs::exists(file)) {
    if (read_frozen(file.string())["sha256"] == hash) return;
    throw InvalidArgument(cat(kWhere, " expected '", file.string(),
                              "' as it was frozen, got another; it was changed since"));
  }
  write(name, {{"sha256", hash}, {"body", body}});
}

void AuditFolder::write(const std::string& name, const Json& content) const {
  write_whole(fs::path(path_) / name, content.dump(1) + "\n");
}

}  // namespace tierod::internal
