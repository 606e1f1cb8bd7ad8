#pragma once

// What no_hop_server --share-packets needs so that answers which are ready together
// share packets, as the broker's do (docs/decisions/0015): a port that knows the
// socket of each call, and the turns in which a queue's thread gives answers.

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "bench/async_server.h"
#include "broker/front/connections.h"
#include "broker/front/listener.h"

namespace zerohop::bench {

// Takes gRPC's place at the port: accepts connections, and hands them over. Until it goes, which is before
// the server stops.
class OwnPort {
 public:
  // Before the server is built.
  OwnPort(grpc::ServerBuilder& builder, Connections& connections);
  // Once the server is built. Sets `port` to the one that was taken.
  absl::Status Listen(const std::string& host, int& port);

 private:
  Connections& connections_;
  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<Listener> listener_;
};

// The events of one queue, for calls that answer as soon as their request is there. A turn is what gRPC has
// at hand: its requests are answered at its end, connection by connection. An answer alone is sent as ever.
// On the queue's thread.
class AnswerTurns {
 public:
  // Without `connections`, every event is dealt with as it comes.
  AnswerTurns(grpc::ServerCompletionQueue& queue, const Connections* connections)
      : queue_(queue), connections_(connections) {}

  // As the queue's; ends the turn where nothing more is at hand.
  bool Next(void** event, bool* ok);
  void Proceed(EncodeCall& call, bool ok);
  void EndTurn();

 private:
  void AnswerBySocket();

  grpc::ServerCompletionQueue& queue_;
  const Connections* const connections_;
  std::vector<EncodeCall*> asked_;                      // in this turn
  std::vector<std::pair<int, EncodeCall*>> by_socket_;  // the same, at its end
};

}  // namespace zerohop::bench
