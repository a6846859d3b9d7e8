#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod {

/// Name a place in a model where an activation can be captured or edited.
///
/// A canonical name is `<tower>.layers.<i>.<port>` with tower `vision | vlm | expert`, left out for
/// a model with a single tower, and ports such as `resid_pre`, `resid_mid`, `resid_post`,
/// `attn_out`, `mlp_out`, `q`, `k`, `v`, `pattern`. Other names are dotted words of
/// `[A-Za-z0-9_-]` (`action.velocity`), or a raw module path `@path:in` / `@path:out`.
///
/// The **layout** names the tensor's axes, one letter an axis: `r` rows (batch), `t` tokens (for an
/// attention pattern: the query), `s` source tokens of a pattern, `h` heads, `d` width of a head,
/// `w` width, `.` an axis without a name. An empty layout follows from the name and the number of
/// dimensions (`default_layout`).
///
/// Sites are interned: construct one once, outside of the hot path, and pass it around by value.
class TIEROD_API Site {
 public:
  /// Intern `name` with `layout`.
  /// @throws InvalidArgument if either is malformed.
  explicit Site(std::string_view name, std::string_view layout = {});

  const std::string& name() const noexcept { return info_->name; }
  const std::string& layout() const noexcept { return info_->layout; }
  /// Return a small dense number, unique to (name, layout) in this process.
  std::uint32_t id() const noexcept { return info_->id; }

  bool operator==(const Site& other) const noexcept { return info_ == other.info_; }
  bool operator!=(const Site& other) const noexcept { return info_ != other.info_; }

  /// Return the site that was interned under `id`.
  /// @throws OutOfRange if there is none.
  static Site from_id(std::uint32_t id);

 private:
  struct Info {
    std::string name;
    std::string layout;
    std::uint32_t id;
  };
  explicit Site(const Info* info) : info_(info) {}
  friend struct SiteRegistry;
  const Info* info_;
};

/// Return the axes of a tensor with `ndim` dimensions at a site called `name`: `w`, `rw`, `rtw`,
/// and for four dimensions `rthd` (ports q, k, v), `rhts` (pattern) or `rhtd` (`cache.<i>.k|v`);
/// dots where nothing is known.
TIEROD_API std::string default_layout(std::string_view name, std::size_t ndim);

/// Throw InvalidArgument unless `name` is a well-formed site name.
TIEROD_API void check_site_name(std::string_view name);

/// Return the site name that the pair (port, layer) stands for: `("resid_post", 3)` is
/// `layers.3.resid_post`, with `tower` in front where one is given.
TIEROD_API std::string site_alias(std::string_view port, std::int64_t layer,
                                  std::string_view tower = {});

/// Match site names: `*` stands for any text within one segment, `**` for any number of segments,
/// `{0..5}` for a number of the range (both ends included), `{q,k,v}` for one of the words.
/// `**.resid_post` matches `layers.0.resid_post` and `expert.layers.0.resid_post`.
class TIEROD_API SitePattern {
 public:
  /// @throws InvalidArgument if the pattern is malformed (empty segment, open brace, bad range).
  explicit SitePattern(std::string_view pattern);

  bool matches(std::string_view name) const;
  /// Do the same, and remember the answer for the next SitePattern of this text.
  bool matches(const Site& site) const;
  /// Tell whether the pattern is a plain name, without `*` or `{}`.
  bool is_exact() const noexcept { return exact_; }
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
  std::vector<std::string> segments_;
  bool exact_ = true;
  struct Memo;
  std::shared_ptr<Memo> memo_;
};

/// Return up to `limit` of `candidates`, nearest to `name` by edit distance first; names that share
/// little with it are left out.
TIEROD_API std::vector<std::string> nearest_names(std::string_view name,
                                                  const std::vector<std::string>& candidates,
                                                  std::size_t limit = 3);

}  // namespace tierod

template <>
struct std::hash<tierod::Site> {
  std::size_t operator()(const tierod::Site& site) const noexcept { return site.id(); }
};
