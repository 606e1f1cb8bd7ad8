#include "broker/replicas/replica_output.h"

#include <unistd.h>

#include <algorithm>

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
  for (char& c : *line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // no terminal control from a replica
  }
  if (!line->empty()) last_.push_back(*line);
  if (last_.size() > kLines) last_.pop_front();
  return true;
}

long ReplicaOutput::ReadSome(int fd, char* buffer, size_t bytes) {
  return ::read(fd, buffer, bytes);
}

}  // namespace zerohop
