#include <ATen/ops/empty.h>

#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "core/json_internal.h"
#include "hook/intervention_internal.h"
#include "hook/session_state_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::get_json;
using internal::Json;

namespace {

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian");

constexpr std::int64_t kInlineBytes = 4096;
using Folder = std::optional<std::string>;

constexpr std::array<std::pair<const char*, at::ScalarType>, 4> kDtypes = {
    {{"float64", at::kDouble},
     {"float32", at::kFloat},
     {"float16", at::kHalf},
     {"bfloat16", at::kBFloat16}}};

std::string dtype_name(at::ScalarType dtype) {
  for (const auto& [name, type] : kDtypes) {
    if (type == dtype) return name;
  }
  throw InvalidArgument(cat("[hook.to_json] cannot write a tensor of dtype ", dtype,
                            "; known are float64, float32, float16, bfloat16"));
}

at::ScalarType dtype_from_name(const std::string& name, const std::string& where) {
  for (const auto& [known, type] : kDtypes) {
    if (name == known) return type;
  }
  throw InvalidArgument(
      cat(where, " expected dtype float64, float32, float16 or bfloat16, got '", name, "'"));
}

Json tensor_to_json(const at::Tensor& tensor, const Folder& folder) {
  const at::Tensor x = tensor.detach().to(at::kCPU).contiguous();
  const auto bytes = static_cast<std::size_t>(x.nbytes());
  const std::string digest = sha256_hex(x.const_data_ptr(), bytes);
  Json json = {
      {"dtype", dtype_name(x.scalar_type())}, {"shape", x.sizes().vec()}, {"sha256", digest}};
  if (static_cast<std::int64_t>(bytes) <= kInlineBytes) {
    json["data"] = base64_encode(x.const_data_ptr(), bytes);
    return json;
  }
  if (!folder) {
    throw InvalidArgument(cat("[hook.to_json] a tensor of shape ", x.sizes(), " has ", bytes,
                              " bytes, and only ", kInlineBytes,
                              " fit inline; pass a tensor_dir for the rest"));
  }
  const std::string name = digest + ".bin";
  const std::filesystem::path path = std::filesystem::path(*folder) / name;
  std::error_code ignored;
  std::filesystem::create_directories(*folder, ignored);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(static_cast<const char*>(x.const_data_ptr()), static_cast<std::streamsize>(bytes));
  file.close();
  if (!file) {
    throw IoError(cat("[hook.to_json] cannot write ", bytes, " bytes to '", path.string(),
                      "'; is the folder there and writable, and the disk not full?"));
  }
  json["path"] = name;
  return json;
}

at::Tensor tensor_from_json(const Json& json, const Folder& folder, const std::string& where) {
  internal::check_keys(json, {"dtype", "shape", "sha256", "data", "path"}, where);
  const at::ScalarType dtype = dtype_from_name(get_json<std::string>(json, "dtype", where), where);
  const auto shape = get_json<std::vector<std::int64_t>>(json, "shape", where);
  std::string bytes;
  if (json.contains("data")) {
    bytes = base64_decode(get_json<std::string>(json, "data", where));
  } else {
    const auto name = get_json<std::string>(json, "path", where);
    if (!folder) {
      throw InvalidArgument(
          cat(where, " refers to the tensor file '", name, "'; pass the tensor_dir that holds it"));
    }
    if (std::filesystem::path(name).filename() != name) {
      throw InvalidArgument(
          cat(where, " expected a file name within tensor_dir, got '", name, "'"));
    }
    const std::filesystem::path path = std::filesystem::path(*folder) / name;
    std::ifstream file(path, std::ios::binary);
    std::ostringstream content;
    if (!file || !(content << file.rdbuf())) {
      throw IoError(cat(where, " cannot read the tensor file '", path.string(), "'"));
    }
    bytes = std::move(content).str();
  }
  std::size_t expected = c10::elementSize(dtype);
  for (const std::int64_t size : shape) {
    if (size < 0 || (size > 0 && expected > bytes.size() / static_cast<std::size_t>(size))) {
      expected = bytes.size() + 1;  // too large for the bytes at hand, or overflowing
      break;
    }
    expected *= static_cast<std::size_t>(size);
  }
  if (bytes.size() != expected) {
    throw InvalidArgument(cat(where, " a tensor of shape ", internal::list_text(shape),
                              " does not fit its ", bytes.size(), " bytes"));
  }
  if (sha256_hex(bytes.data(), bytes.size()) != get_json<std::string>(json, "sha256", where)) {
    throw IoError(cat(where,
                      " the bytes of a tensor do not have the digest written beside them; "
                      "the text or file was changed"));
  }
  at::Tensor x = at::empty(shape, at::TensorOptions().dtype(dtype));
  if (!bytes.empty()) std::memcpy(x.mutable_data_ptr(), bytes.data(), bytes.size());
  return x;
}

const char* kind_name(Intervention::Kind kind) {
  switch (kind) {
    case Intervention::Kind::replace:
      return "replace";
    case Intervention::Kind::replace_by_event:
      return "replace_by_event";
    case Intervention::Kind::affine:
      return "affine";
    case Intervention::Kind::gather_rows:
      return "gather_rows";
  }
  return "invalid";
}

Json donor_to_json(const Activation& donor, const Folder& folder) {
  if (donor.reduce != Reduce::none) {
    throw InvalidArgument(cat("[hook.to_json] the donor at '", donor.event.text(),
                              "' was captured reduced; donors are unreduced"));
  }
  return {{"site", donor.event.site.name()},
          {"layout", donor.event.site.layout()},
          {"phase", phase_name(donor.event.phase)},
          {"step", donor.event.step},
          {"branch", donor.event.branch},
          {"call", donor.event.call},
          {"gradient", donor.gradient},
          {"site_shape", donor.site_shape},
          {"tensor", tensor_to_json(donor.tensor, folder)}};
}

Activation donor_from_json(const Json& json, const Folder& folder, const std::string& where) {
  internal::check_keys(
      json,
      {"site", "layout", "phase", "step", "branch", "call", "gradient", "site_shape", "tensor"},
      where);
  const auto text = [&](const char* key) { return get_json<std::string>(json, key, where); };
  const auto number = [&](const char* key) { return get_json<std::int64_t>(json, key, where); };
  Activation donor{.event = {.site = Site(text("site"), text("layout")),
                             .phase = phase_from_name(text("phase")),
                             .step = number("step"),
                             .branch = text("branch"),
                             .call = number("call")}};
  donor.gradient = get_json<bool>(json, "gradient", where);
  donor.site_shape = get_json<std::vector<std::int64_t>>(json, "site_shape", where);
  donor.tensor = tensor_from_json(get_json<Json>(json, "tensor", where), folder, where);
  return donor;
}

Json intervention_json(const Intervention& intervention, const Folder& folder) {
  const Intervention::Impl& impl = intervention.impl();
  Json json = {{"kind", kind_name(impl.kind)}};
  switch (impl.kind) {
    case Intervention::Kind::replace:
      json["source"] = tensor_to_json(impl.source, folder);
      json["broadcast"] = impl.broadcast;
      json["allow_nonfinite"] = impl.allow_nonfinite;
      break;
    case Intervention::Kind::replace_by_event:
      json["allow_nonfinite"] = impl.allow_nonfinite;
      json["donors"] = Json::array();
      for (const Activation& donor : impl.donors.entries()) {
        json["donors"].push_back(donor_to_json(donor, folder));
      }
      break;
    case Intervention::Kind::affine:
      json["scale"] = impl.affine.scale;
      json["write"] = tensor_to_json(impl.affine.write, folder);
      if (impl.affine.read.defined()) json["read"] = tensor_to_json(impl.affine.read, folder);
      if (impl.affine.target.defined()) json["target"] = tensor_to_json(impl.affine.target, folder);
      if (impl.affine.mean.defined()) json["mean"] = tensor_to_json(impl.affine.mean, folder);
      break;
    case Intervention::Kind::gather_rows:
      json["permutation"] = impl.permutation;
      break;
  }
  return json;
}

Intervention intervention_from_json(const Json& json, const Folder& folder) {
  const std::string where = "[hook.Intervention.from_json]";
  const auto kind = get_json<std::string>(json, "kind", where);
  const auto flag = [&](const char* key) {
    return json.contains(key) && get_json<bool>(json, key, where);
  };
  const auto tensor = [&](const char* key) {
    return json.contains(key) ? tensor_from_json(json[key], folder, where) : at::Tensor();
  };
  if (kind == "replace") {
    internal::check_keys(json, {"kind", "source", "broadcast", "allow_nonfinite"}, where);
    return flag("broadcast")
               ? Intervention::replace_broadcast(tensor("source"), flag("allow_nonfinite"))
               : Intervention::replace(tensor("source"), flag("allow_nonfinite"));
  }
  if (kind == "replace_by_event") {
    internal::check_keys(json, {"kind", "donors", "allow_nonfinite"}, where);
    ActivationCache donors;
    for (const Json& donor : get_json<std::vector<Json>>(json, "donors", where)) {
      donors.add(donor_from_json(donor, folder, where));
    }
    return Intervention::replace(donors, flag("allow_nonfinite"));
  }
  if (kind == "affine") {
    internal::check_keys(json, {"kind", "scale", "write", "read", "target", "mean"}, where);
    return Intervention::affine({.read = tensor("read"),
                                 .write = tensor("write"),
                                 .target = tensor("target"),
                                 .mean = tensor("mean"),
                                 .scale = get_json<double>(json, "scale", where)});
  }
  if (kind == "gather_rows") {
    internal::check_keys(json, {"kind", "permutation"}, where);
    return Intervention::gather_rows(
        get_json<std::vector<std::int64_t>>(json, "permutation", where));
  }
  throw InvalidArgument(cat(where, " does not know the kind '", kind,
                            "'; known are replace, replace_by_event, affine, gather_rows"));
}

Json capture_json(const CaptureRequest& request) {
  const CaptureOptions& options = request.options;
  Json json = {{"pattern", request.pattern.text()},
               {"selection", Json::parse(options.selection.to_json())},
               {"reduce", reduce_name(options.reduce)},
               {"when", options.when == When::after ? "after" : "before"},
               {"copy", options.copy},
               {"gradient", options.gradient}};
  if (options.dtype) json["dtype"] = dtype_name(*options.dtype);
  if (options.device) json["device"] = options.device->str();
  if (options.keep_graph) json["keep_graph"] = true;
  return json;
}

Selection selection_of(const Json& json) {
  return json.contains("selection") ? Selection::from_json(json["selection"].dump()) : Selection();
}

CaptureOptions capture_options(const Json& json, const std::string& where) {
  internal::check_keys(json,
                       {"pattern", "selection", "reduce", "when", "dtype", "device", "copy",
                        "gradient", "keep_graph"},
                       where);
  CaptureOptions options;
  options.selection = selection_of(json);
  const auto text = [&](const char* key) { return get_json<std::string>(json, key, where); };
  if (json.contains("reduce")) options.reduce = reduce_from_name(text("reduce"));
  if (json.contains("when")) {
    const std::string when = text("when");
    if (when != "after" && when != "before") {
      throw InvalidArgument(cat(where, " expected when = 'after' or 'before', got '", when, "'"));
    }
    options.when = when == "after" ? When::after : When::before;
  }
  if (json.contains("dtype")) options.dtype = dtype_from_name(text("dtype"), where);
  if (json.contains("device")) {
    try {
      options.device = c10::Device(text("device"));
    } catch (const c10::Error& error) {
      throw InvalidArgument(
          cat(where, " cannot use the device '", text("device"), "': ", error.msg()));
    }
  }
  if (json.contains("copy")) options.copy = get_json<bool>(json, "copy", where);
  if (json.contains("gradient")) options.gradient = get_json<bool>(json, "gradient", where);
  if (json.contains("keep_graph")) options.keep_graph = get_json<bool>(json, "keep_graph", where);
  return options;
}

}  // namespace

std::string Intervention::to_json(const std::optional<std::string>& tensor_dir) const {
  return intervention_json(*this, tensor_dir).dump();
}

Intervention Intervention::from_json(const std::string& json,
                                     const std::optional<std::string>& tensor_dir) {
  return intervention_from_json(internal::parse_json(json, "[hook.Intervention.from_json]"),
                                tensor_dir);
}

std::string Session::to_json(const std::optional<std::string>& tensor_dir) const {
  Json json = {{"captures", Json::array()}, {"interventions", Json::array()}};
  for (const CaptureRequest& request : state_->captures) {
    if (request.options.sink) {
      throw StateError(cat("[hook.Session.to_json] the capture of '", request.pattern.text(),
                           "' goes to a sink, which cannot be written down"));
    }
    json["captures"].push_back(capture_json(request));
  }
  for (const EditRequest& request : state_->edits) {
    if (!request.intervention) {
      throw StateError(cat("[hook.Session.to_json] the edit at '", request.pattern.text(),
                           "' is a callback, which cannot be written down; use an Intervention"));
    }
    json["interventions"].push_back(
        {{"pattern", request.pattern.text()},
         {"selection", Json::parse(request.options.selection.to_json())},
         {"gradient", request.options.gradient},
         {"intervention", intervention_json(*request.intervention, tensor_dir)}});
  }
  if (!state_->spans.empty()) {
    json["spans"] = Json::array();
    for (const auto& row : state_->spans) {
      Json spans = Json::array();
      for (const Span& span : row) {
        spans.push_back({{"name", span.name}, {"begin", span.begin}, {"end", span.end}});
      }
      json["spans"].push_back(std::move(spans));
    }
  }
  return json.dump();
}

void Session::configure(const std::string& text, const std::optional<std::string>& tensor_dir) {
  const std::string where = "[hook.Session.configure]";
  const Json json = internal::parse_json(text, where);
  internal::check_keys(json, {"captures", "interventions", "spans"}, where);
  const auto list = [&](const char* key) {
    return json.contains(key) ? get_json<std::vector<Json>>(json, key, where) : std::vector<Json>();
  };
  // Read all of it before any of it counts: a bad entry leaves the session as it was.
  std::vector<std::pair<std::string, CaptureOptions>> captures;
  for (const Json& item : list("captures")) {
    CaptureOptions options = capture_options(item, where);
    captures.emplace_back(get_json<std::string>(item, "pattern", where), std::move(options));
  }
  struct Edit {
    std::string pattern;
    Intervention intervention;
    InterveneOptions options;
  };
  std::vector<Edit> edits;
  for (const Json& item : list("interventions")) {
    internal::check_keys(item, {"pattern", "selection", "gradient", "intervention"}, where);
    InterveneOptions options{.selection = selection_of(item)};
    if (item.contains("gradient")) options.gradient = get_json<bool>(item, "gradient", where);
    edits.push_back(
        {get_json<std::string>(item, "pattern", where),
         intervention_from_json(get_json<Json>(item, "intervention", where), tensor_dir),
         std::move(options)});
  }
  SpanTable spans;
  for (const Json& row : list("spans")) {
    spans.emplace_back();
    for (const Json& span : row) {
      internal::check_keys(span, {"name", "begin", "end"}, where);
      spans.back().push_back({get_json<std::string>(span, "name", where),
                              get_json<std::int64_t>(span, "begin", where),
                              get_json<std::int64_t>(span, "end", where)});
    }
  }
  for (const auto& [pattern, options] : captures) {
    state_->check_capture(SitePattern(pattern), options);
  }
  for (const Edit& edit : edits) state_->check_edit(SitePattern(edit.pattern), edit.options);
  SessionState::check_spans(spans);
  for (auto& [pattern, options] : captures) capture(pattern, std::move(options));
  for (Edit& edit : edits) {
    intervene(edit.pattern, std::move(edit.intervention), std::move(edit.options));
  }
  if (!spans.empty()) set_spans(std::move(spans));
}

}  // namespace tierod
