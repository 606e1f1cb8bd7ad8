#pragma once

// ConsumerRequest: one request of a consumer, from its texts to rows in the
// consumer's arena.
//
//   submitted --OnAnswer--> gathering --the device is done--> told
//                  \-- no rows, and why ----------------------> told
//
// Made and submitted on the desk's thread; answered on any, and gathered on the
// copy engine's. It keeps itself until it has told its end to the mailbox, which
// outlives whoever reads it.

#include <sys/eventfd.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "broker/lanes/copy_engine.h"
#include "broker/router/router.h"
#include "shm/segment.h"

namespace zerohop {

// How a request ended.
struct RequestEnd {
  uint64_t consumer = 0;  // its number
  uint64_t id = 0;        // of the request
  absl::Status status;
  uint32_t dim = 0;  // of its rows
};

// Ends of requests, for the desk's thread; put in on any.
class Mailbox {
 public:
  void Put(RequestEnd end) {
    {
      std::lock_guard lock(mutex_);
      ends_.push_back(std::move(end));
    }
    Ring();
  }
  std::vector<RequestEnd> TakeAll() {
    eventfd_t rung;
    (void)::eventfd_read(bell_.get(), &rung);
    std::lock_guard lock(mutex_);
    return std::exchange(ends_, {});
  }
  void Ring() const { (void)::eventfd_write(bell_.get(), 1); }
  // Readable when something is in it; -1 where there is no descriptor left.
  int fd() const { return bell_.get(); }

 private:
  const UniqueFd bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex_;
  std::vector<RequestEnd> ends_;
};

// Where the rows of a request shall lie.
struct RowPlace {
  std::shared_ptr<const DeviceArena> arena;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

class ConsumerRequest final : public AnswerSink, public std::enable_shared_from_this<ConsumerRequest> {
 public:
  ConsumerRequest(uint64_t consumer, uint64_t id, const std::vector<std::string>& texts);

  // InvalidArgument names the text that cannot be embedded.
  absl::Status Check(uint64_t max_prompt_bytes);
  size_t rows() const { return rows_; }
  uint64_t offset() const { return place_.offset; }

  // Once. What is named outlives the answer.
  void Submit(RowPlace place, std::chrono::steady_clock::time_point deadline, Router& router,
              CopyEngine& copies, std::shared_ptr<Mailbox> mailbox);
  // Nobody waits for it any more. It ends soon; with its rows, where they were on their way.
  void Cancel(Router& router) { router.Cancel(*ticket_); }

  std::chrono::steady_clock::time_point deadline() const { return ticket_->client_deadline; }
  // The desk's: it was cancelled because its deadline has passed.
  bool overdue = false;

  void OnAnswer(Answer answer) override;

 private:
  void End(absl::Status status);

  const uint64_t consumer_, id_;
  const size_t rows_;
  std::string texts_;  // one after the other; the ticket's body refers to it
  const std::shared_ptr<Ticket> ticket_ = std::make_shared<Ticket>();
  RowPlace place_;
  CopyEngine* copies_ = nullptr;
  std::shared_ptr<Mailbox> mailbox_;
  uint32_t dim_ = 0;
  std::shared_ptr<ConsumerRequest> kept_;  // itself, until it is answered
};

}  // namespace zerohop
