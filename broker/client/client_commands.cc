#include "broker/client/client_commands.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "inference.grpc.pb.h"

namespace zerohop {
namespace {

using namespace arctic_inference;  // the contract's messages
constexpr size_t kPromptsPerRequest = 256;
constexpr int kMaxMessageBytes = 200 << 20;

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "zerohop: %s\n", sentence.c_str());
  return 1;
}

class Connection {
 public:
  explicit Connection(const std::string& address) : address_(address) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    stub_ = InferenceService::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  grpc::Status GetInfo(ReplicaInfoResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    return stub_->GetReplicaInfo(&context, {}, response);
  }

  grpc::Status Encode(const std::string& model, const std::vector<std::string>& texts,
                      EncodeResponse* response) {
    EncodeRequest request;
    request.set_model_name(model);
    request.set_n_prompts(static_cast<int>(texts.size()));
    for (const std::string& text : texts) request.add_prompts(text);
    grpc::ClientContext context;
    return stub_->Encode(&context, request, response);
  }

  std::string Describe(const grpc::Status& status) const { return address_ + ": " + status.error_message(); }

 private:
  std::string address_;
  std::unique_ptr<InferenceService::Stub> stub_;
};

// Shortest decimal form that reads back as the same float.
void PrintRow(const std::string& bytes) {
  std::string line = "[";
  for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
    float value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    if (at > 0) line += ", ";
    line.append(digits, end);
  }
  line += "]\n";
  std::fputs(line.c_str(), stdout);
}

int EmbedBatch(Connection& server, const std::string& model, const std::vector<std::string>& texts) {
  EncodeResponse response;
  const grpc::Status status = server.Encode(model, texts, &response);
  if (!status.ok()) return Fail(server.Describe(status));
  if (!response.error().empty()) return Fail(response.error());
  if (response.embedding_bytes_fp32_size() != static_cast<int>(texts.size())) {
    return Fail("expected " + std::to_string(texts.size()) + " embeddings, got " +
                std::to_string(response.embedding_bytes_fp32_size()));
  }
  for (const std::string& row : response.embedding_bytes_fp32()) PrintRow(row);
  std::fflush(stdout);
  return 0;
}

int EmbedLines(Connection& server, const std::string& model, std::istream& input) {
  std::vector<std::string> batch;
  for (std::string line; std::getline(input, line);) {
    batch.push_back(line);
    if (batch.size() < kPromptsPerRequest) continue;
    if (int failed = EmbedBatch(server, model, batch)) return failed;
    batch.clear();
  }
  return batch.empty() ? 0 : EmbedBatch(server, model, batch);
}

}  // namespace

int Embed(int argc, char** argv) {
  std::string address = "127.0.0.1:50050", model;
  std::vector<std::string> texts;
  bool timing = false;
  CLI::App app("Embeds texts: one JSON array of floats a line, in order.", "zerohop embed");
  app.add_option("--addr", address, "Address of the server")->capture_default_str();
  app.add_option("--model", model, "Model name to ask for; by default the one that is served");
  app.add_flag("--timing", timing, "Say on stderr how long it took");
  app.add_option("TEXT", texts, "Texts to embed; without any, each line of stdin is one");
  CLI11_PARSE(app, argc, argv);
  Connection server(address);
  if (model.empty()) {
    ReplicaInfoResponse info;
    const grpc::Status status = server.GetInfo(&info);
    if (!status.ok()) return Fail(server.Describe(status));
    if (info.replica_infos_size() > 0) model = info.replica_infos(0).model_name();
  }
  const auto begin = std::chrono::steady_clock::now();
  const int failed = texts.empty() ? EmbedLines(server, model, std::cin) : EmbedBatch(server, model, texts);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  if (timing && failed == 0) std::fprintf(stderr, "embedded in %.2f ms\n", took.count());
  return failed;
}

int Info(int argc, char** argv) {
  std::string address = "127.0.0.1:50050";
  CLI::App app("Shows what a running server says of its replicas and consumers.", "zerohop info");
  app.add_option("--addr", address, "Address of the server")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  Connection server(address);
  ReplicaInfoResponse info;
  const grpc::Status status = server.GetInfo(&info);
  if (!status.ok()) return Fail(server.Describe(status));
  std::printf("%s\n", info.message().c_str());
  for (const auto& replica : info.replica_infos()) {
    std::printf("%s  %s  %s  %s\n    %s\n    %s\n    %s\n", replica.ready() ? "serving" : "down   ",
                replica.model_name().c_str(), replica.task().c_str(), replica.dtype().c_str(),
                replica.parallel_config().c_str(), replica.decoding_config().c_str(),
                replica.scheduler_config().c_str());
  }
  if (!info.consumers().empty()) std::printf("consumers\n    %s\n", info.consumers().c_str());
  for (const std::string& consumer : info.consumer_infos()) std::printf("    %s\n", consumer.c_str());
  return info.n_healthy_replicas() > 0 ? 0 : 1;
}

}  // namespace zerohop
