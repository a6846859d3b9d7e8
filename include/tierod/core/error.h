#pragma once

#include <stdexcept>
#include <string>

#include "tierod/export.h"

namespace tierod {

/// Mark every exception that tierod throws, so that one `catch (const tierod::Error&)` takes them
/// all. Each concrete type also derives from the standard exception of its kind.
///
/// Messages read `[room.function] what was expected, what was seen; how to mend it`.
class TIEROD_API Error {
 public:
  Error() = default;
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
  virtual ~Error();

  /// Return the whole message (the same text as `what()`).
  virtual const char* message() const noexcept = 0;
};

/// Report an argument that breaks its contract. Python sees `tierod.InvalidArgument(ValueError)`.
class TIEROD_API InvalidArgument : public std::invalid_argument, public Error {
 public:
  explicit InvalidArgument(const std::string& message);
  ~InvalidArgument() override;
  const char* message() const noexcept override { return what(); }
};

/// Report an index outside of what exists. Python sees `tierod.OutOfRange(IndexError)`.
class TIEROD_API OutOfRange : public std::out_of_range, public Error {
 public:
  explicit OutOfRange(const std::string& message);
  ~OutOfRange() override;
  const char* message() const noexcept override { return what(); }
};

/// Report a site that is unknown, silent, or fired another number of times than declared.
/// Python sees `tierod.SiteError(LookupError)`.
class TIEROD_API SiteError : public std::runtime_error, public Error {
 public:
  explicit SiteError(const std::string& message);
  ~SiteError() override;
  const char* message() const noexcept override { return what(); }
};

/// Report a call that the object's present state does not allow (opened twice, re-entered, ...).
/// Python sees `tierod.StateError(RuntimeError)`.
class TIEROD_API StateError : public std::logic_error, public Error {
 public:
  explicit StateError(const std::string& message);
  ~StateError() override;
  const char* message() const noexcept override { return what(); }
};

/// Report a file that cannot be read, written or trusted. Python sees `tierod.IoError(OSError)`.
class TIEROD_API IoError : public std::runtime_error, public Error {
 public:
  explicit IoError(const std::string& message);
  ~IoError() override;
  const char* message() const noexcept override { return what(); }
};

/// Report numbers that cannot be used (NaN, Inf, singular). Python sees
/// `tierod.NumericalError(ArithmeticError)`.
class TIEROD_API NumericalError : public std::runtime_error, public Error {
 public:
  explicit NumericalError(const std::string& message);
  ~NumericalError() override;
  const char* message() const noexcept override { return what(); }
};

}  // namespace tierod
