// The wire scan (broker/front/wire_scan.h), held to three judges:
// itself, with the same bytes in one piece; protobuf's own parser; and plain
// code that says what a prompt may be.
//
// Input: u8 options, u8 how many cuts, a u16 for each cut, the message.
//   options  bits 0-2: most prompts (0: plenty), 3-5: most bytes of a text, 6-7: vocabulary

#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "broker/front/wire_scan.h"
#include "inference.pb.h"
#include "tests/fuzz/clean_text.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/split_body.h"

namespace zerohop {
namespace {

using arctic_inference::EncodeRequest;

constexpr uint32_t kMaxTokens = 6;

struct Limits {
  uint64_t prompts;
  uint64_t text_bytes;
  uint32_t vocabulary;
};

bool Mentions(const absl::Status& status, const char* words) {
  return std::string(status.message()).find(words) != std::string::npos;
}

void CheckSameAsInOnePiece(const std::string& message, const Limits& limits, const absl::Status& status,
                           const ScannedRequest& request) {
  const SplitBody whole(message, {});
  ScannedRequest expected;
  FUZZ_CHECK(ScanEncodeRequest(whole.body, limits.prompts, &expected) == status);
  if (!status.ok()) return;
  FUZZ_CHECK(request.request_id == expected.request_id && request.model_name == expected.model_name);
  FUZZ_CHECK(request.n_prompts == expected.n_prompts && request.priority == expected.priority);
  FUZZ_CHECK(request.kind == expected.kind && request.prompts.size() == expected.prompts.size());
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    FUZZ_CHECK(request.prompts[i].offset == expected.prompts[i].offset);
    FUZZ_CHECK(request.prompts[i].length == expected.prompts[i].length);
  }
}

void CheckSameAsProtobuf(const EncodeRequest& expected, const std::vector<std::string>& prompts,
                         const ScannedRequest& request) {
  FUZZ_CHECK(request.request_id == expected.request_id() && request.model_name == expected.model_name());
  FUZZ_CHECK(request.n_prompts == expected.n_prompts() && request.priority == expected.priority());
  const bool ids = expected.token_id_bytes_i32_size() > 0;
  FUZZ_CHECK((request.kind == PromptKind::kTokenIds) == ids);
  const auto& field = ids ? expected.token_id_bytes_i32() : expected.prompts();
  FUZZ_CHECK(std::equal(prompts.begin(), prompts.end(), field.begin(), field.end()));
}

// Why the scan may refuse what protobuf takes: groups; a tag of more than 32 bits, which protobuf cuts off;
// and the broker's own limits.
bool MayRefuseMore(const absl::Status& status) {
  return Mentions(status, "an unknown wire type") || Mentions(status, "an impossible field number") ||
         Mentions(status, "bytes long; at most") || absl::IsResourceExhausted(status);
}

// Why protobuf may refuse what the scan takes, beside text that is not UTF-8: tags and lengths of more than
// five bytes.
bool HasLongVarint(std::string_view message) {
  size_t run = 0;
  for (char c : message) {
    run = static_cast<uint8_t>(c) >= 0x80 ? run + 1 : 0;
    if (run >= 5) return true;
  }
  return false;
}

bool AreTokenIds(std::string_view blob, uint32_t vocabulary) {
  if (blob.empty() || blob.size() % 4 != 0 || blob.size() / 4 > kMaxTokens) return false;
  for (size_t i = 0; i < blob.size(); i += 4) {
    int32_t id;
    std::memcpy(&id, blob.data() + i, sizeof id);
    if (id < 0 || (vocabulary > 0 && id >= static_cast<int64_t>(vocabulary))) return false;
  }
  return true;
}

void CheckTheTexts(SplitBody& split, const std::vector<std::string>& texts, uint64_t most) {
  const absl::Status status = CheckTexts(&split.body, most);
  FUZZ_CHECK(status.ok() == std::all_of(texts.begin(), texts.end(), IsUtf8));
  FUZZ_CHECK(status.ok() || absl::IsInvalidArgument(status));
  if (!status.ok()) return;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string kept = TextOf(split.body, split.body.prompts[i]);
    FUZZ_CHECK(texts[i].compare(0, kept.size(), kept) == 0 && IsUtf8(kept));
    // Cut where it is too long, by less than one character more than needed.
    FUZZ_CHECK(texts[i].size() <= most ? kept == texts[i] : kept.size() <= most && kept.size() + 4 > most);
  }
}

// What was found lies within the message and is judged as plain code judges it.
void CheckPrompts(SplitBody& split, const std::vector<std::string>& prompts, const Limits& limits) {
  const absl::Status status = CheckTokenIds(split.body, limits.vocabulary, kMaxTokens);
  FUZZ_CHECK(status.ok() || absl::IsInvalidArgument(status));
  FUZZ_CHECK(status.ok() == std::all_of(prompts.begin(), prompts.end(), [&](const std::string& blob) {
               return AreTokenIds(blob, limits.vocabulary);
             }));
  CheckTheTexts(split, prompts, limits.text_bytes);
}

void CheckMessage(const std::string& message, const std::vector<size_t>& cuts, const Limits& limits) {
  SplitBody split(message, cuts);
  ScannedRequest request;
  const absl::Status status = ScanEncodeRequest(split.body, limits.prompts, &request);
  CheckSameAsInOnePiece(message, limits, status, request);
  EncodeRequest expected;
  const bool parsed = expected.ParseFromString(message);
  if (!status.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status));
    FUZZ_CHECK(IsCleanText(std::string(status.message())) && !status.message().empty());
    FUZZ_CHECK(!parsed || MayRefuseMore(status));
    return;
  }
  FUZZ_CHECK(request.prompts.size() <= limits.prompts);
  std::vector<std::string> prompts;
  for (const PromptPlace& place : request.prompts) {
    FUZZ_CHECK(place.offset <= message.size() && place.length <= message.size() - place.offset);
    prompts.push_back(TextOf(split.body, place));
    FUZZ_CHECK(prompts.back() == message.substr(place.offset, place.length));
  }
  if (parsed) CheckSameAsProtobuf(expected, prompts, request);
  const bool all_text =
      request.kind == PromptKind::kText && std::all_of(prompts.begin(), prompts.end(), IsUtf8);
  FUZZ_CHECK(parsed || !all_text || HasLongVarint(message));
  split.body.kind = request.kind;
  split.body.prompts = request.prompts;
  CheckPrompts(split, prompts, limits);
}

}  // namespace
}  // namespace zerohop

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  // protobuf would write a line for each text that is not UTF-8.
  [[maybe_unused]] static const auto log = google::protobuf::SetLogHandler(nullptr);
  zerohop::FuzzInput input(bytes, size);
  const uint8_t options = input.Byte();
  static constexpr uint32_t kVocabularies[] = {0, 1, 100, ~0u};
  const zerohop::Limits limits{options % 8 == 0 ? 1000u : options % 8u, options / 8 % 8u * 3,
                               kVocabularies[options / 64]};
  std::vector<size_t> cuts(input.Byte() % 8);
  for (size_t& cut : cuts) cut = input.Word();
  const std::string message(input.Rest());
  for (size_t& cut : cuts) cut %= message.size() + 1;
  std::sort(cuts.begin(), cuts.end());
  zerohop::CheckMessage(message, cuts, limits);
  return 0;
}
