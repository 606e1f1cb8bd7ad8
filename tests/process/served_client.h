#pragma once

// A server under test and clients of it, in C++: stubs generated from the proto,
// grpc++. For contract_client_test.cc.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "inference.grpc.pb.h"
#include "tests/process/served_process.h"

namespace zerohop {

using namespace arctic_inference;         // the contract's messages
using Clock = std::chrono::system_clock;  // of gRPC's deadlines
using Flags = std::vector<std::string>;

constexpr int kMaxMessage = 200 << 20;
constexpr uint32_t kDim = 16;

// What the echo engine answers, from its definition (replica_shim/engines/echo_engine.h).
inline std::string EchoRow(std::string_view prompt, uint32_t dim = kDim) {
  uint64_t state = 0xcbf29ce484222325;
  for (unsigned char byte : prompt) state = (state ^ byte) * 0x100000001b3;
  std::string row;
  for (uint32_t i = 0; i < dim; ++i) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    const float value = static_cast<float>((z ^ (z >> 31)) >> 40) / 8388608.0f - 1.0f;
    row.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return row;
}

inline std::string Blob(const std::vector<int32_t>& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)};
}

inline EncodeRequest RequestOf(const std::vector<std::string>& texts, const std::string& id = "r") {
  EncodeRequest request;
  request.set_request_id(id);
  request.set_n_prompts(static_cast<int32_t>(texts.size()));
  for (const std::string& text : texts) request.add_prompts(text);
  request.set_model_name("some/model");
  return request;
}

// A server and a client of it.
class Served {
 public:
  explicit Served(Flags flags, int ready = 2) : process_(WithDefaults(std::move(flags))) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessage);
    arguments.SetMaxSendMessageSize(-1);  // so that the server's word on what is too large is heard
    stub_ = InferenceService::NewStub(
        grpc::CreateCustomChannel(process_.WaitAddress(), grpc::InsecureChannelCredentials(), arguments));
    healthy_ = Until([&] { return Info().n_healthy_replicas() >= ready; });
    EXPECT_TRUE(healthy_) << process_.log();
  }

  bool healthy() const { return healthy_; }
  ServedProcess& process() { return process_; }
  InferenceService::Stub& stub() { return *stub_; }

  grpc::Status Encode(const EncodeRequest& request, EncodeResponse* response,
                      Clock::duration most = kPatience) {
    grpc::ClientContext context;
    context.set_deadline(Clock::now() + most);
    return stub_->Encode(&context, request, response);
  }

  ReplicaInfoResponse Info() {
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(Clock::now() + kPatience);
    ReplicaInfoResponse response;
    const grpc::Status status = stub_->GetReplicaInfo(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message() << process_.log();
    return response;
  }

  HealthCheckResponse Health() {
    grpc::ClientContext context;
    HealthCheckResponse response;
    EXPECT_TRUE(stub_->HealthCheck(&context, {}, &response).ok());
    return response;
  }

  AbortResponse Abort(const std::string& id) {
    grpc::ClientContext context;
    AbortRequest request;
    request.set_request_id(id);
    AbortResponse response;
    EXPECT_TRUE(stub_->Abort(&context, request, &response).ok());
    return response;
  }

  bool Accepted(int requests) {
    const std::string words = "; " + std::to_string(requests) + " requests accepted";
    return Until([&] { return Info().message().find(words) != std::string::npos; });
  }

  // Until so many shards are with the replicas or in the queue. Being accepted is less: it is counted
  // first, and others may still overtake.
  bool HasShards(int shards) {
    return Until([&] {
      const ReplicaInfoResponse info = Info();
      int found = NumberAfter(info.message(), "accepted, ");
      for (const auto& replica : info.replica_infos()) {
        found += NumberAfter(replica.scheduler_config(), " shards=");
      }
      return found == shards;
    });
  }

  std::vector<pid_t> ReplicaPids() {
    std::vector<pid_t> pids;
    const ReplicaInfoResponse info = Info();
    for (const auto& replica : info.replica_infos()) {
      pids.push_back(NumberAfter(replica.parallel_config(), "pid="));
    }
    return pids;
  }

  void ExpectEchoes(const std::vector<std::string>& texts) {
    EncodeResponse response;
    const grpc::Status status = Encode(RequestOf(texts), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.embedding_bytes_fp32_size(), static_cast<int>(texts.size())) << response.error();
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(response.embedding_bytes_fp32(static_cast<int>(i)), EchoRow(texts[i])) << i;
    }
  }

 private:
  static int NumberAfter(const std::string& text, std::string_view mark) {
    return std::stoi(text.substr(text.find(mark) + mark.size()));
  }

  static Flags WithDefaults(Flags flags) {
    const Flags defaults{"--num-replicas=2", "--request-arena-mib=8", "--response-arena-mib=16",
                         "--echo-dim=" + std::to_string(kDim), "--model=some/model"};
    flags.insert(flags.begin(), defaults.begin(), defaults.end());  // the last one of a name counts
    return flags;
  }

  ServedProcess process_;
  std::unique_ptr<InferenceService::Stub> stub_;
  bool healthy_ = false;
};

// An Encode under way, on a thread of its own.
class Call {
 public:
  Call(Served& server, EncodeRequest request, Clock::duration most = kPatience) {
    context_.set_deadline(Clock::now() + most);
    thread_ = std::thread([this, &server, request = std::move(request)] {
      status_ = server.stub().Encode(&context_, request, &response_);
      ended_at_ = Clock::now();
    });
  }
  ~Call() { Join(); }
  void Cancel() { context_.TryCancel(); }
  const grpc::Status& Join() {
    if (thread_.joinable()) thread_.join();
    return status_;
  }
  const EncodeResponse& response() const { return response_; }
  Clock::time_point ended_at() const { return ended_at_; }

 private:
  grpc::ClientContext context_;
  EncodeResponse response_;
  grpc::Status status_;
  Clock::time_point ended_at_;
  std::thread thread_;
};

// Replicas that stand still for as long as a test needs.
class Stopped {
 public:
  explicit Stopped(std::vector<pid_t> pids) : pids_(std::move(pids)) {
    Send(SIGSTOP);
    // Each thread stops when it comes to the signal, and on a busy machine that may be later.
    EXPECT_TRUE(Until([&] { return std::all_of(pids_.begin(), pids_.end(), StandsStill); }));
  }
  ~Stopped() { Continue(); }
  void Continue() { Send(SIGCONT); }

 private:
  static bool StandsStill(pid_t pid) {
    std::error_code gone;  // as a thread may be that has just ended
    const std::filesystem::path threads = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& thread : std::filesystem::directory_iterator(threads, gone)) {
      std::string stat;
      std::getline(std::ifstream(thread.path() / "stat"), stat);
      if (stat.find(") T ") == std::string::npos) return false;
    }
    return true;
  }
  void Send(int signal) {
    for (pid_t pid : pids_) ::kill(pid, signal);
  }
  std::vector<pid_t> pids_;
};

}  // namespace zerohop
