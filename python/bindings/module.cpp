#include "bindings_internal.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "C++ side of tierod; import tierod instead.";
  tierod::bindings::bind_core(m);
  tierod::bindings::bind_stats(m);
  tierod::bindings::bind_resampling(m);
  tierod::bindings::bind_probe(m);
  tierod::bindings::bind_hook(m);
  tierod::bindings::bind_module_hook(m);
  tierod::bindings::bind_store(m);
  tierod::bindings::bind_store_maintenance(m);
  tierod::bindings::bind_evaluation(m);
  tierod::bindings::bind_cot(m);
  tierod::bindings::bind_vla(m);
  tierod::bindings::bind_zoo(m);
  tierod::bindings::bind_zoo_model(m);
  tierod::bindings::bind_targets(m);
  tierod::bindings::bind_patch(m);
  tierod::bindings::bind_paired_run(m);
  tierod::bindings::bind_patch_tools(m);
  tierod::bindings::bind_experiments(m);
  tierod::bindings::bind_site_sweep(m);
  tierod::bindings::bind_audit(m);
}
