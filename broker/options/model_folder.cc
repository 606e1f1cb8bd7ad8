#include "broker/options/model_folder.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

namespace zerohop {
namespace {

namespace fs = std::filesystem;

fs::path FromEnvironment(const char* name, const fs::path& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? fs::path(value) : otherwise;
}

fs::path UserCache() {
  return FromEnvironment("XDG_CACHE_HOME", FromEnvironment("HOME", "/root") / ".cache");
}

// models--org--name/snapshots/REVISION, the revision that refs/main names.
fs::path HuggingFaceSnapshot(const std::string& model) {
  const fs::path home = FromEnvironment("HF_HOME", UserCache() / "huggingface");
  std::string folder = "models--" + model;
  for (size_t slash; (slash = folder.find('/')) != std::string::npos;) folder.replace(slash, 1, "--");
  const fs::path root = FromEnvironment("HF_HUB_CACHE", home / "hub") / folder;
  std::ifstream main(root / "refs" / "main");
  std::string revision;
  main >> revision;
  return root / "snapshots" / revision;
}

}  // namespace

absl::StatusOr<std::string> FindModelFolder(const std::string& model) {
  const fs::path prepared = FromEnvironment("ZEROHOP_CACHE", UserCache() / "zerohop") / "models";
  const std::vector<fs::path> places{model, prepared / model, prepared / "sentence-transformers" / model,
                                     HuggingFaceSnapshot(model)};
  std::error_code ignored;
  for (const fs::path& place : places) {
    if (fs::exists(place / "config.json", ignored) || fs::exists(place / "openvino_model.xml", ignored)) {
      return place.string();
    }
  }
  if (fs::is_directory(model, ignored)) {
    return absl::NotFoundError("--model " + model +
                               ": the folder has neither config.json nor openvino_model.xml");
  }
  return absl::NotFoundError("--model " + model + ": no such folder, and no model of this name in " +
                             prepared.string() + " or in the Hugging Face cache (" +
                             places.back().parent_path().parent_path().string() + ")");
}

}  // namespace zerohop
