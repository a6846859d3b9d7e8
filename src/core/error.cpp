#include "tierod/core/error.h"

namespace tierod {

// The destructors are the key functions: they pin each vtable and type_info to libtierod, without
// which an exception could not be caught across shared libraries.
Error::~Error() = default;

InvalidArgument::InvalidArgument(const std::string& message) : std::invalid_argument(message) {}
InvalidArgument::~InvalidArgument() = default;

OutOfRange::OutOfRange(const std::string& message) : std::out_of_range(message) {}
OutOfRange::~OutOfRange() = default;

SiteError::SiteError(const std::string& message) : std::runtime_error(message) {}
SiteError::~SiteError() = default;

StateError::StateError(const std::string& message) : std::logic_error(message) {}
StateError::~StateError() = default;

IoError::IoError(const std::string& message) : std::runtime_error(message) {}
IoError::~IoError() = default;

NumericalError::NumericalError(const std::string& message) : std::runtime_error(message) {}
NumericalError::~NumericalError() = default;

}  // namespace tierod
