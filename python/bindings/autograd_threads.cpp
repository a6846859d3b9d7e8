// Note [Sessions on autograd's threads]
//
// A checkpoint recomputes a forward in backward, which may run on a thread of autograd's own (each
// GPU has one). An edit has to act there again, or gradients are silently those of another
// function. Of what a library can attach to a thread, autograd hands on to its own threads only
// Python objects (at::impl::ThreadLocalPythonObjects): so a capsule with the thread's handle goes
// along.

#include <ATen/ThreadLocalPythonObjects.h>
#include <c10/core/SafePyObject.h>
#include <torch/csrc/PyInterpreter.h>

#include "bindings_internal.h"
#include "hook/thread_handle_internal.h"

namespace tierod::bindings {

namespace {

using internal::ThreadHandle;

constexpr const char* kKey = "tierod.thread";

std::shared_ptr<ThreadHandle> inherited() {
  using at::impl::ThreadLocalPythonObjects;
  if (Py_IsInitialized() == 0 || !ThreadLocalPythonObjects::contains(kKey)) return nullptr;
  const py::gil_scoped_acquire gil;
  PyObject* capsule = ThreadLocalPythonObjects::get(kKey)->ptr(getPyInterpreter());
  const auto* handle =
      static_cast<std::shared_ptr<ThreadHandle>*>(PyCapsule_GetPointer(capsule, kKey));
  return *handle;
}

}  // namespace

void hand_on_sessions() {
  using at::impl::ThreadLocalPythonObjects;
  if (ThreadLocalPythonObjects::contains(kKey)) return;
  auto handle = std::make_unique<std::shared_ptr<ThreadHandle>>(internal::thread_handle());
  py::capsule capsule(handle.get(), kKey, [](PyObject* object) {
    delete static_cast<std::shared_ptr<ThreadHandle>*>(PyCapsule_GetPointer(object, kKey));
  });
  [[maybe_unused]] const auto* held = handle.release();  // the capsule's now
  ThreadLocalPythonObjects::set(
      kKey, std::make_shared<c10::SafePyObject>(capsule.release().ptr(), getPyInterpreter()));
}

void bind_autograd_threads() { internal::set_inherited_handle(&inherited); }

}  // namespace tierod::bindings
