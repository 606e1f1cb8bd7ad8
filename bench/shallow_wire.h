#pragma once

// The least of protobuf's wire format that a load generator and a server that
// answers by itself need: Encode requests written, both messages scanned
// without copying a prompt or an embedding.
//
// Written anew rather than shared with the broker: a check that used the
// checked code would repeat its mistakes.
// No state; every function may be called from any thread.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zerohop::bench {

inline constexpr char kEncodeMethod[] = "/arctic_inference.InferenceService/Encode";
inline constexpr int kMaxMessageBytes = 200 << 20;  // as the wire contract has it

// What an EncodeRequest asks, prompts left where they are.
struct RequestShape {
  std::string request_id;
  int32_t n_prompts = 0;
};

// What an EncodeResponse claims and what it really holds.
struct ResponseShape {
  std::string request_id;
  std::string error;
  int32_t n_prompts = 0;
  int32_t dim = 0;
  int64_t blobs = 0;             // embedding_bytes_fp32 entries seen
  uint64_t shortest_blob = ~0u;  // bytes
  uint64_t longest_blob = 0;     // bytes
};

void AppendVarint(uint64_t value, std::string& out);
// Appends a length-delimited field (string, bytes).
void AppendField(int number, std::string_view value, std::string& out);
void AppendInt(int number, int64_t value, std::string& out);

// False: the bytes are no such message. `shape` then holds what was seen so far.
[[nodiscard]] bool ScanRequest(std::span<const grpc::Slice> slices, RequestShape& shape);
[[nodiscard]] bool ScanResponse(std::span<const grpc::Slice> slices, ResponseShape& shape);

}  // namespace zerohop::bench
