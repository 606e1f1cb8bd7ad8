#include "broker/front/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace zerohop {
namespace {

// A client that is gone without a word, while an answer is under way to it.
constexpr unsigned kUnacknowledgedMs = 20'000;
// Without descriptors or memory, connections wait until there are some.
constexpr int kBetweenTriesMs = 100;
// Before other doors get their turn.
constexpr int kMostAtOnce = 64;

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// Null where the name has none.
Addresses Resolve(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  return Addresses(::getaddrinfo(host.c_str(), nullptr, &wanted, &found) == 0 ? found : nullptr);
}

std::string WithoutBrackets(const std::string& host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2)
                                                                      : host;
}

bool IsAnyAddress(const sockaddr& address) {
  return address.sa_family == AF_INET &&
         reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr == INADDR_ANY;
}

void SetOption(int socket, int level, int option, int value) {
  (void)::setsockopt(socket, level, option, &value, sizeof value);
}

// What is accepted inherits the options.
UniqueFd Bind(const sockaddr& address, socklen_t length, int port) {
  UniqueFd door(::socket(address.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!door) return door;
  SetOption(door.get(), SOL_SOCKET, SO_REUSEADDR, 1);  // the port of a server that has just ended
  SetOption(door.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(door.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, kUnacknowledgedMs);
  if (address.sa_family == AF_INET6) SetOption(door.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  sockaddr_storage at{};
  std::memcpy(&at, &address, length);
  // At the same place in both families.
  reinterpret_cast<sockaddr_in&>(at).sin_port = htons(static_cast<uint16_t>(port));
  if (::bind(door.get(), reinterpret_cast<const sockaddr*>(&at), length) != 0) return UniqueFd();
  return ::listen(door.get(), SOMAXCONN) == 0 ? std::move(door) : UniqueFd();
}

// Any address of IPv4 is one of IPv6's where the host has that.
UniqueFd BindAny(const sockaddr& address, socklen_t length, int port) {
  if (!IsAnyAddress(address)) return Bind(address, length, port);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  UniqueFd door = Bind(reinterpret_cast<const sockaddr&>(any), sizeof any, port);
  return door ? std::move(door) : Bind(address, length, port);
}

int PortOf(const UniqueFd& door) {
  sockaddr_storage at{};
  socklen_t length = sizeof at;
  if (::getsockname(door.get(), reinterpret_cast<sockaddr*>(&at), &length) != 0) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in&>(at).sin_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const std::string& host, int port) {
  std::unique_ptr<Listener> listener(new Listener);
  listener->port_ = port;
  const Addresses addresses = Resolve(WithoutBrackets(host));
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    UniqueFd door = BindAny(*a->ai_addr, a->ai_addrlen, listener->port_);
    if (!door) continue;
    listener->port_ = PortOf(door);
    listener->doors_.push_back(std::move(door));
  }
  listener->stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (listener->doors_.empty() || !listener->stop_) {
    return absl::UnavailableError("cannot listen on " + host + ":" + std::to_string(port) +
                                  ": the port is in use, or the address is not one of this host");
  }
  return listener;
}

Listener::~Listener() {
  if (!thread_.joinable()) return;
  (void)::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void Listener::Start(OnConnection on_connection) {
  on_connection_ = std::move(on_connection);
  thread_ = std::thread([this] { Run(); });
}

void Listener::Run() {
  std::vector<pollfd> watched{{stop_.get(), POLLIN, 0}};
  for (const UniqueFd& door : doors_) watched.push_back({door.get(), POLLIN, 0});
  bool must_wait = false;  // said once, not at each try
  for (;;) {
    const int ready = ::poll(watched.data(), watched.size(), -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready > 0 && watched[0].revents != 0) return;
    bool accepted = ready > 0;
    for (size_t i = 1; i < watched.size() && accepted; ++i) {
      accepted = watched[i].revents == 0 || AcceptAll(watched[i].fd);
    }
    if (!std::exchange(must_wait, !accepted) && !accepted) {
      spdlog::warn("new connections wait: {}", std::strerror(errno));
    }
    if (!accepted) (void)::poll(watched.data(), 1, kBetweenTriesMs);
  }
}

// False where a connection waits that cannot be accepted now.
bool Listener::AcceptAll(int door) const {
  for (int i = 0; i < kMostAtOnce; ++i) {
    const int socket = ::accept4(door, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      on_connection_(socket);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      return false;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return true;  // none waits, or this one's network has failed
    }
  }
  return true;
}

}  // namespace zerohop
