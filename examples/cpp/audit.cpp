// An audit from C++ alone: does what a model of the zoo says steer it?
//
// usage: audit [--plan] [MODEL] [FOLDER]
//
// With --plan it says what would be done; otherwise it writes FOLDER and prints the verdicts.

#include <tierod/audit/audit.h>
#include <tierod/audit/record.h>
#include <tierod/zoo/driving_model.h>
#include <tierod/zoo/scenes.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace audit = tierod::audit;
namespace zoo = tierod::zoo;

int main(int argc, char** argv) try {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool plan = !arguments.empty() && arguments.front() == "--plan";
  if (plan) arguments.erase(arguments.begin());
  const std::string name = arguments.empty() ? "mixed" : arguments[0];
  const std::string folder = arguments.size() < 2 ? "audit_" + name : arguments[1];

  const auto model = zoo::DrivingModel::named(name);
  zoo::SceneConfig config = model->spec().scenes;
  config.scenes = 20000;  // erasure at the head's inputs wants 16 scenes a number
  const zoo::Scenes scenes(config);

  // what is left open here follows from model and scenes, and is frozen before anything is measured
  audit::Protocol open;
  open.concepts = {{.id = "pedestrian", .functional = ""}, {.id = "cyclist", .functional = ""}};
  const audit::Protocol protocol = audit::complete(open.quick(), *model, scenes);
  if (plan) {
    std::printf("%s\n", audit::plan_audit(*model, scenes, protocol).c_str());
    return 0;
  }
  const audit::AuditResult done = audit::run_audit(
      *model, scenes, protocol,
      {.out = folder, .progress = [](auto stage, auto of, std::string_view what) {
         std::fprintf(stderr, "%d of %d: %.*s\n", static_cast<int>(stage), static_cast<int>(of),
                      static_cast<int>(what.size()), what.data());
         return true;
       }});
  const auto differences = audit::verify_record(done.record);
  std::printf("%s/record.json, %zu differences to what follows from it\n", folder.c_str(),
              differences.size());
  return done.outcome == audit::Outcome::finished && differences.empty() ? 0 : 3;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
