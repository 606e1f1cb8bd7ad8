#include "bench/shared_packets.h"

#include <algorithm>
#include <optional>

#include "broker/router/corked_socket.h"

namespace zerohop::bench {
namespace {

// Nearly as the broker's front thread has them (front_thread.cc): it counts events.
constexpr size_t kMostPerTurn = 32;
constexpr int kLooksInVain = 2;

}  // namespace

OwnPort::OwnPort(grpc::ServerBuilder& builder, Connections& connections)
    : connections_(connections),
      acceptor_(builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
          grpc::InsecureServerCredentials())) {}

absl::Status OwnPort::Listen(const std::string& host, int& port) {
  auto listener = Listener::Open(host, port);
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  port = listener_->port();
  listener_->Start([this](int socket) {
    connections_.Add(socket);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = socket;
    acceptor_->HandleNewConnection(&connection);
  });
  return absl::OkStatus();
}

bool AnswerTurns::Next(void** event, bool* ok) {
  int in_vain = 0;
  while (!asked_.empty() && asked_.size() < kMostPerTurn && in_vain < kLooksInVain) {
    switch (queue_.AsyncNext(event, ok, gpr_inf_past(GPR_CLOCK_MONOTONIC))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return false;
      case grpc::CompletionQueue::GOT_EVENT:
        return true;
      case grpc::CompletionQueue::TIMEOUT:
        ++in_vain;
    }
  }
  EndTurn();
  return queue_.Next(event, ok);
}

void AnswerTurns::Proceed(EncodeCall& call, bool ok) {
  if (connections_ == nullptr || !ok || !call.listening()) return call.Proceed(ok);
  asked_.push_back(&call);
}

void AnswerTurns::EndTurn() {
  if (asked_.size() > 1) {
    AnswerBySocket();
  } else if (!asked_.empty()) {
    asked_.front()->Proceed(true);
  }
  asked_.clear();
}

void AnswerTurns::AnswerBySocket() {
  by_socket_.clear();
  for (EncodeCall* call : asked_) by_socket_.emplace_back(connections_->Find(call->peer()), call);
  std::ranges::stable_sort(by_socket_, {}, [](const auto& one) { return one.first; });
  for (auto first = by_socket_.begin(); first != by_socket_.end();) {
    const int socket = first->first;
    const auto end =
        std::find_if(first, by_socket_.end(), [socket](const auto& one) { return one.first != socket; });
    std::optional<CorkedSocket> corked;
    if (socket >= 0 && end - first > 1) corked.emplace(socket);
    for (; first != end; ++first) first->second->Proceed(true);
  }
}

}  // namespace zerohop::bench
