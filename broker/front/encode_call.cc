#include "broker/front/encode_call.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>

#include <memory>

#include "broker/front/request_id.h"
#include "broker/front/row_frame.h"
#include "broker/front/wire_scan.h"

namespace zerohop {
namespace {

constexpr uint64_t kMaxHeaderBytes = 65 << 10;  // of an answer: request_id and numbers

using SteadyClock = std::chrono::steady_clock;

// gRPC tells deadlines by the system clock; work is timed by the steady one.
SteadyClock::time_point ToSteady(std::chrono::system_clock::time_point deadline) {
  const auto left = deadline - std::chrono::system_clock::now();
  // Clients without a deadline have one in the far future, which would overflow.
  if (left > std::chrono::hours(24)) return SteadyClock::time_point::max();
  return SteadyClock::now() + std::chrono::duration_cast<SteadyClock::duration>(left);
}

}  // namespace

void EncodeCall::Listen(const EncodeContext& context, grpc::ServerCompletionQueue* queue) {
  new EncodeCall(context, queue);
}

EncodeCall::EncodeCall(const EncodeContext& context, grpc::ServerCompletionQueue* queue)
    : context_(context), queue_(queue), writer_(&server_context_) {
  server_context_.AsyncNotifyWhenDone(&on_done_);
  context.service.RequestEncode(&server_context_, &request_, &writer_, queue, &on_request_);
}

void EncodeCall::OnRequest(bool ok) {
  if (!ok) {  // the server is shutting down; Done will not come
    delete this;
    return;
  }
  context_.live_calls.Enter();
  Listen(context_, queue_);
  ticket_ = std::allocate_shared<Ticket>(RecyclingAllocator<Ticket>());
  Serve();
}

void EncodeCall::Serve() {
  if (!ReadPieces()) {
    return writer_.FinishWithError({grpc::StatusCode::INTERNAL, "The request's bytes could not be read"},
                                   &on_finished_);
  }
  ScannedRequest scanned;
  const absl::Status status = ScanEncodeRequest(ticket_->body, context_.router.limits().prompts, &scanned);
  if (!status.ok()) return FinishForGood(ToGrpcStatus(status));
  ticket_->request_id = scanned.request_id.empty() ? NewRequestId() : std::move(scanned.request_id);
  ticket_->priority = scanned.priority;
  ticket_->body.kind = scanned.kind;
  ticket_->body.prompts = std::move(scanned.prompts);
  n_prompts_ = scanned.n_prompts;

  const EngineInfo* model = context_.router.model();
  if (model == nullptr) {
    return writer_.FinishWithError(ToGrpcStatus(NoneHasStarted()), &on_finished_);
  }
  if (scanned.model_name != context_.served_model) {
    return FinishWithError("Expected model name " + context_.served_model + ", got " +
                           std::string(scanned.model_name.view()));
  }
  if (n_prompts_ <= 0 || static_cast<size_t>(n_prompts_) != ticket_->body.prompts.size()) {
    return FinishWithError("Expected " + std::to_string(n_prompts_) + " prompts, got " +
                           std::to_string(ticket_->body.prompts.size()));
  }
  const absl::Status prompts = CheckPrompts(*model);
  if (!prompts.ok()) return writer_.FinishWithError(ToGrpcStatus(prompts), &on_finished_);
  Submit();
}

bool EncodeCall::ReadPieces() {
  if (!request_.Dump(&slices_).ok()) return false;
  for (const grpc::Slice& slice : slices_) {
    ticket_->body.AddPiece({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
  }
  return true;
}

absl::Status EncodeCall::CheckPrompts(const EngineInfo& model) {
  RequestBody& body = ticket_->body;
  // Computed first and refused by gRPC afterwards would cost minutes for nothing.
  const uint64_t answer_bytes =
      body.prompts.size() * (kRowFrameBytes + RowBytes(model.dim)) + kMaxHeaderBytes;
  if (answer_bytes > context_.max_message_bytes) {
    return absl::InvalidArgumentError(std::to_string(body.prompts.size()) + " prompts need an answer of " +
                                      std::to_string(answer_bytes) + " bytes; the limit of a message is " +
                                      std::to_string(context_.max_message_bytes));
  }
  if (body.kind == PromptKind::kText) return CheckTexts(&body, context_.router.max_prompt_bytes());
  const uint64_t most_ids = context_.router.max_prompt_bytes() / sizeof(int32_t);
  return CheckTokenIds(body, model.vocabulary,
                       static_cast<uint32_t>(std::min<uint64_t>(model.max_tokens, most_ids)));
}

void EncodeCall::Submit() {
  ticket_->client_deadline = ToSteady(server_context_.deadline());
  ticket_->sink = this;
  // Kept apart: once submitted, this call may end, and be gone, at any time.
  const std::shared_ptr<Ticket> ticket = ticket_;
  Ref();
  context_.router.Submit(ticket);
  // EDGE(submitted) acq_rel: Done sees the ticket, or we see that it is done.
  if (progress_.exchange(Progress::kSubmitted, std::memory_order_acq_rel) == Progress::kDone) {
    context_.router.Cancel(*ticket);
  }
  Unref();
}

void EncodeCall::OnAnswer(Answer answer) {
  // Retried as often as it may be: a client that retries as well would multiply what may be the work's own
  // fault.
  if (answer.outcome == Outcome::kReplicaLost) return FinishForGood(ToGrpcStatus(answer));
  if (answer.outcome != Outcome::kEmbedded)
    return writer_.FinishWithError(ToGrpcStatus(answer), &on_finished_);
  unsent_ = std::move(answer.bytes);
  writer_.Finish(FrameEmbeddings(ticket_->request_id.view(), n_prompts_, std::move(answer)), grpc::Status::OK,
                 &on_finished_);
}

int EncodeCall::socket() {
  // As ServerContext::peer() does, without a string of our own: c_call is for extensions of gRPC, as this is.
  const std::unique_ptr<char, void (*)(void*)> peer(grpc_call_get_peer(server_context_.c_call()), gpr_free);
  return context_.connections.Find(peer.get());
}

void EncodeCall::FinishForGood(const grpc::Status& status) {
  server_context_.AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
  writer_.FinishWithError(status, &on_finished_);
}

void EncodeCall::FinishWithError(const std::string& error) {
  writer_.Finish(FrameError(ticket_->request_id.view(), error), grpc::Status::OK, &on_finished_);
}

void EncodeCall::OnFinished(bool /*ok*/) {
  Unref();
}

void EncodeCall::OnDone(bool /*ok*/) {
  // EDGE(submitted) acq_rel: see Submit.
  const bool submitted =
      progress_.exchange(Progress::kDone, std::memory_order_acq_rel) == Progress::kSubmitted;
  if (submitted && server_context_.IsCancelled()) context_.router.Cancel(*ticket_);
  Unref();
}

void EncodeCall::Ref() {
  references_.fetch_add(1, std::memory_order_relaxed);  // EDGE(call) relaxed: we hold one already
}

void EncodeCall::Unref() {
  // EDGE(call) acq_rel: the last one sees all that the others did.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  LiveCalls& live_calls = context_.live_calls;
  delete this;
  live_calls.Leave();
}

}  // namespace zerohop
