// Which socket a call came by, through gRPC itself: what it calls a peer, and what we do.

#include "broker/front/connections.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <future>
#include <memory>
#include <string>

#include "broker/front/listener.h"

namespace zerohop {
namespace {

// A server behind a listener on `host`, as the front makes it.
class Server {
 public:
  explicit Server(const std::string& host) {
    grpc::ServerBuilder builder;
    builder.RegisterAsyncGenericService(&service_);
    acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
        grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
        grpc::InsecureServerCredentials());
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    auto listener = Listener::Open(host, 0);
    if (!listener.ok()) return;
    listener_ = *std::move(listener);
    listener_->Start([this](int socket) {
      connections_.Add(socket);
      accepted_.set_value(socket);
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.fd = socket;
      acceptor_->HandleNewConnection(&connection);
    });
  }
  ~Server() {
    listener_.reset();
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
    void* tag;
    bool ok;
    while (queue_->Next(&tag, &ok)) continue;
  }

  bool listens() const { return listener_ != nullptr; }
  std::string AddressAt(const std::string& host) const {
    return host + ":" + std::to_string(listener_->port());
  }
  // Of the one connection.
  int AcceptedSocket() { return accepted_.get_future().get(); }

  // The socket that a call to `address` is found to have come by.
  int SocketOfCallTo(const std::string& address) {
    grpc::GenericServerContext served;
    grpc::GenericServerAsyncReaderWriter stream(&served);
    service_.RequestCall(&served, &stream, queue_.get(), queue_.get(), &served);
    const auto client = std::async(std::launch::async, [&] { Call(address); });
    void* tag;
    bool ok;
    EXPECT_TRUE(queue_->Next(&tag, &ok) && ok);
    const int socket = connections_.Find(served.peer());
    stream.Finish(grpc::Status::OK, &stream);
    EXPECT_TRUE(queue_->Next(&tag, &ok));
    return socket;
  }

 private:
  static void Call(const std::string& address) {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    const auto call = stub.PrepareCall(&context, "/any/method", &queue);
    call->StartCall(nullptr);
    void* tag;
    bool ok;
    EXPECT_TRUE(queue.Next(&tag, &ok) && ok);  // sent
    grpc::Status status;
    call->Finish(&status, nullptr);
    EXPECT_TRUE(queue.Next(&tag, &ok) && ok);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  Connections connections_;
  std::promise<int> accepted_;
  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Listener> listener_;
};

TEST(Connections, CallOverIpv4IsFound) {
  for (const char* host : {"127.0.0.1", "0.0.0.0"}) {  // the second listens by IPv6, too, where there is any
    Server server(host);
    ASSERT_TRUE(server.listens());
    const int socket = server.SocketOfCallTo(server.AddressAt("127.0.0.1"));
    EXPECT_EQ(socket, server.AcceptedSocket()) << host;
  }
}

TEST(Connections, CallOverIpv6IsFound) {
  Server server("::1");
  if (!server.listens()) GTEST_SKIP() << "no IPv6 here";
  const int socket = server.SocketOfCallTo(server.AddressAt("[::1]"));
  EXPECT_EQ(socket, server.AcceptedSocket());
}

// Two ends of a connection over loopback; the first is ours.
class Pair {
 public:
  Pair() {
    UniqueFd door(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(door.get(), address, length), 0);
    EXPECT_EQ(::listen(door.get(), 1), 0);
    EXPECT_EQ(::getsockname(door.get(), address, &length), 0);
    EXPECT_EQ(::connect(client_.get(), address, length), 0);
    ours_ = UniqueFd(::accept4(door.get(), address, &length, SOCK_CLOEXEC));
    peer_ = "ipv4:127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  }
  int socket() const { return ours_.get(); }
  const std::string& peer() const { return peer_; }

 private:
  UniqueFd client_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  UniqueFd ours_;
  std::string peer_;
};

TEST(Connections, WhoIsNotConnectedIsNotFound) {
  Connections connections;
  EXPECT_EQ(connections.Find("ipv4:127.0.0.1:1"), -1);
  EXPECT_EQ(connections.Find(""), -1);
}

TEST(Connections, NumberOfOneThatEndedIsTheNextOnes) {
  Connections connections;
  auto first = std::make_unique<Pair>();
  const int number = first->socket();
  const std::string gone = first->peer();
  connections.Add(number);
  EXPECT_EQ(connections.Find(gone), number);
  first.reset();
  Pair second;
  ASSERT_EQ(::dup2(second.socket(), number), number);
  connections.Add(number);
  EXPECT_EQ(connections.Find(second.peer()), number);
  EXPECT_EQ(connections.Find(gone), -1);
  ::close(number);
}

TEST(Connections, PeerThatCameAgainKeepsItsNewSocket) {
  Connections connections;
  Pair peer;
  Pair other;
  const int before = ::dup(peer.socket());
  connections.Add(before);
  connections.Add(peer.socket());  // the same peer by another socket
  ASSERT_EQ(::dup2(other.socket(), before), before);
  connections.Add(before);
  EXPECT_EQ(connections.Find(peer.peer()), peer.socket());
  EXPECT_EQ(connections.Find(other.peer()), before);
  ::close(before);
}

}  // namespace
}  // namespace zerohop
