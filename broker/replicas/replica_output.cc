#include "broker/replicas/replica_output.h"

#include <unistd.h>

#include <algorithm>

#include "shm/printable.h"

namespace zerohop {

std::string ReplicaOutput::LastLines() const {
  std::string all;
  for (const std::string& line : last_) all += (all.empty() ? "" : " | ") + line;
  return all;
}

bool ReplicaOutput::NextLine(std::string* line) {
  const size_t end = pending_.find('\n');
  if (end == std::string::npos && pending_.size() < kLineBytes) return false;
  const size_t cut = std::min(end, kLineBytes);
  *line = pending_.substr(0, cut);
  pending_.erase(0, cut == end ? cut + 1 : cut);
  *line = Printable(*line, kLineBytes);
  if (!line->empty()) last_.push_back(*line);
  if (last_.size() > kLines) last_.pop_front();
  return true;
}

long ReplicaOutput::ReadSome(int fd, char* buffer, size_t bytes) {
  return ::read(fd, buffer, bytes);
}

}  // namespace zerohop
