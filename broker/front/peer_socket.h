#pragma once

// PeerSocket: on which socket a call came.

#include <grpcpp/server_context.h>

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace zerohop {

// gRPC names the peers of sockets that it was given (listener.h) by their descriptors: "fd:12". -1: another
// name. While the call lives; its connection may be gone by then, and the number another's.
inline int PeerSocket(const grpc::ServerContext& context) {
  const std::string peer = context.peer();
  absl::string_view number = peer;
  int socket = -1;
  if (absl::ConsumePrefix(&number, "fd:")) (void)absl::SimpleAtoi(number, &socket);
  return socket;
}

}  // namespace zerohop
