#pragma once

// TestCall: one request as the front would bring it, and the ear for its
// answer. Counts answers, because there must be exactly one. Its bytes lie in
// two pieces, so that a prompt straddles them.

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "broker/router/ticket.h"
#include "tests/support/known_rows.h"

namespace zerohop {

class TestCall final : public AnswerSink {
 public:
  explicit TestCall(std::vector<std::string> prompts, std::string_view id = "id", int32_t priority = 0)
      : prompts_(std::move(prompts)), ticket_(std::make_shared<Ticket>()) {
    for (const std::string& prompt : prompts_) {
      ticket_->body.prompts.push_back({payload_.size(), static_cast<uint32_t>(prompt.size())});
      payload_ += prompt;
    }
    const auto bytes = std::as_bytes(std::span<const char>(payload_));
    ticket_->body.AddPiece(bytes.first(bytes.size() / 2));
    ticket_->body.AddPiece(bytes.subspan(bytes.size() / 2));
    ticket_->request_id = ShortText(id);
    ticket_->priority = priority;
    ticket_->sink = this;
  }
  TestCall(const TestCall&) = delete;

  const std::shared_ptr<Ticket>& ticket() const { return ticket_; }

  void OnAnswer(Answer answer) override {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
    ++answers_;
    answered_.notify_all();
  }
  int answers() const {
    std::lock_guard lock(mutex_);
    return answers_;
  }
  // Until the answer has come. Bounded, so that a lost answer is a failure and not a hang.
  bool WaitForAnswer() const {
    std::unique_lock lock(mutex_);
    return answered_.wait_for(lock, std::chrono::seconds(100), [&] { return answers_ > 0; });
  }
  // After the answer has come.
  const Answer& answer() const { return answer_; }
  Outcome outcome() const { return answer_.outcome; }
  bool HasRightRows() const {
    std::string rows;
    for (const RowBlock& block : answer_.rows) {
      rows.append(reinterpret_cast<const char*>(block.bytes().data()), block.bytes().size());
    }
    return answer_.dim > 0 && rows == KnownRows(prompts_, answer_.dim);
  }
  // Lets go of the rows, as the front does when they have been sent.
  void DropRows() { answer_.rows.clear(); }

 private:
  const std::vector<std::string> prompts_;
  std::string payload_;
  std::shared_ptr<Ticket> ticket_;
  mutable std::mutex mutex_;
  mutable std::condition_variable answered_;
  Answer answer_;
  int answers_ = 0;
};

// `count` prompts of `bytes` bytes, each different.
inline std::vector<std::string> NumberedPrompts(size_t count, size_t bytes = 40) {
  std::vector<std::string> prompts;
  for (size_t i = 0; i < count; ++i) {
    std::string prompt = "prompt " + std::to_string(i) + " ";
    prompt.resize(std::max(bytes, prompt.size()), '.');
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace zerohop
