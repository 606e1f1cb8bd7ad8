#include "broker/router/ready_answers.h"

#include <algorithm>
#include <optional>
#include <span>

#include "broker/router/corked_socket.h"

namespace zerohop {
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
