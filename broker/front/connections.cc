#include "broker/front/connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

namespace zerohop {
namespace {

// As gRPC writes it, or nothing.
std::string PeerOf(int socket) {
  sockaddr_in6 peer{};
  socklen_t length = sizeof peer;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return "";
  const std::string port = ":" + std::to_string(ntohs(peer.sin6_port));  // at the same place in both families
  char address[INET6_ADDRSTRLEN] = "";
  if (peer.sin6_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(peer).sin_addr, address, sizeof address);
    return "ipv4:" + (address + port);
  }
  if (peer.sin6_family != AF_INET6) return "";
  if (IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr)) {
    ::inet_ntop(AF_INET, &peer.sin6_addr.s6_addr[12], address, sizeof address);
    return "ipv4:" + (address + port);
  }
  ::inet_ntop(AF_INET6, &peer.sin6_addr, address, sizeof address);
  return std::string("ipv6:%5B") + address + "%5D" + port;
}

}  // namespace

void Connections::Add(int socket) {
  std::string peer = PeerOf(socket);
  const auto number = static_cast<size_t>(socket);
  std::lock_guard lock(mutex_);
  if (peers_.size() <= number) peers_.resize(number + 1);
  // Its peer may have come again since, by another socket.
  const auto before = sockets_.find(peers_[number]);
  if (before != sockets_.end() && before->second == socket) sockets_.erase(before);
  sockets_.insert_or_assign(peer, socket);
  peers_[number] = std::move(peer);
}

int Connections::Find(std::string_view peer) const {
  std::lock_guard lock(mutex_);
  const auto found = sockets_.find(peer);
  return found == sockets_.end() ? -1 : found->second;
}

}  // namespace zerohop
