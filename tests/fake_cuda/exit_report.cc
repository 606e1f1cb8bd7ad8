#include "tests/fake_cuda/exit_report.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "tests/fake_cuda/contexts.h"
#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/events.h"
#include "tests/fake_cuda/host_memory.h"
#include "tests/fake_cuda/modules.h"
#include "tests/fake_cuda/registry.h"
#include "tests/fake_cuda/settings.h"
#include "tests/fake_cuda/streams.h"

namespace zerohop::fake_cuda {
namespace {

std::string Entry(std::string_view name, uint64_t value) {
  return "\"" + std::string(name) + "\": " + std::to_string(value);
}

}  // namespace

void ReportExit() {
  const std::pair<const char*, uint64_t> kept[] = {
      {"allocations", CountRanges(RangeKind::kOwn)},
      {"imports", CountRanges(RangeKind::kImport)},
      {"registrations", CountRegistrations()},
      {"events", CountEvents()},
      {"streams", CountStreams()},
      {"modules", CountModules()},
      {"contexts", StandingContexts()},
  };
  bool leaked = false;
  std::string line = "{" + Entry("pid", static_cast<uint64_t>(::getpid())) + ", \"leaks\": {";
  for (const auto& [name, count] : kept) {
    leaked = leaked || count != 0;
    line += (name == kept[0].first ? "" : ", ") + Entry(name, count);
  }
  line += "}, \"counters\": {";
  for (size_t i = 0; i < kCounters; ++i) {
    line += (i == 0 ? "" : ", ") + Entry(kCounterNames[i], SharedWords().processes[Self()].counters[i]);
  }
  line += "}}\n";
  const std::string& report = TheSettings().report;
  if (report.empty() && leaked) std::fprintf(stderr, "fake_cuda: leaked: %s", line.c_str());
  if (report.empty()) return;
  const int fd = ::open(report.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  // One write of one line: processes that exit at once do not mix theirs.
  if (fd < 0 || ::write(fd, line.data(), line.size()) < 0) std::perror("fake_cuda: cannot report");
  ::close(fd);
}

}  // namespace zerohop::fake_cuda
