#include "shm/consumer/gpu_consumer.h"

#include <poll.h>

#include <cerrno>
#include <utility>

#include "shm/poll_timeout.h"
#include "shm/row.h"
#include "shm/utf8.h"

namespace zerohop {
namespace {

using Clock = std::chrono::steady_clock;

// max(): never.
Clock::time_point In(std::optional<std::chrono::nanoseconds> timeout) {
  const auto now = Clock::now();
  return timeout && *timeout < Clock::time_point::max() - now ? now + *timeout : Clock::time_point::max();
}

// Until the socket may be read from, or written to. False where the deadline comes first.
bool Await(const PacketSocket& socket, short what, Clock::time_point deadline) {
  pollfd entry{socket.fd(), what, 0};
  for (;;) {
    const int ready = ::poll(&entry, 1, PollTimeout(deadline));
    if (ready == 0) return false;
    if (ready > 0 || errno != EINTR) return true;  // what is wrong the call that follows says
  }
}

absl::StatusOr<ConsumerMessage> Hear(const PacketSocket& socket) {
  auto packet = socket.Receive(kMaxConsumerMessageBytes, Waiting::kUntilDone);
  if (!packet.ok())
    return absl::UnavailableError("the server is gone: " + std::string(packet.status().message()));
  auto message = DecodeConsumerMessage(packet->bytes);
  if (!message.ok())
    return absl::InternalError("the server broke the rules: " + std::string(message.status().message()));
  return message;
}

absl::Status Say(const PacketSocket& socket, const ConsumerMessage& message) {
  return socket.Send(EncodeConsumerMessage(message), {}, Waiting::kUntilDone);
}

// Lost where the server does not read; then it finds out at our exit.
void SayArenaClosed(const PacketSocket& socket) {
  (void)socket.Send(EncodeConsumerMessage(ArenaClosed{}), {}, Waiting::kNever);
}

absl::Status SendBefore(const PacketSocket& socket, std::string_view bytes, Clock::time_point deadline) {
  for (;;) {
    absl::Status sent = socket.Send(bytes, {}, Waiting::kNever);
    if (sent.ok()) return sent;
    if (!absl::IsResourceExhausted(sent))
      return absl::UnavailableError("the server is gone: " + std::string(sent.message()));
    if (!Await(socket, POLLOUT, deadline))
      return absl::DeadlineExceededError("the server does not read its requests");
  }
}

absl::StatusOr<ArenaHandle> Introduce(const PacketSocket& socket, const CudaDevice& device,
                                      Clock::time_point deadline) {
  if (absl::Status said = Say(socket, ConsumerHello{kConsumerProtocol, device.uuid()}); !said.ok())
    return said;
  if (!Await(socket, POLLIN, deadline))
    return absl::DeadlineExceededError("the server has not offered an arena in time");
  auto heard = Hear(socket);
  if (!heard.ok()) return heard.status();
  if (const auto* refused = std::get_if<ConsumerRefused>(&*heard)) {
    return absl::FailedPreconditionError(refused->reason);
  }
  if (const auto* offer = std::get_if<ConsumerOffer>(&*heard)) return offer->arena;
  return absl::InternalError("what listens there is no server for consumers: expected an offer");
}

// Floats that are all in the arena.
bool LiesInside(const RowsLeased& rows, uint64_t arena_bytes) {
  return rows.offset <= arena_bytes && rows.offset % sizeof(float) == 0 &&
         rows.rows <= (arena_bytes - rows.offset) / RowBytes(rows.dim);
}

absl::Status CheckTexts(std::span<const std::string> texts) {
  if (texts.empty()) return absl::InvalidArgumentError("no text: expected at least one");
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!IsUtf8(texts[i])) return absl::InvalidArgumentError("text " + std::to_string(i) + " is not UTF-8");
  }
  return absl::OkStatus();
}

}  // namespace

RowLease::~RowLease() {
  if (consumer_) consumer_->GiveBack(rows_);
}

cuda::CUdeviceptr RowLease::address() const {
  return consumer_->arena_->at(rows_.offset);
}

const CudaDevice& RowLease::device() const {
  return *consumer_->device_;
}

absl::StatusOr<std::shared_ptr<GpuConsumer>> GpuConsumer::Connect(
    const std::string& path, const std::string& device_choice,
    std::optional<std::chrono::nanoseconds> timeout) {
  auto device = CudaDevice::Open(device_choice);
  if (!device.ok()) return device.status();
  auto socket = PacketSocket::Connect(path);
  if (!socket.ok()) return socket.status();
  auto handle = Introduce(*socket, **device, In(timeout));
  auto arena = handle.ok() ? ImportedArena::Open(*device, *handle) : handle.status();
  if (!arena.ok()) {
    // The server may have made the arena, or make it yet; the next attempt gets the same one.
    SayArenaClosed(*socket);
    return arena.status();
  }
  // Not make_shared: only we may make one.
  return std::shared_ptr<GpuConsumer>(
      new GpuConsumer(*std::move(socket), *std::move(device), *std::move(arena), handle->bytes));
}

GpuConsumer::GpuConsumer(PacketSocket socket, std::shared_ptr<const CudaDevice> device, ImportedArena arena,
                         uint64_t arena_bytes)
    : socket_(std::move(socket)),
      device_(std::move(device)),
      arena_(std::move(arena)),
      arena_bytes_(arena_bytes),
      listener_([this] { HearAnswers(); }) {}

GpuConsumer::~GpuConsumer() {
  {
    std::lock_guard lock(mutex_);
    CloseArena();  // no lease is held: each keeps us
  }
  socket_.Shutdown();
  listener_.join();
}

absl::StatusOr<RowLease> GpuConsumer::Embed(std::span<const std::string> texts,
                                            std::optional<std::chrono::nanoseconds> timeout) {
  if (absl::Status checked = CheckTexts(texts); !checked.ok()) return checked;
  if (timeout && timeout->count() <= 0) return absl::DeadlineExceededError("no time is left");
  const Clock::time_point deadline = In(timeout);
  EmbedTexts embed{0, {texts.begin(), texts.end()}, timeout ? timeout->count() : 0};
  std::future<Outcome> outcome;
  {
    std::lock_guard lock(mutex_);
    if (gone_) return *gone_;
    embed.id = next_id_++;
    outcome = waiting_[embed.id].get_future();
  }
  const std::string bytes = EncodeConsumerMessage(embed);
  if (bytes.size() > kMaxConsumerMessageBytes) {
    Settle(embed.id, absl::InvalidArgumentError(
                         "a request of " + std::to_string(bytes.size()) + " bytes: expected at most " +
                         std::to_string(kMaxConsumerMessageBytes) + "; send its texts in parts"));
  } else if (absl::Status sent = SendBefore(socket_, bytes, deadline); !sent.ok()) {
    Settle(embed.id, std::move(sent));
  }
  if (deadline != Clock::time_point::max() && outcome.wait_until(deadline) == std::future_status::timeout)
    Settle(embed.id, absl::DeadlineExceededError("the server has not answered in time"));
  Outcome leased = outcome.get();
  if (!leased.ok()) return leased.status();
  RowLease lease(shared_from_this(), *leased);
  if (lease.rows() != texts.size()) {
    return absl::InternalError(std::to_string(lease.rows()) + " rows for " + std::to_string(texts.size()) +
                               " texts");
  }
  return lease;
}

void GpuConsumer::HearAnswers() {
  absl::Status gone;
  while (gone.ok()) {
    auto heard = Hear(socket_);
    if (!heard.ok()) {
      gone = heard.status();
    } else if (const auto* leased = std::get_if<RowsLeased>(&*heard)) {
      const bool inside = LiesInside(*leased, arena_bytes_);
      Settle(leased->id, inside ? Outcome(*leased) : absl::InternalError("rows outside of the arena"));
    } else if (auto* failed = std::get_if<NotEmbedded>(&*heard)) {
      Settle(failed->id, std::move(failed->why));
    } else {
      gone = absl::InternalError("the server sent a message that only a consumer sends");
    }
  }
  std::map<uint64_t, std::promise<Outcome>> waiting;
  {
    std::lock_guard lock(mutex_);
    gone_ = gone;
    waiting.swap(waiting_);
    if (leases_ == 0) CloseArena();
  }
  for (auto& [id, promise] : waiting) promise.set_value(gone);
}

// Whoever waits for it may have been told before: that the server is gone, or that its time is over.
void GpuConsumer::Settle(uint64_t id, Outcome outcome) {
  std::unique_lock lock(mutex_);
  auto found = waiting_.extract(id);
  if (!found.empty() && outcome.ok()) ++leases_;
  lock.unlock();
  if (!found.empty()) {
    found.mapped().set_value(std::move(outcome));
  } else if (outcome.ok()) {
    (void)Say(socket_, ReturnLease{outcome->lease});  // nobody has it
  }
}

void GpuConsumer::GiveBack(const RowsLeased& rows) {
  (void)Say(socket_, ReturnLease{rows.lease});  // a server that is gone has no use for it
  std::lock_guard lock(mutex_);
  if (--leases_ == 0 && gone_) CloseArena();
}

// Under the lock, once no lease is held and none will come. A server that ends waits a moment for this.
void GpuConsumer::CloseArena() {
  if (!arena_) return;
  arena_.reset();
  SayArenaClosed(socket_);
}

}  // namespace zerohop
