// Health and reflection on completion queues of their own, asked by a client
// in the same process: what no server that runs can be brought to show.

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "broker/front/completion_event.h"
#include "broker/front/health_service.h"
#include "broker/front/reflection_service.h"

namespace zerohop {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptorProto;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1alpha::ServerReflection;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr char kContract[] = "the.Contract";

// extendable.proto: a message with room for extensions. extending.proto: two of them.
void AddFilesWithExtensions(DescriptorPool* pool) {
  FileDescriptorProto extendable;
  extendable.set_name("extendable.proto");
  extendable.set_package("test");
  auto* type = extendable.add_message_type();
  type->set_name("Extendable");
  auto* range = type->add_extension_range();
  range->set_start(100);
  range->set_end(200);
  ASSERT_NE(pool->BuildFile(extendable), nullptr);

  FileDescriptorProto extending;
  extending.set_name("extending.proto");
  extending.set_package("test");
  extending.add_dependency("extendable.proto");
  for (int number : {100, 150}) {
    auto* extension = extending.add_extension();
    extension->set_name("extension_" + std::to_string(number));
    extension->set_number(number);
    extension->set_label(google::protobuf::FieldDescriptorProto::LABEL_OPTIONAL);
    extension->set_type(google::protobuf::FieldDescriptorProto::TYPE_INT32);
    extension->set_extendee(".test.Extendable");
  }
  ASSERT_NE(pool->BuildFile(extending), nullptr);
}

// Both services behind a port, with two queues of one thread each.
class StandardServices : public testing::Test {
 protected:
  void SetUp() override {
    AddFilesWithExtensions(&pool_);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&health_.service());
    builder.RegisterService(&reflection_.service());
    for (int i = 0; i < 2; ++i) queues_.push_back(builder.AddCompletionQueue());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    for (const auto& queue : queues_) {
      health_.Listen(queue.get(), live_calls_);
      reflection_.Listen(queue.get(), live_calls_);
      threads_.emplace_back([&queue] {
        void* tag;
        bool ok;
        while (queue->Next(&tag, &ok)) static_cast<CompletionEvent*>(tag)->Proceed(ok);
      });
    }
    const auto channel =
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
    health_stub_ = Health::NewStub(channel);
    reflection_stub_ = ServerReflection::NewStub(channel);
  }
  void TearDown() override {
    health_.Leave();
    reflection_.Leave();
    server_->Shutdown();  // without a deadline: whatever does not end by itself would hold it up for ever
    live_calls_.WaitForNone();
    for (const auto& queue : queues_) queue->Shutdown();
    for (std::thread& thread : threads_) thread.join();
  }

  HealthCheckResponse::ServingStatus Check() {
    grpc::ClientContext context;
    HealthCheckResponse response;
    EXPECT_TRUE(health_stub_->Check(&context, {}, &response).ok());
    return response.status();
  }

  DescriptorPool pool_;
  HealthService health_{kContract};
  ReflectionService reflection_{{kContract}, pool_};
  LiveCalls live_calls_;
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
  std::unique_ptr<Health::Stub> health_stub_;
  std::unique_ptr<ServerReflection::Stub> reflection_stub_;
};

// One Watch, read to its end or given up.
class Watcher {
 public:
  explicit Watcher(Health::Stub& stub, const std::string& service = "") {
    HealthCheckRequest request;
    request.set_service(service);
    reader_ = stub.Watch(&context_, request);
  }
  // UNKNOWN: nothing more comes.
  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    return reader_->Read(&response) ? response.status() : HealthCheckResponse::UNKNOWN;
  }
  std::vector<HealthCheckResponse::ServingStatus> All() {
    std::vector<HealthCheckResponse::ServingStatus> all;
    for (HealthCheckResponse response; reader_->Read(&response);) all.push_back(response.status());
    return all;
  }
  grpc::Status Finish() { return reader_->Finish(); }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
};

TEST_F(StandardServices, HealthIsNotServingUntilItIsSet) {
  EXPECT_EQ(Check(), HealthCheckResponse::NOT_SERVING);
  health_.Set(true);
  EXPECT_EQ(Check(), HealthCheckResponse::SERVING);
}

TEST_F(StandardServices, AReplicaThatStartsAfterTheServerLeftDoesNotMakeItHealthy) {
  health_.Set(true);
  health_.Leave();
  health_.Set(true);
  EXPECT_EQ(Check(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(StandardServices, AWatchThatComesAfterTheServerLeftIsToldAndEnds) {
  health_.Set(true);
  health_.Leave();
  Watcher known(*health_stub_), stranger(*health_stub_, "no.such.Service");
  EXPECT_THAT(known.All(), ElementsAre(HealthCheckResponse::NOT_SERVING));
  EXPECT_EQ(known.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(stranger.All(), ElementsAre(HealthCheckResponse::SERVICE_UNKNOWN));
  EXPECT_EQ(stranger.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(StandardServices, AStatusThatIsSetAgainIsNoChange) {
  health_.Set(true);
  Watcher watcher(*health_stub_, kContract);
  EXPECT_EQ(watcher.Next(), HealthCheckResponse::SERVING);
  for (int i = 0; i < 10; ++i) health_.Set(true);
  health_.Leave();
  EXPECT_THAT(watcher.All(), ElementsAre(HealthCheckResponse::NOT_SERVING));
}

TEST_F(StandardServices, OfChangesThatComeTooFastToBeSentTheNewestIsToldAtLast) {
  Watcher watcher(*health_stub_);
  ASSERT_EQ(watcher.Next(), HealthCheckResponse::NOT_SERVING);
  for (int round = 0; round < 1000; ++round) {
    const bool newest = round % 2 == 0;
    for (bool serving : {newest, !newest, newest, !newest, newest}) health_.Set(serving);
    // What was told before was the opposite, so this comes at least once more.
    const auto expected = newest ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
    auto told = watcher.Next();
    if (told != expected) told = watcher.Next();  // no status is told twice
    ASSERT_EQ(told, expected);
  }
}

TEST_F(StandardServices, ExtensionsAreFoundByTheirNumberAndListed) {
  grpc::ClientContext context;
  auto stream = reflection_stub_->ServerReflectionInfo(&context);
  ServerReflectionRequest request;
  ServerReflectionResponse response;

  request.mutable_file_containing_extension()->set_containing_type("test.Extendable");
  request.mutable_file_containing_extension()->set_extension_number(150);
  ASSERT_TRUE(stream->Write(request) && stream->Read(&response));
  std::vector<std::string> names;
  for (const std::string& file : response.file_descriptor_response().file_descriptor_proto()) {
    FileDescriptorProto proto;
    ASSERT_TRUE(proto.ParseFromString(file));
    names.push_back(proto.name());
  }
  EXPECT_THAT(names, ElementsAre("extending.proto", "extendable.proto"));

  request.mutable_file_containing_extension()->set_extension_number(151);
  ASSERT_TRUE(stream->Write(request) && stream->Read(&response));
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::NOT_FOUND);

  request.set_all_extension_numbers_of_type("test.Extendable");
  ASSERT_TRUE(stream->Write(request) && stream->Read(&response));
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(), "test.Extendable");
  EXPECT_THAT(response.all_extension_numbers_response().extension_number(), UnorderedElementsAre(100, 150));

  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(StandardServices, AStreamThatComesAfterTheServerLeftEnds) {
  reflection_.Leave();
  grpc::ClientContext context;
  auto stream = reflection_stub_->ServerReflectionInfo(&context);
  ServerReflectionResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StandardServices, ACallIsOverAsSoonAsItsClientIsGone) {
  Watcher watcher(*health_stub_);
  EXPECT_EQ(watcher.Next(), HealthCheckResponse::NOT_SERVING);
  grpc::ClientContext context;
  auto stream = reflection_stub_->ServerReflectionInfo(&context);
  ServerReflectionResponse response;
  EXPECT_TRUE(stream->Write({}) && stream->Read(&response));
  watcher.Cancel();
  context.TryCancel();
  live_calls_.WaitForNone();
  EXPECT_EQ(watcher.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// Whatever a call is doing when it changes, is cancelled or the server leaves: TearDown ends, and sanitizers
// look on.
TEST_F(StandardServices, CallsThatComeAndGoWhileTheStatusChangesAllEnd) {
  std::atomic<bool> stop{false};
  std::thread setter([&] {
    for (bool serving = false; !stop; serving = !serving) health_.Set(serving);
  });
  std::vector<std::thread> clients;
  for (unsigned seed = 0; seed < 4; ++seed) {
    clients.emplace_back([this, seed] {
      std::minstd_rand random(seed + 1);
      for (int i = 0; i < 200; ++i) {
        Watcher watcher(*health_stub_, random() % 4 ? "" : "no.such.Service");
        if (random() % 4) watcher.Next();
        grpc::ClientContext context;
        auto stream = reflection_stub_->ServerReflectionInfo(&context);
        ServerReflectionRequest request;
        request.set_file_containing_symbol("test.extension_100");
        ServerReflectionResponse response;
        if (random() % 2) stream->Write(request);
        if (random() % 2 && stream->Write(request)) stream->Read(&response);
        if (random() % 2) stream->WritesDone();
        watcher.Cancel();
        context.TryCancel();
        watcher.All();
        watcher.Finish();
        stream->Finish();
        if (seed == 0 && i == 150) {
          health_.Leave();
          reflection_.Leave();
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop = true;
  setter.join();
}

}  // namespace
}  // namespace zerohop
