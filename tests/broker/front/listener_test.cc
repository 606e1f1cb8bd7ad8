// The port that clients connect to: addresses, refusals, and hosts that are out of descriptors.

#include "broker/front/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

#include "absl/base/config.h"

namespace zerohop {
namespace {

using testing::HasSubstr;

// So that what never comes is a failure and not a hang.
constexpr int kPatienceMs = 100'000;
constexpr std::chrono::milliseconds kPatience(kPatienceMs);

// Whether `port` of an address of this host takes the client.
bool ConnectTo(const char* address, int port, const UniqueFd& client) {
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, address, &four.sin_addr) == 1) {
    return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&four), sizeof four) == 0;
  }
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET6, address, &six.sin6_addr);
  return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&six), sizeof six) == 0;
}

// Nothing where nobody listens.
UniqueFd Connect(const std::string& address, int port) {
  UniqueFd client(
      ::socket(address.find(':') == address.npos ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ConnectTo(address.c_str(), port, client) ? std::move(client) : UniqueFd();
}

bool HasIpv6() {
  UniqueFd probe(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = IN6ADDR_LOOPBACK_INIT;
  return probe && ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&loopback), sizeof loopback) == 0;
}

int Option(int socket, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  ::getsockopt(socket, level, option, &value, &length);
  return value;
}

// A listener whose first connection is kept.
class Door {
 public:
  explicit Door(const std::string& host = "127.0.0.1", int port = 0) : listener_(Listener::Open(host, port)) {
    if (!listener_.ok()) return;
    (*listener_)->Start([this](int socket) { first_.set_value(socket); });
  }
  const absl::Status& status() const { return listener_.status(); }
  int port() const { return (*listener_)->port(); }
  // The socket of whoever came first.
  UniqueFd First() {
    auto came = first_.get_future();
    return came.wait_for(kPatience) == std::future_status::ready ? UniqueFd(came.get()) : UniqueFd();
  }

 private:
  std::promise<int> first_;
  absl::StatusOr<std::unique_ptr<Listener>> listener_;
};

TEST(Listener, HandsOverWhoConnects) {
  Door door;
  ASSERT_TRUE(door.status().ok()) << door.status();
  EXPECT_GT(door.port(), 0);
  const UniqueFd client = Connect("127.0.0.1", door.port());
  const UniqueFd server = door.First();
  ASSERT_TRUE(server);
  ASSERT_EQ(::send(client.get(), "hello", 5, 0), 5);
  char bytes[5];
  pollfd readable{server.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&readable, 1, kPatienceMs), 1);
  EXPECT_EQ(::recv(server.get(), bytes, sizeof bytes, 0), 5);
}

TEST(Listener, ConnectionsSendAtOnceAndDoNotBlock) {
  Door door;
  const UniqueFd client = Connect("127.0.0.1", door.port());
  const UniqueFd server = door.First();
  EXPECT_EQ(Option(server.get(), IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(Option(server.get(), IPPROTO_TCP, TCP_USER_TIMEOUT), 20'000);
  EXPECT_TRUE(::fcntl(server.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(server.get(), F_GETFD) & FD_CLOEXEC);
}

TEST(Listener, AnyAddressOfIpv4ComesByIpv6Too) {
  if (!HasIpv6()) GTEST_SKIP() << "no IPv6 here";
  for (const char* address : {"127.0.0.1", "::1"}) {
    Door door("0.0.0.0");
    ASSERT_TRUE(door.status().ok()) << door.status();
    EXPECT_TRUE(Connect(address, door.port())) << address;
    EXPECT_TRUE(door.First()) << address;
  }
}

TEST(Listener, OneAddressIsNotAnother) {
  if (!HasIpv6()) GTEST_SKIP() << "no IPv6 here";
  for (const char* host : {"::1", "[::1]"}) {
    Door door(host);
    ASSERT_TRUE(door.status().ok()) << door.status();
    EXPECT_TRUE(Connect("::1", door.port())) << host;
    EXPECT_FALSE(Connect("127.0.0.1", door.port())) << host;
  }
}

TEST(Listener, NameMeansAllOfItsAddresses) {
  Door door("localhost");
  ASSERT_TRUE(door.status().ok()) << door.status();
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  ASSERT_EQ(::getaddrinfo("localhost", nullptr, &wanted, &found), 0);
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    char address[INET6_ADDRSTRLEN];
    ASSERT_EQ(::getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof address, nullptr, 0, NI_NUMERICHOST),
              0);
    EXPECT_TRUE(Connect(address, door.port())) << address;
  }
  ::freeaddrinfo(found);
}

TEST(Listener, PortInUseIsRefused) {
  Door door;
  Door second("127.0.0.1", door.port());
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(
      std::string(second.status().message()),
      HasSubstr("cannot listen on 127.0.0.1:" + std::to_string(door.port()) + ": the port is in use"));
}

TEST(Listener, WhatIsNotOfThisHostIsRefused) {
  for (const char* host : {"192.0.2.1", ""}) {
    Door door(host);
    EXPECT_TRUE(absl::IsUnavailable(door.status())) << host;
  }
}

TEST(Listener, NobodyConnectsOnceItIsGone) {
  auto door = std::make_unique<Door>();
  const int port = door->port();
  door.reset();
  EXPECT_FALSE(Connect("127.0.0.1", port));
}

// Hears what is logged, and takes the log's place meanwhile.
class LogListener final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  static std::shared_ptr<LogListener> Begin() {
    auto listener = std::make_shared<LogListener>();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", listener));
    return listener;
  }
  // Nothing where nothing was said.
  std::string WaitForFirst() {
    auto heard = first_.get_future();
    return heard.wait_for(kPatience) == std::future_status::ready ? heard.get() : "";
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (!std::exchange(heard_, true)) first_.set_value({message.payload.data(), message.payload.size()});
  }
  void flush_() override {}

  std::promise<std::string> first_;
  bool heard_ = false;  // under the sink's lock
};

TEST(Listener, WithoutDescriptorsConnectionsWaitAndThatIsSaid) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  GTEST_SKIP() << "the sanitizers take a descriptor themselves to look at memory";
#endif
  const auto log = spdlog::default_logger();
  const auto heard = LogListener::Begin();
  Door door;
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};  // what stdin, stdout and stderr have
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(ConnectTo("127.0.0.1", door.port(), client));
  const std::string said = heard->WaitForFirst();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(said, HasSubstr("new connections wait: Too many open files"));
  EXPECT_TRUE(door.First());
  spdlog::set_default_logger(log);
}

}  // namespace
}  // namespace zerohop
