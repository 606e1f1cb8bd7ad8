// On which socket a call came, as gRPC itself names it.

#include "broker/front/peer_socket.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <memory>

namespace zerohop {
namespace {

// A server that was given `sockets`, and what it takes each call's socket for.
class PeerSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.RegisterAsyncGenericService(&service_);
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
    void* tag;
    bool ok;
    while (queue_->Next(&tag, &ok)) continue;
  }

  // The socket that a call over `channel` came on.
  int SocketOfCallOver(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::GenericServerContext served;
    grpc::GenericServerAsyncReaderWriter stream(&served);
    service_.RequestCall(&served, &stream, queue_.get(), queue_.get(), &served);
    grpc::ClientContext context;
    const auto call = grpc::GenericStub(channel).PrepareCall(&context, "/any/method", &client_queue_);
    call->StartCall(nullptr);
    void* tag;
    bool ok;
    EXPECT_TRUE(queue_->Next(&tag, &ok) && ok);
    const int socket = PeerSocket(served);
    stream.Finish(grpc::Status::OK, &stream);
    EXPECT_TRUE(queue_->Next(&tag, &ok));
    EXPECT_TRUE(client_queue_.Next(&tag, &ok));  // started
    return socket;
  }

  grpc::AsyncGenericService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  grpc::CompletionQueue client_queue_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(PeerSocketTest, IsTheOneThatTheServerWasGiven) {
  for (int connection = 0; connection < 2; ++connection) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    grpc::AddInsecureChannelFromFd(server_.get(), ends[0]);
    const auto channel = grpc::CreateInsecureChannelFromFd("server", ends[1]);
    EXPECT_EQ(SocketOfCallOver(channel), ends[0]);
  }
}

TEST_F(PeerSocketTest, IsUnknownWithoutOne) {
  EXPECT_EQ(SocketOfCallOver(server_->InProcessChannel({})), -1);
}

}  // namespace
}  // namespace zerohop
