#pragma once

// Peer: another process that uses the driver as it is told: this very program,
// started anew by exec, since CUDA does not survive a fork. peer_role.h has the
// commands. A peer that has not ended is killed with its handle.

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "shm/cuda/cuda_api.h"
#include "shm/segment.h"

namespace zerohop::conformance {

// What tests allocate, here or in a peer.
inline constexpr size_t kMiB = 1 << 20;
inline constexpr size_t kArenaBytes = 2 * kMiB;

struct Answer {
  cuda::CUresult code = cuda::CUDA_ERROR_UNKNOWN;
  std::string value;
  bool died = false;  // instead of answering
};

class Peer {
 public:
  // `environment`: "NAME=value", in place of ours. `program` understands kPeerRole.
  explicit Peer(const std::vector<std::string>& environment = {},
                const std::string& program = "/proc/self/exe");
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  Answer Ask(const std::string& command);
  // Fails the test unless it succeeds; its value.
  std::string Do(const std::string& command);
  // The two halves of Ask, for a command that blocks.
  void Send(const std::string& command);
  Answer Receive();

  void Kill();
  // Asks it to exit, as a program does. How it ended, as from waitpid.
  int Exit();
  // Waits until it ends by itself.
  int Wait();

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  UniqueFd socket_;
  std::string received_;
};

}  // namespace zerohop::conformance
