// What callers of a gRPC-hop deployment rely on (docs/wire.md, row by row), as a
// C++ client sees it: stubs generated from the proto, grpc++, a real server process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/process/served_client.h"

namespace zerohop {
namespace {

using grpc::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class ContractClient : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = new Served({}); }
  static void TearDownTestSuite() { delete std::exchange(server_, nullptr); }
  void SetUp() override { ASSERT_TRUE(server_->healthy()); }

  // The answer is OK and carries this error and no embeddings.
  void ExpectError(const EncodeRequest& request, const std::string& error) {
    EncodeResponse response;
    ASSERT_TRUE(server_->Encode(request, &response).ok());
    EXPECT_EQ(response.error(), error);
    EXPECT_EQ(response.request_id(), request.request_id());
    EXPECT_EQ(response.n_prompts(), 0);
    EXPECT_EQ(response.embedding_bytes_fp32_size(), 0);
  }

  static Served* server_;
};

Served* ContractClient::server_ = nullptr;

TEST_F(ContractClient, SuccessEchoesTheIdAndAnswersEachPromptInOrder) {
  std::vector<std::string> texts{"", "a", "zwei Wörter"};
  for (int i = 0; i < 1000; ++i) texts.push_back(std::to_string(i));
  EncodeResponse response;
  ASSERT_TRUE(server_->Encode(RequestOf(texts, "mine"), &response).ok());
  EXPECT_EQ(response.request_id(), "mine");
  EXPECT_EQ(response.n_prompts(), 1003);
  EXPECT_EQ(response.embedding_dim(), static_cast<int>(kDim));
  EXPECT_THAT(response.error(), IsEmpty());
  server_->ExpectEchoes(texts);
}

TEST_F(ContractClient, EmptyIdGetsAFreshUuid4) {
  EncodeResponse first, second;
  ASSERT_TRUE(server_->Encode(RequestOf({"a"}, ""), &first).ok());
  ASSERT_TRUE(server_->Encode(RequestOf({"a"}, ""), &second).ok());
  const char* uuid4 = "[0-9a-f]+-[0-9a-f]+-4[0-9a-f]+-[89ab][0-9a-f]+-[0-9a-f]+";
  EXPECT_THAT(first.request_id(), MatchesRegex(uuid4));
  EXPECT_EQ(first.request_id().size(), 36u);
  EXPECT_NE(first.request_id(), second.request_id());
}

TEST_F(ContractClient, TokenIdsWinOverPrompts) {
  EncodeRequest request = RequestOf({"ignored", "too"});
  request.add_token_id_bytes_i32(Blob({1, 2, 3}));
  request.set_n_prompts(1);
  EncodeResponse response;
  ASSERT_TRUE(server_->Encode(request, &response).ok());
  ASSERT_EQ(response.embedding_bytes_fp32_size(), 1);
  EXPECT_EQ(response.embedding_bytes_fp32(0), EchoRow(Blob({1, 2, 3})));
}

TEST_F(ContractClient, AnotherModelNameIsToldInErrorWithStatusOk) {
  for (const char* name : {"other", ""}) {
    EncodeRequest request = RequestOf({"a"});
    request.set_model_name(name);
    ExpectError(request, std::string("Expected model name some/model, got ") + name);
  }
}

TEST_F(ContractClient, WrongCountIsToldInErrorWithStatusOk) {
  for (int32_t n : {-1, 0, 1, 3}) {
    EncodeRequest request = RequestOf({"a", "b"});
    request.set_n_prompts(n);
    ExpectError(request, "Expected " + std::to_string(n) + " prompts, got 2");
    // Where there are token ids, they are counted.
    request.set_n_prompts(2);
    request.add_token_id_bytes_i32(Blob({1}));
    ExpectError(request, "Expected 2 prompts, got 1");
  }
  EncodeRequest none = RequestOf({});
  ExpectError(none, "Expected 0 prompts, got 0");
}

TEST_F(ContractClient, BadTokenIdsNameThePromptAndCostNoReplica) {
  const std::vector<pid_t> pids = server_->ReplicaPids();
  for (const auto& [bad, words] : {std::pair<std::string, const char*>{"abc", "multiple of 4"},
                                   {"", "token ids, got 0"},
                                   {Blob({7, -1}), "token id -1 at position 1"}}) {
    EncodeRequest request = RequestOf({});
    for (int i = 0; i < 10'000; ++i) request.add_token_id_bytes_i32(i == 7777 ? bad : Blob({1, 2}));
    request.set_n_prompts(10'000);
    EncodeResponse response;
    const grpc::Status status = server_->Encode(request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), AllOf(StartsWith("Prompt 7777: "), HasSubstr(words)));
  }
  EXPECT_EQ(server_->ReplicaPids(), pids);
  server_->ExpectEchoes({"still here"});
}

TEST_F(ContractClient, TextBeyondTheLimitIsTruncated) {
  const size_t limit = 2 << 20;  // a quarter of the request arena
  EncodeResponse response;
  ASSERT_TRUE(server_->Encode(RequestOf({std::string(limit + 1000, 'x')}), &response).ok());
  ASSERT_EQ(response.embedding_bytes_fp32_size(), 1) << response.error();
  EXPECT_EQ(response.embedding_bytes_fp32(0), EchoRow(std::string(limit, 'x')));
}

TEST_F(ContractClient, HealthAndInfoAreTrue) {
  EXPECT_TRUE(server_->Health().healthy());
  const ReplicaInfoResponse info = server_->Info();
  EXPECT_EQ(info.n_replicas(), 2);
  EXPECT_EQ(info.n_healthy_replicas(), 2);
  ASSERT_EQ(info.replica_infos_size(), 2);
  for (int i = 0; i < 2; ++i) {
    const SingleReplicaInfoResponse& replica = info.replica_infos(i);
    EXPECT_TRUE(replica.ready());
    EXPECT_EQ(replica.model_name(), "some/model");
    EXPECT_EQ(replica.task(), "embed");
    EXPECT_EQ(replica.dtype(), "float32");
    EXPECT_THAT(replica.parallel_config(), StartsWith("replica=" + std::to_string(i) + " pid="));
    EXPECT_THAT(replica.decoding_config(), HasSubstr("dim=16"));
    EXPECT_THAT(replica.scheduler_config(), HasSubstr("state=serving"));
    EXPECT_EQ(replica.lora_config(), "");
  }
}

TEST_F(ContractClient, MessagesOf200MiBPassAndOneByteMoreIsResourceExhausted) {
  std::vector<std::string> texts{"first"};
  for (int i = 0; i < 100; ++i) texts.push_back(std::to_string(i) + std::string(2'000'000, 'x'));
  texts.push_back("");
  EncodeRequest request = RequestOf(texts);
  // Made long first, so that its length already takes four bytes when the rest is added up.
  request.mutable_prompts()->rbegin()->assign(1 << 21, 'y');
  std::string& last = *request.mutable_prompts()->rbegin();
  last.resize(last.size() + kMaxMessage - request.ByteSizeLong());
  ASSERT_EQ(request.ByteSizeLong(), static_cast<size_t>(kMaxMessage));
  EncodeResponse response;
  const grpc::Status status = server_->Encode(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.embedding_bytes_fp32_size(), 102) << response.error();
  EXPECT_EQ(response.embedding_bytes_fp32(0), EchoRow("first"));
  EXPECT_EQ(response.embedding_bytes_fp32(100), EchoRow(texts[100]));
  last += "y";
  EXPECT_EQ(server_->Encode(request, &response).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  server_->ExpectEchoes({"still here"});
}

TEST(ContractServer, AnswersOfNearly200MiBPassAndMoreIsRefused) {
  Served server({"--echo-dim=65536"});
  std::vector<std::string> texts;
  for (int i = 0; i < kMaxMessage / (4 * 65536 + 4); ++i) texts.push_back(std::to_string(i));
  EncodeResponse response;
  ASSERT_TRUE(server.Encode(RequestOf(texts), &response).ok());
  EXPECT_GT(response.ByteSizeLong(), static_cast<size_t>(kMaxMessage - (1 << 20)));
  for (size_t i = 0; i < texts.size(); i += 97) {
    EXPECT_EQ(response.embedding_bytes_fp32(static_cast<int>(i)), EchoRow(texts[i], 65536)) << i;
  }
  texts.emplace_back("one more");
  const grpc::Status refused = server.Encode(RequestOf(texts), &response);
  EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(),
              StartsWith(std::to_string(texts.size()) + " prompts need an answer of "));
}

TEST(ContractServer, EveryFlagWorksInBothForms) {
  const std::vector<std::pair<std::string, std::string>> flags{
      {"--host", "127.0.0.1"},     {"--port", "0"},
      {"--num-replicas", "3"},     {"--load-balancing", "random"},
      {"--health-interval", "2"},  {"--forward-timeout", "20"},
      {"--startup-timeout", "60"}, {"--workers", "4"},
      {"--model", "other/name"},   {"--echo-dim", "12"}};
  Flags apart, joined;
  for (const auto& [flag, value] : flags) {
    apart.insert(apart.end(), {flag, value});
    joined.push_back(flag + "=" + value);
  }
  for (const Flags& form : {apart, joined}) {
    Served server(form, 3);
    const ReplicaInfoResponse info = server.Info();
    EXPECT_EQ(info.n_replicas(), 3);
    EXPECT_EQ(info.replica_infos(0).model_name(), "other/name");
    EXPECT_THAT(info.replica_infos(0).scheduler_config(), HasSubstr("policy=random"));
    EXPECT_THAT(info.replica_infos(0).decoding_config(), HasSubstr("dim=12"));
  }
}

TEST(ContractServer, FlagThatNobodyTakesIsNamed) {
  for (const Flags& form : {Flags{"--no-such=1"}, Flags{"--no-such", "1"}}) {
    ServedProcess process(form);
    EXPECT_NE(process.Wait(), 0);
    EXPECT_THAT(process.log(), HasSubstr("--no-such"));
  }
}

TEST(ContractServer, AllOfStartUpIsUnavailableWhileHealthAndInfoAnswer) {
  const std::string program = ::testing::TempDir() + "never_ready." + std::to_string(::getpid());
  std::ofstream(program) << "#!/bin/sh\nexec sleep 600\n";
  ::chmod(program.c_str(), 0700);
  {
    Served server({"--replica-program=" + program}, /*ready=*/0);
    EncodeResponse response;
    const grpc::Status status = server.Encode(RequestOf({"a"}), &response);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), StartsWith("No healthy replicas"));
    EXPECT_FALSE(server.Health().healthy());
    const ReplicaInfoResponse info = server.Info();
    EXPECT_EQ(info.n_replicas(), 2);
    EXPECT_EQ(info.n_healthy_replicas(), 0);
    EXPECT_EQ(info.replica_infos_size(), 2);
  }
  std::filesystem::remove(program);
}

TEST(ContractServer, NoAnswerInTimeIsAReplicaFailureAndADeadReplicaCostsNothing) {
  Served server({"--num-replicas=1", "--forward-timeout=0.5", "--health-interval=60"}, 1);
  EncodeResponse response;
  Stopped replica(server.ReplicaPids());
  const grpc::Status status = server.Encode(RequestOf({"a"}), &response);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), StartsWith("Replica failure: "));

  Served other({"--health-interval=60"});
  Stopped both(other.ReplicaPids());
  Call call(other, RequestOf({"kept"}));
  ASSERT_TRUE(other.HasShards(1));
  for (pid_t pid : other.ReplicaPids()) ::kill(pid, SIGKILL);
  ASSERT_TRUE(call.Join().ok()) << call.Join().error_message();
  EXPECT_EQ(call.response().embedding_bytes_fp32(0), EchoRow("kept"));
}

TEST(ContractServer, WhatNobodyWaitsForIsWithdrawnAndOverloadIsRefusedWithNumbers) {
  Served server({"--num-replicas=1", "--max-queue=4", "--health-interval=60"}, 1);
  Stopped replica(server.ReplicaPids());
  Call kept(server, RequestOf({"kept"}, "kept"));
  Call aborted(server, RequestOf({"aborted"}, "aborted"));
  Call cancelled(server, RequestOf({"cancelled"}, "cancelled"));
  Call late(server, RequestOf({"late"}, "late"), std::chrono::seconds(5));
  ASSERT_TRUE(server.HasShards(4));
  EncodeResponse response;
  const grpc::Status refused = server.Encode(RequestOf({"too many"}), &response);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), AllOf(HasSubstr("4 requests"), HasSubstr("the limit is 4")));

  EXPECT_TRUE(server.Abort("aborted").success());
  EXPECT_FALSE(server.Abort("aborted").success());
  EXPECT_EQ(aborted.Join().error_code(), StatusCode::CANCELLED);
  cancelled.Cancel();
  EXPECT_EQ(cancelled.Join().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(late.Join().error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(server.Accepted(1));
  replica.Continue();
  EXPECT_TRUE(kept.Join().ok());
  EXPECT_TRUE(server.Accepted(0));
}

TEST(ContractServer, LowerPriorityIsServedEarlier) {
  // Eight rows fill the response arena, so that one request runs at a time.
  Served server({"--num-replicas=1", "--echo-dim=32000", "--response-arena-mib=1", "--echo-delay-us=50000",
                 "--health-interval=60"},
                1);
  Stopped replica(server.ReplicaPids());
  std::vector<std::unique_ptr<Call>> calls;
  for (int32_t priority : {9, 5, -3}) {
    EncodeRequest request = RequestOf({"1", "2", "3", "4", "5", "6", "7", "8"});
    request.set_priority(priority);
    calls.push_back(std::make_unique<Call>(server, std::move(request)));
    ASSERT_TRUE(server.HasShards(8 * static_cast<int>(calls.size())));
  }
  replica.Continue();
  for (const auto& call : calls) ASSERT_TRUE(call->Join().ok());
  EXPECT_LT(calls[2]->ended_at(), calls[1]->ended_at());
}

TEST(ContractServer, SigtermAnswersWhatWasAcceptedAndLeavesNothing) {
  Served server({"--health-interval=60"});
  const std::vector<pid_t> pids = server.ReplicaPids();
  Stopped replicas(pids);
  Call call(server, RequestOf({"last"}));
  ASSERT_TRUE(server.Accepted(1));
  ::kill(server.process().pid(), SIGTERM);
  EXPECT_TRUE(Until([&] { return server.process().log().find("draining") != std::string::npos; }));
  replicas.Continue();
  EXPECT_EQ(server.process().Wait(), 0) << server.process().log();
  EXPECT_TRUE(call.Join().ok());
  for (pid_t pid : pids) EXPECT_NE(::kill(pid, 0), 0) << pid;
}

}  // namespace
}  // namespace zerohop
