#include "replica_shim/engines/openvino/model_folder.h"

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "replica_shim/engines/openvino/json_file.h"

namespace zerohop {
namespace {

using nlohmann::json;

absl::StatusOr<Pooling> ReadPooling(const std::string& path) {
  absl::StatusOr<json> config = ReadJsonFile(path);
  if (!config.ok()) return config.status();
  bool cls = false;
  bool mean = false;
  std::string other;
  for (const auto& [key, value] : config->items()) {
    if (!key.starts_with("pooling_mode_") || value != true) continue;
    if (key == "pooling_mode_cls_token") {
      cls = true;
    } else if (key == "pooling_mode_mean_tokens") {
      mean = true;
    } else {
      other = key;
    }
  }
  // The newer spelling.
  if (const std::string mode = JsonString(*config, "pooling_mode", ""); !mode.empty()) {
    cls = mode == "cls";
    mean = mode == "mean";
    if (!cls && !mean) other = mode;
  }
  if (!other.empty() || cls == mean) {
    return absl::UnimplementedError(absl::StrCat(
        path, " asks for ", other.empty() ? "no single pooling" : absl::StrCat("the pooling ", other),
        ", but only cls or mean pooling is supported"));
  }
  return cls ? Pooling::kCls : Pooling::kMean;
}

std::string Join(const std::string& folder, const std::string& name) {
  return name.empty() ? folder : absl::StrCat(folder, "/", name);
}

absl::Status ReadModules(const std::string& path, ModelFolder* folder) {
  const std::string modules_path = Join(path, "modules.json");
  if (!FileExists(modules_path)) {
    const std::string pooling_path = Join(path, "1_Pooling/config.json");
    if (!FileExists(pooling_path)) return absl::OkStatus();
    absl::StatusOr<Pooling> pooling = ReadPooling(pooling_path);
    if (pooling.ok()) folder->pooling = *pooling;
    return pooling.status();
  }
  absl::StatusOr<json> modules = ReadJsonFile(modules_path);
  if (!modules.ok()) return modules.status();
  for (const json& module : *modules) {
    const std::string type = JsonString(module, "type", "");
    const std::string kind = type.substr(type.rfind('.') + 1);
    const std::string module_path = Join(path, JsonString(module, "path", ""));
    if (kind == "Transformer") {
      folder->transformer = module_path;
    } else if (kind == "Pooling") {
      absl::StatusOr<Pooling> pooling = ReadPooling(Join(module_path, "config.json"));
      if (!pooling.ok()) return pooling.status();
      folder->pooling = *pooling;
    } else if (kind == "Normalize") {
      folder->normalize = true;
    } else {
      return absl::UnimplementedError(
          absl::StrCat(modules_path, " names the module '", type,
                       "', but only Transformer, Pooling and Normalize are supported"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelFolder> ReadModelFolder(const std::string& given_path) {
  const std::string path(given_path.size() > 1 ? absl::StripSuffix(given_path, "/") : given_path);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat("there is no model folder ", path));
  }
  ModelFolder folder;
  folder.transformer = path;
  if (absl::Status status = ReadModules(path, &folder); !status.ok()) return status;

  folder.is_openvino_ir = FileExists(Join(folder.transformer, "openvino_model.xml")) &&
                          FileExists(Join(folder.transformer, "openvino_tokenizer.xml"));
  const std::string config_path = Join(folder.transformer, "config.json");
  folder.config = json::object();
  if (FileExists(config_path) || !folder.is_openvino_ir) {
    absl::StatusOr<json> config = ReadJsonFile(config_path);
    if (!config.ok()) return config.status();
    folder.config = *std::move(config);
  }
  const std::string limits_path = Join(folder.transformer, "sentence_bert_config.json");
  if (FileExists(limits_path)) {
    absl::StatusOr<json> limits = ReadJsonFile(limits_path);
    if (!limits.ok()) return limits.status();
    const int64_t length = JsonInteger(*limits, "max_seq_length", 0);
    folder.max_seq_length = length > 0 ? static_cast<size_t>(length) : 0;
  }
  return folder;
}

}  // namespace zerohop
