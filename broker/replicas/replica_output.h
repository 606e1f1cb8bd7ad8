#pragma once

// ReplicaOutput: what a replica prints, cut into lines for the log; the last
// few are kept, to say why a start failed. Survives any bytes.

#include <deque>
#include <string>
#include <string_view>

namespace zerohop {

class ReplicaOutput {
 public:
  // Reads what a non-blocking descriptor has; hands each full line to `log(line)`.
  // False at the end of the stream.
  template <typename Log>
  bool Drain(int fd, Log log);

  // The last lines, newest last, joined by " | "; empty if it never spoke.
  std::string LastLines() const;

 private:
  static constexpr size_t kLines = 5;
  static constexpr size_t kLineBytes = 500;  // longer lines are cut

  void Append(std::string_view bytes) { pending_ += bytes; }
  void EndLine() {
    if (!pending_.empty()) pending_ += '\n';
  }
  bool NextLine(std::string* line);
  static long ReadSome(int fd, char* buffer, size_t bytes);

  std::string pending_;
  std::deque<std::string> last_;
};

template <typename Log>
bool ReplicaOutput::Drain(int fd, Log log) {
  char buffer[4096];
  std::string line;
  // Bounded: a replica that prints without end must not hold the supervisor.
  for (int reads = 0; reads < 16; ++reads) {
    const long got = ReadSome(fd, buffer, sizeof buffer);
    if (got > 0) Append({buffer, static_cast<size_t>(got)});
    if (got == 0) EndLine();  // the last word of a crash often lacks its newline
    while (NextLine(&line)) log(line);
    if (got <= 0) return got < 0;
  }
  return true;
}

}  // namespace zerohop
