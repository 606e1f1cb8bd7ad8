#pragma once

// Consumer: one process that takes embeddings on the device, as the desk holds
// it: its socket and pidfd, the arena that was made for it, and what it holds
// there. Belongs to the desk's thread.
//
//   greeting --hello, arena--> served --hangs up, or breaks the rules--> left --its exit--> gone
//
// The arena is this process's until its exit was seen: to free what it may still
// have open would be undefined. Where it has said that it let go of it, and comes
// again, it finds the same arena. So one that hung up is heard to the end of what
// it said, though an answer could not be sent before; nothing more is done for it.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "broker/consumers/consumer_request.h"
#include "broker/consumers/consumer_status.h"
#include "broker/consumers/lease_book.h"
#include "shm/consumer/consumer_message.h"
#include "shm/packet_socket.h"

namespace zerohop {

// What all consumers of a broker have in common. Outlives them.
struct ConsumerSurroundings {
  Router& router;
  CopyEngine& copies;
  DeviceReturn& device;
  uint64_t arena_bytes;
  std::shared_ptr<Mailbox> mailbox;
  // The desk's thread:
  bool draining = false;  // nothing more is accepted
  RequestCounts counts{};
  uint64_t let_go = 0;
};

using ConsumerArena = std::shared_ptr<const DeviceArena>;

class Consumer {
 public:
  // Gives the arena of an earlier connection of this process, where it has one; else null.
  using FindArena = std::function<ConsumerArena(const Consumer&)>;

  Consumer(uint64_t number, PacketSocket socket, PeerProcess process, ConsumerSurroundings& around,
           std::chrono::steady_clock::time_point now)
      : number_(number),
        socket_(std::move(socket)),
        process_(std::move(process)),
        connected_at_(now),
        around_(around) {}
  ~Consumer() { Leave(); }

  uint64_t number() const { return number_; }
  pid_t pid() const { return process_.pid; }
  int pidfd() const { return process_.pidfd.get(); }
  bool IsGone() const { return process_.IsGone(); }
  // -1 once it has left.
  int socket_fd() const { return socket_.fd(); }
  bool left() const { return socket_.fd() < 0; }
  // That are not told yet.
  bool HasRequests() const { return !requests_.empty() || !unsent_.empty(); }
  bool WantsToWrite() const { return !unsent_.empty(); }
  bool HasArena() const { return arena_ != nullptr; }
  // One of so many that the desk has.
  bool TakesAPlace() const { return !left() || MayHaveArenaOpen(); }
  // Whether its process may have memory of ours open.
  bool MayHaveArenaOpen() const { return arena_ != nullptr && !closed_; }

  ConsumerStatus Status() const;

  // Reads what it has sent, and answers.
  void Hear(const FindArena& find_arena);
  // Sends what its socket did not take before.
  void SendUnsent();
  void OnEnd(const RequestEnd& end);
  // Ends requests whose time is over, and a connection on which nothing is said; when the next is due, or
  // max().
  std::chrono::steady_clock::time_point EndOverdue(std::chrono::steady_clock::time_point now);
  // The device is lost: what it waits for will not come.
  void OnDeviceLost();
  // Says that nothing more will come; it may still let go of the arena, and say so.
  void BeginLeaving();
  // Once it has let go of it and left, and nothing is gathered into it any more; else null.
  ConsumerArena TakeArena();

 private:
  void OnMessage(const ConsumerMessage& message, const FindArena& find_arena);
  void OnHello(const ConsumerHello& hello, const FindArena& find_arena);
  void OnEmbed(const EmbedTexts& embed);
  absl::Status Submit(const EmbedTexts& embed);
  void Send(const ConsumerMessage& message);
  void Refuse(const std::string& why);
  void Drop(const std::string& why);
  void StopAnswering();
  void Leave();

  const uint64_t number_;
  PacketSocket socket_;
  const PeerProcess process_;
  const std::chrono::steady_clock::time_point connected_at_;
  ConsumerSurroundings& around_;
  ConsumerArena arena_;
  std::optional<LeaseBook> book_;
  std::map<uint64_t, std::shared_ptr<ConsumerRequest>> requests_;  // by id: not told yet
  std::deque<std::string> unsent_;
  RequestCounts counts_;
  bool unreachable_ = false;  // no answer can be sent to it any more
  bool closed_ = false;       // it says that it has let go of the arena
};

}  // namespace zerohop
