#pragma once

// Wire scan: finds what the broker must know in the bytes of an EncodeRequest,
// and where the prompts lie, without copying or decoding them.
//
// Survives any bytes. Follows protobuf where it matters: fields in any order,
// the last scalar wins, unknown fields and known ones of another wire type are
// skipped. Stricter: groups, which proto3 does not have, tags beyond 32 bits and
// names beyond 64 KiB are refused. Laxer: a tag or a length may be written with
// more bytes than it needs, and prompts that token ids outdo are not looked at.

#include <cstdint>

#include "absl/status/status.h"
#include "broker/lanes/request_body.h"
#include "broker/lanes/short_text.h"

namespace zerohop {

struct ScannedRequest {
  ShortText request_id;
  ShortText model_name;
  int32_t n_prompts = 0;
  int32_t priority = 0;
  // Token ids where there are any, else texts.
  PromptKind kind = PromptKind::kText;
  PromptPlaces prompts;
};

// `body.pieces` hold the message. InvalidArgument says what is broken;
// ResourceExhausted: more than `max_prompts` prompts.
absl::Status ScanEncodeRequest(const RequestBody& body, uint64_t max_prompts, ScannedRequest* request);

// Ids must be whole, within the vocabulary (0: any) and at most `max_tokens` a prompt;
// InvalidArgument names the prompt.
absl::Status CheckTokenIds(const RequestBody& body, uint32_t vocabulary, uint32_t max_tokens);

// Texts must be UTF-8; InvalidArgument names the prompt. One longer than
// `max_bytes` is cut, between characters.
absl::Status CheckTexts(RequestBody* body, uint64_t max_bytes);

}  // namespace zerohop
