#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>

#include "bindings_internal.h"
#include "tierod/zoo/driving_model.h"
#include "tierod/zoo/trainer.h"
#include "tierod/zoo/truth.h"

namespace tierod::bindings {

namespace {

std::string to_text(const py::handle& value) {
  return py::module_::import("json").attr("dumps")(value).cast<std::string>();
}

void bind_model(py::module_& m) {
  using zoo::DrivingModel;
  py::class_<DrivingModel, vla::StagedModel, py::smart_holder>(
      m, "DrivingModel", "A vision-language-action network whose truth is known.")
      .def_static("fresh", &DrivingModel::fresh, py::arg("spec"), py::arg("seed") = 0,
                  "Make a model with fresh weights, the same on every machine.")
      .def_static("load", &DrivingModel::load, py::arg("path"), "Read a model that save wrote.")
      .def_static("named", &DrivingModel::named, py::arg("name"),
                  "Return one of the models that ship.")
      .def_static("names", &DrivingModel::names, "Return the names of the models that ship.")
      .def_static("folder", &DrivingModel::folder, "Return the folder of the models that ship.")
      .def("save", &DrivingModel::save, py::arg("path"),
           "Write weights, specification and log as one HDF5 file.")
      .def_property_readonly("spec", [](const DrivingModel& self) { return self.spec(); })
      .def_property_readonly("parameter_count", &DrivingModel::parameter_count)
      .def_property_readonly("denoise_steps", &DrivingModel::denoise_steps)
      .def_property_readonly(
          "training_log",
          [](const DrivingModel& self) {
            return py::list(py::module_::import("json").attr("loads")(self.training_log()));
          },
          "Averages of the losses, one dict a stretch of training.")
      .def("language_model", &DrivingModel::language_model,
           "Return the language model block by block.")
      .def("__repr__", [](const DrivingModel& self) {
        return "DrivingModel('" + self.spec().name + "', " +
               std::to_string(self.parameter_count()) + " parameters)";
      });
}

void bind_trainer(py::module_& m) {
  using zoo::TrainOptions;
  py::class_<TrainOptions>(m, "TrainOptions", "How a model is trained; keys as in its JSON.")
      .def(py::init(
          [](const py::kwargs& fields) { return TrainOptions::from_json(to_text(fields)); }))
      .def_readonly("steps", &TrainOptions::steps)
      .def_readonly("batch_size", &TrainOptions::batch_size)
      .def_readonly("learning_rate", &TrainOptions::learning_rate)
      .def_readonly("warm_up_steps", &TrainOptions::warm_up_steps)
      .def_readonly("flipped_rows", &TrainOptions::flipped_rows)
      .def_readonly("seed", &TrainOptions::seed)
      .def_readonly("threads", &TrainOptions::threads)
      .def_readonly("device", &TrainOptions::device)
      .def_readonly("log_every", &TrainOptions::log_every)
      .def("to_json", &TrainOptions::to_json)
      .def(
          "__eq__", [](const TrainOptions& a, const TrainOptions& b) { return a == b; },
          py::is_operator())
      .def("__repr__", [](const TrainOptions& o) { return "TrainOptions(" + o.to_json() + ")"; });

  using zoo::TrainLog;
  py::class_<TrainLog>(m, "TrainLog", "Averages over the last steps before `step`.")
      .def_readonly("step", &TrainLog::step)
      .def_readonly("cross_entropy", &TrainLog::cross_entropy, "Of the next word, nats.")
      .def_readonly("flow", &TrainLog::flow, "Mean square error, in units of the actions' spread.")
      .def_readonly("auxiliary", &TrainLog::auxiliary)
      .def_readonly("cpu_s", &TrainLog::cpu_s);

  using zoo::Trainer;
  py::class_<Trainer>(m, "Trainer", "Trains a model of the zoo on scenes drawn as needed.")
      .def(py::init([](const zoo::Spec& spec, const TrainOptions& options,
                       const std::optional<std::shared_ptr<zoo::DrivingModel>>& trunk) {
             return trunk ? Trainer(spec, options, **trunk) : Trainer(spec, options);
           }),
           py::arg("spec"), py::arg_v("options", TrainOptions(), "..."),
           py::arg("trunk") = py::none())
      .def_static("resume", &Trainer::resume, py::arg("path"), "Go on where save was called.")
      .def_property_readonly("spec", [](const Trainer& t) { return t.spec(); })
      .def_property_readonly("options", [](const Trainer& t) { return t.options(); })
      .def_property_readonly("step", &Trainer::step)
      .def_property_readonly("finished", &Trainer::finished)
      .def("log", &Trainer::log)
      .def(
          "run",
          [](Trainer& t, std::int64_t steps, const py::object& progress) {
            const Progress wrapped = progress_of(progress);
            const py::gil_scoped_release free;
            return t.run(steps, wrapped);
          },
          py::arg("steps") = -1, py::arg("progress") = py::none(),
          "Make up to so many steps; False where progress(done, total, what) asked to stop.")
      .def("save", &Trainer::save, py::arg("path"), "Write a checkpoint, in one move.")
      .def("model", &Trainer::model, "Return the model with the averaged weights.");
}

void bind_truth(py::module_& m) {
  using zoo::Truth;
  py::class_<Truth>(m, "Truth", "A model beside its specification.")
      .def_readonly("model", &Truth::model)
      .def_readonly("weights_sha256", &Truth::weights_sha256)
      .def_readonly("complete", &Truth::complete, "False where it was asked to stop.")
      .def_readonly("error_median_m", &Truth::error_median_m)
      .def_readonly("error_p95_m", &Truth::error_p95_m)
      .def_property_readonly("met", &Truth::met, "Whether every demand is met.")
      .def("to_json", &Truth::to_json)
      .def(
          "to_dict",
          [](const Truth& t) {
            return py::dict(py::module_::import("json").attr("loads")(t.to_json()));
          },
          "Rows with their intervals, and the demands.")
      .def("__repr__", [](const Truth& t) {
        return "Truth('" + t.model + "', " + (t.met() ? "met" : "not met") + ")";
      });
  m.def(
      "check_truth",
      [](zoo::DrivingModel& model, std::int64_t scenes, std::int64_t natural_scenes,
         std::uint64_t seed, std::int64_t batch_size, const py::object& progress) {
        const zoo::TruthOptions options = {scenes, natural_scenes, seed, batch_size};
        const Progress wrapped = progress_of(progress);
        const py::gil_scoped_release free;
        return zoo::check_truth(model, options, wrapped);
      },
      py::arg("model"), py::kw_only(), py::arg("scenes") = 700, py::arg("natural_scenes") = 1000,
      py::arg("seed") = 1, py::arg("batch_size") = 128, py::arg("progress") = py::none(),
      "Hold a model against its specification by twins and by other words, on fresh scenes.");
}

}  // namespace

void bind_zoo_model(py::module_& m) {
  bind_model(m);
  bind_trainer(m);
  bind_truth(m);
}

}  // namespace tierod::bindings
