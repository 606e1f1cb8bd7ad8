#pragma once

// CorkedSocket: while it lives, what is written to a TCP socket is gathered, and goes out in as few packets
// as it fits in. One that is no more, or is of another kind, is left as it is. The kernel itself sends what
// was held for 200 ms.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace zerohop {

class CorkedSocket {
 public:
  explicit CorkedSocket(int socket) : socket_(socket) { Cork(1); }
  CorkedSocket(const CorkedSocket&) = delete;
  CorkedSocket& operator=(const CorkedSocket&) = delete;
  ~CorkedSocket() { Cork(0); }

 private:
  void Cork(int on) const { (void)::setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

  const int socket_;
};

}  // namespace zerohop
