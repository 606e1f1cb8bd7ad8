#include "broker/front/wire_scan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "broker/front/piece_cursor.h"
#include "shm/utf8.h"

namespace zerohop {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };
enum Field : uint32_t {
  kRequestId = 1,
  kPromptCount = 2,
  kPrompts = 3,
  kTokenIds = 4,
  kModelName = 5,
  kPriority = 6
};

constexpr uint64_t kMaxNameBytes = 64 << 10;  // of request_id and model_name, which are copied

absl::Status Broken(uint64_t at, const char* what) {
  return absl::InvalidArgumentError("The request is not a valid EncodeRequest: " + std::string(what) +
                                    " at byte " + std::to_string(at));
}

absl::Status ReadName(PieceCursor& cursor, uint64_t length, const char* field, ShortText* name) {
  if (length > kMaxNameBytes) {
    return absl::InvalidArgumentError(std::string(field) + " is " + std::to_string(length) +
                                      " bytes long; at most " + std::to_string(kMaxNameBytes) +
                                      " are allowed");
  }
  name->resize(length);
  if (!cursor.Read(name->data(), length))
    return Broken(cursor.position(), "a string ends beyond the message");
  Utf8Checker checker;
  checker.Feed(std::as_bytes(std::span(name->view())));
  if (!checker.Complete()) return absl::InvalidArgumentError(std::string(field) + " is not valid UTF-8");
  return absl::OkStatus();
}

// What one pass over the message collects.
struct Scan {
  PieceCursor cursor;
  uint64_t max_prompts;
  ScannedRequest* request;
  PromptPlaces texts, blobs;

  absl::Status Varint(uint32_t field) {
    uint64_t value;
    if (!cursor.ReadVarint(&value)) return Broken(cursor.position(), "a number does not end");
    if (field == kPromptCount) request->n_prompts = static_cast<int32_t>(value);
    if (field == kPriority) request->priority = static_cast<int32_t>(value);
    return absl::OkStatus();
  }

  absl::Status LengthDelimited(uint32_t field) {
    uint64_t length;
    if (!cursor.ReadVarint(&length)) return Broken(cursor.position(), "a length does not end");
    if (length > cursor.remaining()) return Broken(cursor.position(), "a field ends beyond the message");
    if (field == kRequestId) return ReadName(cursor, length, "request_id", &request->request_id);
    if (field == kModelName) return ReadName(cursor, length, "model_name", &request->model_name);
    if (field == kPrompts || field == kTokenIds) {
      auto& places = field == kPrompts ? texts : blobs;
      if (places.size() == max_prompts) {
        return absl::ResourceExhaustedError("The request has more than " + std::to_string(max_prompts) +
                                            " prompts, the limit of the queue (--max-queue-prompts)");
      }
      places.push_back({cursor.position(), static_cast<uint32_t>(length)});
    }
    (void)cursor.Skip(length);  // checked above
    return absl::OkStatus();
  }

  absl::Status One() {
    const uint64_t at = cursor.position();
    uint64_t tag;
    if (!cursor.ReadVarint(&tag)) return Broken(at, "a tag does not end");
    const uint64_t field = tag >> 3;
    if (field == 0 || field > (1u << 29) - 1) return Broken(at, "an impossible field number");
    switch (tag & 7) {
      case kVarint:
        return Varint(static_cast<uint32_t>(field));
      case kLength:
        return LengthDelimited(static_cast<uint32_t>(field));
      case kFixed64:
        return cursor.Skip(8) ? absl::OkStatus() : Broken(at, "a field ends beyond the message");
      case kFixed32:
        return cursor.Skip(4) ? absl::OkStatus() : Broken(at, "a field ends beyond the message");
      default:
        return Broken(at, "an unknown wire type");
    }
  }
};

// Moves a cut back so that it does not split a character.
uint32_t CutBetweenCharacters(const RequestBody& body, const PromptPlace& prompt, uint32_t at) {
  for (int back = 0; back < 3 && at > 0; ++back, --at) {
    std::byte next;
    body.CopyOut(prompt.offset + at, 1, &next);
    if ((static_cast<uint8_t>(next) & 0xc0) != 0x80) break;
  }
  return at;
}

// The first of the next `count` ids that is beyond `most`, as negative ones always are; `count` where none
// is.
uint32_t FindBeyond(uint32_t most, PieceCursor& cursor, uint32_t count) {
  std::array<uint32_t, 512> some;
  for (uint32_t at = 0; at < count;) {
    const std::span ids(some.data(), std::min<size_t>(some.size(), count - at));
    (void)cursor.Read(ids.data(), ids.size_bytes());  // within the message, as scanned
    // Nearly always all are good: their greatest is found without a branch for each.
    uint32_t greatest = 0;
    for (const uint32_t id : ids) greatest = std::max(greatest, id);
    if (greatest > most) {
      const auto bad = std::find_if(ids.begin(), ids.end(), [&](uint32_t id) { return id > most; });
      return at + static_cast<uint32_t>(bad - ids.begin());
    }
    at += static_cast<uint32_t>(ids.size());
  }
  return count;
}

absl::Status BadPrompt(size_t index, const std::string& why) {
  return absl::InvalidArgumentError("Prompt " + std::to_string(index) + ": " + why);
}

}  // namespace

absl::Status ScanEncodeRequest(const RequestBody& body, uint64_t max_prompts, ScannedRequest* request) {
  Scan scan{PieceCursor(body), max_prompts, request, {}, {}};
  while (scan.cursor.remaining() > 0) {
    if (absl::Status status = scan.One(); !status.ok()) return status;
  }
  request->kind = scan.blobs.empty() ? PromptKind::kText : PromptKind::kTokenIds;
  request->prompts = std::move(scan.blobs.empty() ? scan.texts : scan.blobs);
  return absl::OkStatus();
}

absl::Status CheckTokenIds(const RequestBody& body, uint32_t vocabulary, uint32_t max_tokens) {
  constexpr uint32_t kGreatest = std::numeric_limits<int32_t>::max();
  const uint32_t most = vocabulary == 0 ? kGreatest : std::min(vocabulary - 1, kGreatest);
  for (size_t i = 0; i < body.prompts.size(); ++i) {
    const PromptPlace& prompt = body.prompts[i];
    if (prompt.length % sizeof(int32_t) != 0) {
      return BadPrompt(i, "expected int32 token ids, a multiple of 4 bytes, got " +
                              std::to_string(prompt.length) + " bytes");
    }
    const uint32_t count = prompt.length / sizeof(int32_t);
    if (count == 0 || count > max_tokens) {
      return BadPrompt(
          i, "expected 1 to " + std::to_string(max_tokens) + " token ids, got " + std::to_string(count));
    }
    PieceCursor cursor(body, prompt.offset, prompt.length);
    const uint32_t position = FindBeyond(most, cursor, count);
    if (position == count) continue;
    int32_t id;
    body.CopyOut(prompt.offset + uint64_t{position} * sizeof id, sizeof id,
                 reinterpret_cast<std::byte*>(&id));
    return BadPrompt(i, "token id " + std::to_string(id) + " at position " + std::to_string(position) +
                            " is outside the vocabulary, " +
                            (vocabulary == 0 ? "0 and up" : "0 to " + std::to_string(vocabulary - 1)));
  }
  return absl::OkStatus();
}

absl::Status CheckTexts(RequestBody* body, uint64_t max_bytes) {
  for (size_t i = 0; i < body->prompts.size(); ++i) {
    PromptPlace& prompt = body->prompts[i];
    Utf8Checker checker;
    PieceCursor cursor(*body, prompt.offset, prompt.length);
    for (auto run = cursor.NextRun(prompt.length); !run.empty(); run = cursor.NextRun(prompt.length))
      checker.Feed(run);
    if (!checker.Complete()) return BadPrompt(i, "the text is not valid UTF-8");
    if (prompt.length > max_bytes)
      prompt.length = CutBetweenCharacters(*body, prompt, static_cast<uint32_t>(max_bytes));
  }
  return absl::OkStatus();
}

}  // namespace zerohop
