#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/export.h"
#include "tierod/hook/capture.h"

namespace tierod {

/// Narrow a look-up in an ActivationCache; what is absent is not restricted.
struct TIEROD_API EventFilter {
  std::optional<Phase> phase{};
  std::optional<std::int64_t> step{};
  std::optional<std::string> branch{};
  std::optional<std::int64_t> call{};
  std::optional<When> when{};
  /// Absent: activations where there are any, else gradients.
  std::optional<bool> gradient{};
};

/// Hold one captured tensor together with where it came from.
struct TIEROD_API Activation {
  Event event;
  at::Tensor tensor{};
  /// The axes of the whole tensor at the site, one letter an axis (see Site).
  std::string layout{};
  /// The shape of the whole tensor at the site, before selection and reduction.
  std::vector<std::int64_t> site_shape{};
  Selection selection{};
  Reduce reduce = Reduce::none;
  When when = When::after;
  bool gradient = false;
};

/// Keep captured activations in the order in which they were captured, and find them by site and
/// event. Copies share their contents; an ActivationCache is cheap to pass by value.
class TIEROD_API ActivationCache {
 public:
  ActivationCache();

  std::size_t size() const;
  bool empty() const { return size() == 0; }
  /// Return the names of the captured sites, in order of first capture.
  std::vector<std::string> sites() const;
  /// Return every entry, in order of capture.
  std::vector<Activation> entries() const;

  /// Return all entries of the site `name` that `filter` lets through, in order of capture. A name
  /// without tower, as `site_alias("resid_post", 3)` makes it, also finds the site of a model's
  /// only tower.
  /// @throws SiteError with the nearest names if the site was never captured, or if the name
  ///         without tower fits several towers.
  std::vector<Activation> find(std::string_view name, const EventFilter& filter = {}) const;

  /// Return the only such entry.
  /// @throws SiteError if there is none, or several: the message lists their events.
  Activation get(std::string_view name, const EventFilter& filter = {}) const;

  /// Return the tensor of the only such entry (`get(...).tensor`).
  at::Tensor at(std::string_view name, const EventFilter& filter = {}) const;

  /// Join the entries along the token axis, as prefill and decode steps of one generation are.
  /// @throws SiteError if there is none; InvalidArgument if reduced captures or other shapes than
  ///         the token axis do not fit together.
  at::Tensor concat_tokens(std::string_view name, const EventFilter& filter = {}) const;

  /// Tell whether the site `name` was captured.
  bool contains(std::string_view name) const;

  /// Add an entry, for example one that was read from elsewhere.
  void add(Activation activation);

  /// Return a cache with the entries for which `keep` answers true.
  ActivationCache filtered(const std::function<bool(const Activation&)>& keep) const;
  /// Return a cache whose tensors are on `device` and in `dtype`, where given.
  ActivationCache to(std::optional<c10::Device> device, std::optional<at::ScalarType> dtype) const;
  void clear();

 private:
  friend struct SessionState;
  struct Data;
  std::shared_ptr<Data> data_;
};

}  // namespace tierod
