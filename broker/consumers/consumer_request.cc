#include "broker/consumers/consumer_request.h"

#include <span>

#include "broker/front/request_id.h"
#include "broker/front/wire_scan.h"
#include "shm/row.h"

namespace zerohop {

ConsumerRequest::ConsumerRequest(uint64_t consumer, uint64_t id, const std::vector<std::string>& texts)
    : consumer_(consumer), id_(id), rows_(texts.size()) {
  RequestBody& body = ticket_->body;
  for (const std::string& text : texts) {
    body.prompts.push_back({texts_.size(), static_cast<uint32_t>(text.size())});
    texts_ += text;
  }
  body.AddPiece(std::as_bytes(std::span<const char>(texts_)));
  ticket_->request_id = NewRequestId();
  ticket_->stays_on_device = true;
  ticket_->sink = this;
}

absl::Status ConsumerRequest::Check(uint64_t max_prompt_bytes) {
  if (rows() == 0) return absl::InvalidArgumentError("no text: expected at least one");
  return CheckTexts(&ticket_->body, max_prompt_bytes);
}

void ConsumerRequest::Submit(RowPlace place, std::chrono::steady_clock::time_point deadline, Router& router,
                             CopyEngine& copies, std::shared_ptr<Mailbox> mailbox) {
  place_ = std::move(place);
  copies_ = &copies;
  mailbox_ = std::move(mailbox);
  ticket_->client_deadline = deadline;
  kept_ = shared_from_this();
  router.Submit(ticket_);
}

void ConsumerRequest::OnAnswer(Answer answer) {
  const std::shared_ptr<ConsumerRequest> self = std::move(kept_);
  if (answer.outcome != Outcome::kEmbedded) return End(StatusOf(answer));
  uint64_t bytes = 0;
  for (const RowBlock& block : answer.rows) bytes += block.size();
  // Room was taken for the model that was served then.
  if (bytes > place_.bytes) return End(absl::UnavailableError("the server began to serve another model"));
  dim_ = answer.dim;
  // What is gathered counts as admitted no more: a consumer's arena bounds it.
  copies_->Gather(
      {std::move(answer.rows), place_.arena, place_.offset, [self] { self->End(absl::OkStatus()); }});
}

void ConsumerRequest::End(absl::Status status) {
  mailbox_->Put({consumer_, id_, std::move(status), dim_});
}

}  // namespace zerohop
