#include "broker/options/replica_command.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "broker/options/model_folder.h"

namespace zerohop {
namespace {

namespace fs = std::filesystem;

enum class EngineKind { kNative, kShippedPython, kPythonClass, kPythonScript };

std::optional<EngineKind> KindOf(const std::string& engine) {
  if (engine == "openvino" || engine == "echo") return EngineKind::kNative;
  if (engine == "vllm" || engine == "sentence-transformers") return EngineKind::kShippedPython;
  if (engine.ends_with(".py")) return EngineKind::kPythonScript;
  if (engine.find(':') != std::string::npos) return EngineKind::kPythonClass;
  return std::nullopt;
}

bool IsProgram(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

absl::StatusOr<std::string> FindOnPath(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && IsProgram(fs::path(folder) / name)) return (fs::path(folder) / name).string();
  }
  return absl::NotFoundError("no " + name +
                             " on PATH: say --python, the interpreter that has the zerohop package");
}

// An active virtual environment is where its user has installed the package.
absl::StatusOr<std::string> Interpreter(const std::string& said) {
  if (said.find('/') != std::string::npos) {
    if (IsProgram(said)) return said;
    return absl::NotFoundError("--python " + said + ": no such program");
  }
  if (!said.empty()) return FindOnPath(said);
  const char* environment = std::getenv("VIRTUAL_ENV");
  if (environment != nullptr && IsProgram(fs::path(environment) / "bin/python")) {
    return (fs::path(environment) / "bin/python").string();
  }
  return FindOnPath("python3");
}

std::string BesideThisProgram(const char* name) {
  std::error_code error;
  return (fs::read_symlink("/proc/self/exe", error).parent_path() / name).string();
}

absl::StatusOr<std::vector<std::string>> Program(const EngineChoice& choice, EngineKind kind) {
  if (!choice.program.empty()) return std::vector<std::string>{choice.program};
  if (kind == EngineKind::kNative) return std::vector<std::string>{BesideThisProgram("zerohop-replica")};
  std::error_code ignored;
  if (kind == EngineKind::kPythonScript && !fs::is_regular_file(choice.engine, ignored)) {
    return absl::NotFoundError("--engine " + choice.engine + ": no such file");
  }
  auto python = Interpreter(choice.python);
  if (!python.ok()) return python.status();
  return std::vector<std::string>{*python, "-m", "zerohop.replica"};
}

bool HasDefaultModel(const std::string& engine) {
  return engine == "openvino" || KindOf(engine) == EngineKind::kShippedPython;
}

// What openvino loads must be here. An engine in Python may know the name otherwise.
absl::StatusOr<std::string> Model(const EngineChoice& choice, EngineKind kind) {
  if (choice.engine == "echo" || (choice.model.empty() && !HasDefaultModel(choice.engine))) {
    return choice.model;
  }
  const std::string name = choice.model.empty() ? kDefaultModel : choice.model;
  auto folder = FindModelFolder(name);
  if (folder.ok() || kind == EngineKind::kNative) return folder;
  return name;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReplicaCommand(const EngineChoice& choice) {
  const auto kind = KindOf(choice.engine);
  if (!kind) {
    return absl::InvalidArgumentError("--engine " + choice.engine +
                                      ": expected openvino, echo, vllm, sentence-transformers, module:Class, "
                                      "or a script whose name ends in .py");
  }
  if (choice.batch_tokens > 0 && choice.engine != "openvino") {
    return absl::InvalidArgumentError("--batch-tokens is for the engine openvino, not for " + choice.engine);
  }
  auto command = Program(choice, *kind);
  if (!command.ok()) return command;
  auto model = Model(choice, *kind);
  if (!model.ok()) return model.status();
  for (const std::string& word : {"--engine=" + choice.engine, "--model=" + *model, "--dtype=" + choice.dtype,
                                  "--threads=" + std::to_string(choice.threads)}) {
    command->push_back(word);
  }
  if (choice.batch_tokens > 0) command->push_back("--batch-tokens=" + std::to_string(choice.batch_tokens));
  if (!choice.device.empty()) command->push_back("--device=" + choice.device);
  command->insert(command->end(), choice.flags.begin(), choice.flags.end());
  return command;
}

std::string DefaultServedModel(const EngineChoice& choice) {
  if (!choice.model.empty()) return choice.model;
  if (KindOf(choice.engine) == EngineKind::kPythonScript) return fs::path(choice.engine).stem().string();
  return HasDefaultModel(choice.engine) ? kDefaultModel : choice.engine;
}

}  // namespace zerohop
