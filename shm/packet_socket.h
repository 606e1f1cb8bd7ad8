#pragma once

// PacketSocket: one end of a unix socket that carries packets and, with them,
// descriptors (SCM_RIGHTS). What the packets mean is for those who own it: a
// replica's ControlChannel, a consumer's messages.
// Its end of file is, beside the pidfd, the only proof that the peer is gone.
// Not thread-safe, but Send and Receive may be called at the same time.

#include <sys/types.h>
#include <sys/un.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "shm/segment.h"

namespace zerohop {

// InvalidArgument where the path does not fit into an address.
absl::StatusOr<sockaddr_un> AddressOf(const std::string& path);

struct Packet {
  std::string bytes;
  std::vector<UniqueFd> fds;
};

// The process that connected, whatever number another one may have by now.
struct PeerProcess {
  pid_t pid = -1;
  UniqueFd pidfd;
  bool IsGone() const;
};

enum class Waiting { kNever, kUntilDone };

class PacketSocket {
 public:
  PacketSocket() = default;
  explicit PacketSocket(UniqueFd socket) : socket_(std::move(socket)) {}

  // Two connected ends, closed on exec.
  static absl::StatusOr<std::pair<PacketSocket, PacketSocket>> MakePair();
  // Our end of the socket that a broker listens on. Unavailable: no broker is
  // there now; another code: none can be reached there.
  static absl::StatusOr<PacketSocket> Connect(const std::string& path);

  // Unavailable: the peer is gone. ResourceExhausted, with kNever: it does not read.
  absl::Status Send(std::string_view bytes, const std::vector<int>& fds, Waiting waiting) const;
  // Unavailable: the peer has closed its end. DeadlineExceeded, with kNever: nothing to read. Of a longer
  // packet than `most_bytes` one byte more than that is given.
  absl::StatusOr<Packet> Receive(size_t most_bytes, Waiting waiting) const;

  // FailedPrecondition: it is in a pid namespace that we cannot see into. Unavailable: it is gone.
  absl::StatusOr<PeerProcess> Peer() const;

  int fd() const { return socket_.get(); }
  // Ends what either side waits for; the descriptor stays.
  void Shutdown() const;
  // Tells the peer that nothing more will come; it may still be heard.
  void ShutdownWrites() const;
  void Close() { socket_.Reset(); }

 private:
  UniqueFd socket_;
};

}  // namespace zerohop
