#include "broker/router/ready_answers.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <span>

namespace zerohop {
namespace {

// While it lives, what is written to a TCP socket is gathered, and goes out in as few packets as it fits in.
// One that is no more, or is of another kind, is left as it is. The kernel itself sends what was held for 200
// ms.
class CorkedSocket {
 public:
  explicit CorkedSocket(int socket) : socket_(socket) { Cork(1); }
  CorkedSocket(const CorkedSocket&) = delete;
  CorkedSocket& operator=(const CorkedSocket&) = delete;
  ~CorkedSocket() { Cork(0); }

 private:
  void Cork(int on) const { (void)::setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }

  const int socket_;
};

}  // namespace

void ReadyAnswers::Give() {
  if (answers_.size() > 1) return GiveBySocket();
  for (auto& [sink, answer] : answers_) sink->OnAnswer(std::move(answer));
}

void ReadyAnswers::GiveBySocket() {
  using Place = std::pair<int, size_t>;  // the socket, and where in `answers_`
  absl::InlinedVector<Place, 32> places;
  for (const auto& [sink, answer] : answers_) places.emplace_back(sink->socket(), places.size());
  std::sort(places.begin(), places.end());
  absl::InlinedVector<std::span<const Place>, 16> sockets;
  for (auto first = places.begin(); first != places.end();) {
    const auto end =
        std::find_if(first, places.end(), [&](const Place& p) { return p.first != first->first; });
    sockets.emplace_back(first, end);
    first = end;
  }
  std::sort(sockets.begin(), sockets.end(),
            [](const auto& a, const auto& b) { return a.front().second < b.front().second; });
  for (const auto& of_socket : sockets) {
    std::optional<CorkedSocket> corked;
    if (of_socket.front().first >= 0 && of_socket.size() > 1) corked.emplace(of_socket.front().first);
    for (const Place& place : of_socket) {
      auto& [sink, answer] = answers_[place.second];
      sink->OnAnswer(std::move(answer));
    }
  }
}

}  // namespace zerohop
