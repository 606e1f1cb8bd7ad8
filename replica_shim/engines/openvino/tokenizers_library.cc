#include "replica_shim/engines/openvino/tokenizers_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "openvino/core/attribute_visitor.hpp"
#include "openvino/core/extension.hpp"
#include "openvino/core/op_extension.hpp"
#include "openvino/op/parameter.hpp"

namespace zerohop {
namespace {

// Hands an operation the attributes that a model file would have held.
class WordpieceAttributes : public ov::AttributeVisitor {
 public:
  explicit WordpieceAttributes(const std::string& suffix_indicator) : suffix_indicator_(suffix_indicator) {}

  void on_adapter(const std::string&, ov::ValueAccessor<void>&) override {}
  void on_adapter(const std::string& name, ov::ValueAccessor<std::string>& value) override {
    if (name == "suffix_indicator") value.set(suffix_indicator_);
  }
  void on_adapter(const std::string& name, ov::ValueAccessor<int64_t>& value) override {
    // The reference limits characters, not bytes; the splitter has done so before.
    if (name == "max_bytes_per_word") value.set(std::numeric_limits<int32_t>::max());
  }

 private:
  const std::string suffix_indicator_;
};

absl::StatusOr<std::vector<ov::Extension::Ptr>> LoadExtensions() {
  const std::string path = TokenizersLibraryPath();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("cannot load the OpenVINO Tokenizers library ", path, ": ", dlerror()));
  }
  using CreateExtensions = void (*)(std::vector<ov::Extension::Ptr>&);
  const auto create = reinterpret_cast<CreateExtensions>(dlsym(library, "create_extensions"));
  if (create == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a library of OpenVINO extensions"));
  }
  std::vector<ov::Extension::Ptr> extensions;
  create(extensions);
  return extensions;
}

}  // namespace

std::string TokenizersLibraryPath() {
  const char* path = std::getenv("ZEROHOP_OPENVINO_TOKENIZERS");
  return path != nullptr && *path != '\0' ? path : ZEROHOP_OPENVINO_TOKENIZERS_DEFAULT;
}

absl::StatusOr<std::shared_ptr<ov::Node>> MakeWordpieceOperation(const std::string& suffix_indicator) {
  absl::StatusOr<std::vector<ov::Extension::Ptr>> extensions = LoadExtensions();
  if (!extensions.ok()) return extensions.status();
  const auto list = [](ov::element::Type type) {
    return std::make_shared<ov::op::v0::Parameter>(type, ov::PartialShape{-1})->output(0);
  };
  ov::OutputVector inputs;
  for (int i = 0; i < 4; ++i) inputs.push_back(list(ov::element::i32));
  inputs.push_back(list(ov::element::u8));
  for (int i = 0; i < 2; ++i) inputs.push_back(list(ov::element::i32));
  inputs.push_back(list(ov::element::u8));
  inputs.push_back(std::make_shared<ov::op::v0::Parameter>(ov::element::i32, ov::PartialShape{})->output(0));

  for (const ov::Extension::Ptr& extension : *extensions) {
    const auto operation = std::dynamic_pointer_cast<ov::BaseOpExtension>(extension);
    if (operation == nullptr) continue;
    if (std::string_view(operation->get_type_info().name) != "WordpieceTokenizer") continue;
    WordpieceAttributes attributes(suffix_indicator);
    return operation->create(inputs, attributes).at(0).get_node_shared_ptr();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(TokenizersLibraryPath(), " has no WordpieceTokenizer operation"));
}

}  // namespace zerohop
