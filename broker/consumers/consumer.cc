#include "broker/consumers/consumer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "shm/row.h"

namespace zerohop {
namespace {

constexpr int kMessagesAtOnce = 64;  // of one, before others have their turn
constexpr std::chrono::seconds kHelloTimeout(5);
constexpr size_t kMostUnsent = 1 << 10;  // answers that a consumer does not read

using Clock = std::chrono::steady_clock;

Clock::time_point DeadlineFor(int64_t timeout_ns) {
  constexpr std::chrono::hours kNone(24);
  const std::chrono::nanoseconds timeout(timeout_ns);
  return timeout_ns <= 0 || timeout > kNone ? Clock::time_point::max() : Clock::now() + timeout;
}

}  // namespace

// Leases of one that has left are nobody's.
ConsumerStatus Consumer::Status() const {
  ConsumerStatus status{.number = number_, .pid = pid(), .requests = requests_.size(), .counts = counts_};
  if (arena_ != nullptr) {
    status.state = left() ? ConsumerState::kLeft : ConsumerState::kServed;
    status.arena_bytes = around_.arena_bytes;
  }
  if (status.state == ConsumerState::kServed) {
    status.leases = book_->held();
    status.bytes_taken = book_->taken_bytes();
  }
  return status;
}

void Consumer::Hear(const FindArena& find_arena) {
  for (int messages = 0; messages < kMessagesAtOnce && !left(); ++messages) {
    auto packet = socket_.Receive(kMaxConsumerMessageBytes, Waiting::kNever);
    if (absl::IsDeadlineExceeded(packet.status())) return;
    if (!packet.ok()) return Leave();
    auto message = DecodeConsumerMessage(packet->bytes);
    if (!message.ok()) return Drop(std::string(message.status().message()));
    OnMessage(*message, find_arena);
  }
}

void Consumer::OnMessage(const ConsumerMessage& message, const FindArena& find_arena) {
  if (const auto* hello = std::get_if<ConsumerHello>(&message)) return OnHello(*hello, find_arena);
  if (arena_ == nullptr) return Drop("expected a hello first");
  if (const auto* embed = std::get_if<EmbedTexts>(&message)) return OnEmbed(*embed);
  if (const auto* back = std::get_if<ReturnLease>(&message)) {
    if (!book_->Return(back->lease)) spdlog::debug("consumer {}: gave back no lease of its own", number_);
    return;
  }
  if (std::holds_alternative<ArenaClosed>(message)) {
    closed_ = true;
    return;
  }
  Drop("a message that only a broker sends");
}

void Consumer::OnHello(const ConsumerHello& hello, const FindArena& find_arena) {
  if (arena_ != nullptr) return Drop("a second hello");
  if (hello.protocol != kConsumerProtocol) {
    return Refuse("speaks consumer protocol " + std::to_string(hello.protocol) + ", expected " +
                  std::to_string(kConsumerProtocol));
  }
  const std::string& device = around_.device.device()->uuid();
  if (hello.device != device) return Refuse("uses device " + hello.device + ", expected " + device);
  arena_ = find_arena(*this);
  if (arena_ == nullptr) {
    around_.router.RingReplicas();  // for what was submitted before: this may take its time
    auto made = around_.device.MakeArena(around_.arena_bytes);
    if (!made.ok()) return Refuse("no arena for leases: " + std::string(made.status().message()));
    arena_ = *std::move(made);
  }
  book_.emplace(around_.arena_bytes);
  Send(ConsumerOffer{arena_->handle()});
  closed_ = unreachable_;  // it never had the handle
  spdlog::info("consumer {}: process {} takes embeddings on the device", number_, pid());
}

void Consumer::OnEmbed(const EmbedTexts& embed) {
  if (unreachable_) return;
  if (requests_.contains(embed.id)) return Drop("two requests with one id");
  const absl::Status submitted = Submit(embed);
  for (RequestCounts* counts : {&counts_, &around_.counts}) {
    ++(submitted.ok() ? counts->accepted : counts->refused);
  }
  if (!submitted.ok()) Send(NotEmbedded{embed.id, submitted});
}

absl::Status Consumer::Submit(const EmbedTexts& embed) {
  if (around_.draining) return absl::UnavailableError("The server is shutting down");
  if (around_.device.lost()) return absl::UnavailableError("the device is lost: " + around_.device.reason());
  const EngineInfo* model = around_.router.model();
  if (model == nullptr) return StatusOf(NoneHasStarted());
  auto request = std::make_shared<ConsumerRequest>(number_, embed.id, embed.texts);
  if (absl::Status checked = request->Check(around_.router.max_prompt_bytes()); !checked.ok()) return checked;
  const uint64_t bytes = request->rows() * RowBytes(model->dim);
  const auto offset = book_->Reserve(bytes);
  if (!offset) {
    return absl::ResourceExhaustedError(
        "no room for " + std::to_string(bytes) + " bytes of rows: " + std::to_string(book_->held()) +
        " leases and " + std::to_string(requests_.size()) + " requests fill the arena of " +
        std::to_string(around_.arena_bytes) + " bytes; give leases back, or ask for fewer texts at once");
  }
  requests_.emplace(embed.id, request);
  request->Submit({arena_, *offset, bytes}, DeadlineFor(embed.timeout_ns), around_.router, around_.copies,
                  around_.mailbox);
  return absl::OkStatus();
}

void Consumer::OnEnd(const RequestEnd& end) {
  const auto found = requests_.extract(end.id);
  if (found.empty()) return;  // told already
  const ConsumerRequest& request = *found.mapped();
  if (end.status.ok()) {
    const uint64_t lease = book_->Lease(request.offset());
    Send(RowsLeased{end.id, lease, request.offset(), request.rows(), end.dim});
  } else {
    book_->Free(request.offset());
    Send(NotEmbedded{end.id, request.overdue
                                 ? absl::DeadlineExceededError("no embeddings within the time that was given")
                                 : end.status});
  }
}

Clock::time_point Consumer::EndOverdue(Clock::time_point now) {
  if (!left() && arena_ == nullptr) {
    if (now < connected_at_ + kHelloTimeout) return connected_at_ + kHelloTimeout;
    Drop("did not say hello");
  }
  Clock::time_point next = Clock::time_point::max();
  for (const auto& [id, request] : requests_) {
    if (request->overdue) continue;
    if (request->deadline() > now) {
      next = std::min(next, request->deadline());
    } else {
      request->overdue = true;
      request->Cancel(around_.router);
    }
  }
  return next;
}

// Their room stays taken: a device that is lost may still write there.
void Consumer::OnDeviceLost() {
  const absl::Status why = absl::UnavailableError("the device is lost: " + around_.device.reason());
  for (auto& [id, request] : std::exchange(requests_, {})) {
    request->Cancel(around_.router);
    Send(NotEmbedded{id, why});
  }
}

void Consumer::Send(const ConsumerMessage& message) {
  if (unreachable_) return;
  unsent_.push_back(EncodeConsumerMessage(message));
  SendUnsent();
}

void Consumer::SendUnsent() {
  while (!unsent_.empty()) {
    const absl::Status sent = socket_.Send(unsent_.front(), {}, Waiting::kNever);
    if (absl::IsResourceExhausted(sent)) {
      if (unsent_.size() > kMostUnsent) Drop("does not read its answers");
      return;
    }
    if (!sent.ok()) return StopAnswering();
    unsent_.pop_front();
  }
}

void Consumer::Refuse(const std::string& why) {
  Send(ConsumerRefused{why});
  Drop(why);
}

void Consumer::Drop(const std::string& why) {
  if (left()) return;
  ++around_.let_go;
  spdlog::warn("consumer {}: process {} is let go: {}", number_, pid(), why);
  Leave();
}

void Consumer::BeginLeaving() {
  if (!left()) socket_.ShutdownWrites();
}

// What is under way still comes, into an arena that stays.
void Consumer::StopAnswering() {
  unreachable_ = true;
  unsent_.clear();
  for (auto& [id, request] : std::exchange(requests_, {})) request->Cancel(around_.router);
}

// What it had leased is nobody's.
void Consumer::Leave() {
  StopAnswering();
  socket_.Close();
}

ConsumerArena Consumer::TakeArena() {
  if (!left() || !closed_ || arena_.use_count() != 1) return nullptr;
  return std::exchange(arena_, nullptr);
}

}  // namespace zerohop
