#pragma once

// EncodeCall: one Encode from its first byte to the end of its call.
//
//   waiting --request--> submitted --OnAnswer--> finishing --both events--> gone
//
// gRPC reports two ends: that the answer was sent (or could not be), and that
// the call is over (which is also how a cancel or a deadline shows). The call
// deletes itself after both. Methods run on completion-queue threads, OnAnswer
// on any.

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "broker/front/answers.h"
#include "broker/front/completion_event.h"
#include "broker/front/connections.h"
#include "broker/front/live_calls.h"
#include "broker/front/recycled.h"
#include "broker/front/service.h"
#include "broker/router/router.h"

namespace zerohop {

// What every call needs; outlives them all.
struct EncodeContext {
  Router& router;
  AsyncService& service;
  LiveCalls& live_calls;
  const Connections& connections;
  std::string served_model;
  uint64_t max_message_bytes = 0;  // of an answer
};

class EncodeCall final : public AnswerSink, public Recycled<EncodeCall> {
 public:
  // Waits for the next Encode on `queue`; the call owns itself.
  static void Listen(const EncodeContext& context, grpc::ServerCompletionQueue* queue);

  void OnAnswer(Answer answer) override;
  int socket() override;

 private:
  EncodeCall(const EncodeContext& context, grpc::ServerCompletionQueue* queue);

  void OnRequest(bool ok);
  void OnFinished(bool ok);
  void OnDone(bool ok);

  void Serve();
  bool ReadPieces();
  absl::Status CheckPrompts(const EngineInfo& model);
  void Submit();
  // With a status that another try would not change, and the word to gRPC's retries that it is so.
  void FinishForGood(const grpc::Status& status);
  void FinishWithError(const std::string& error);
  void Ref();
  void Unref();

  // Done may come while Submit still runs; whoever comes second cancels.
  enum class Progress { kSubmitting, kSubmitted, kDone };

  const EncodeContext& context_;
  grpc::ServerCompletionQueue* queue_;
  grpc::ServerContext server_context_;
  grpc::ByteBuffer request_;
  std::vector<grpc::Slice> slices_;  // own the bytes that the ticket's body refers to
  grpc::ServerAsyncResponseWriter<Reply> writer_;
  std::shared_ptr<Ticket> ticket_;
  AdmittedBytes unsent_;  // of the answer, until this call ends
  int32_t n_prompts_ = 0;
  std::atomic<Progress> progress_{Progress::kSubmitting};
  std::atomic<int> references_{2};  // one for each end to come, one while Submit runs
  MemberEvent<EncodeCall> on_request_{this, &EncodeCall::OnRequest};
  MemberEvent<EncodeCall> on_finished_{this, &EncodeCall::OnFinished};
  MemberEvent<EncodeCall> on_done_{this, &EncodeCall::OnDone};
};

}  // namespace zerohop
